"""The nodes and leaves of an ensemble as flat arrays, read from LightGBM's text format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.boosting.model_text import END, Tree, split_text

Values = NDArray[np.float64]
MOST_LEAVES: Final = 256
OBJECTIVES: Final = ("regression", "binary sigmoid:1", "cross_entropy", "lambdarank")
ZERO: Final = np.float32(1e-35)  # LightGBM reads a value as 0 if its size is at most this
# What sends a row to the right at a node: a value above the threshold, where a missing one is below it (ABOVE) or above
# it (NOT_BELOW); the same where 0 counts as missing; a category without a bit in the node's set.
ABOVE, NOT_BELOW, ABOVE_NOT_ZERO, ABOVE_OR_ZERO, OTHER_CATEGORY = range(5)
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2


@dataclass(frozen=True)
class TreeArrays:
    """Trees of one structure with the leaves of one or more outputs.

    Nodes and leaves are numbered within their tree; a child below 0 is the leaf ``~child``.

    Attributes
    ----------
    columns
        Number of columns of the matrix that the trees were fitted on.
    first_node, first_leaf
        int64 (trees + 1,): the index of each tree's first node and leaf in the arrays.
    feature
        int32 (nodes,): column.
    kind
        uint8 (nodes,): ``ABOVE`` and so on.
    threshold
        float32 (nodes,): the largest value that goes left.
    category_set
        int32 (nodes,): row of ``sets``; 0 for a number.
    sets
        bool (sets, categories + 1): whether a category goes left; the last column is for all other categories.
    left, right
        int32 (nodes,): children.
    leaves
        float64 (leaves, outputs).
    """

    columns: int
    first_node: NDArray[np.int64]
    first_leaf: NDArray[np.int64]
    feature: NDArray[np.int32]
    kind: NDArray[np.uint8]
    threshold: NDArray[np.float32]
    category_set: NDArray[np.int32]
    sets: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaves: Values

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.first_node) - 1

    @classmethod
    def of(cls, texts: Sequence[str | None], where: str) -> TreeArrays:
        """Parse models whose trees have one structure; the structure is read from the one with the most trees.

        Parameters
        ----------
        texts
            A model's text for each output, None for one without trees. One with fewer trees than another adds nothing
            after its last.
        where
            Name of the models in messages.

        Raises
        ------
        ArtifactError
            If a text is not whole, or a model has another objective, linear leaves, or too many leaves.
        """
        models = [[] if text is None else _parsed(text, where) for text in texts]
        trees = max(models, key=len)
        for number, tree in enumerate(trees):
            _refuse_unknown(tree, f"{where}, tree {number}")
        sizes = np.array([tree.num_leaves for tree in trees], dtype=np.int64)
        first_leaf = np.concatenate([[0], np.cumsum(sizes)])
        leaves = np.zeros((first_leaf[-1], len(models)))
        for output, model in enumerate(models):
            if model:
                own = np.concatenate([tree.leaf_values for tree in model])
                if len(own) != first_leaf[len(model)]:
                    raise ArtifactError(f"{where}: the trees of two outputs have other leaves; run again with --force")
                leaves[: len(own), output] = own
        split = [tree for tree in trees if tree.num_leaves > 1]
        kind, threshold, chosen, sets = _conditions(split)
        return cls(
            columns=_head_number(next(filter(None, texts)), "max_feature_idx") + 1,
            first_node=first_leaf - np.arange(len(first_leaf)),
            first_leaf=first_leaf,
            feature=_joined(split, "split_feature", np.int32),
            kind=kind,
            threshold=threshold,
            category_set=chosen,
            sets=sets,
            left=_joined(split, "left_child", np.int32),
            right=_joined(split, "right_child", np.int32),
            leaves=leaves,
        )


def most_leaves(text: str) -> int:
    """Return the number of leaves of a model's largest tree; 0 without trees."""
    return max((tree.num_leaves for tree in split_text(text)[1]), default=0)


def _parsed(text: str, where: str) -> list[Tree]:
    head, trees, _ = split_text(text)
    lines = dict(line.partition("=")[::2] for line in head.splitlines())
    if f"\n{END}" not in text or len(lines.get("tree_sizes", "").split()) != len(trees):
        raise ArtifactError(f"{where}: its text is truncated, {len(trees)} trees are whole; run again with --force")
    if lines.get("objective") not in OBJECTIVES:
        raise ArtifactError(
            f"{where}: objective {lines.get('objective', 'none')!r} cannot be scored, only {', '.join(OBJECTIVES)}"
        )
    if lines.get("num_tree_per_iteration") != "1" or "average_output" in lines:
        raise ArtifactError(
            f"{where}: only single-output boosted models can be scored, not multiclass models or random forests"
        )
    return trees


def _refuse_unknown(tree: Tree, where: str) -> None:
    count = tree.num_leaves
    if tree.lines.get("is_linear", "0") != "0":
        raise ArtifactError(f"{where}: its leaves are linear models, only constant ones can be scored")
    if count > MOST_LEAVES:
        raise ArtifactError(f"{where}: {count:,} leaves, at most {MOST_LEAVES} can be scored")
    nodes = ("split_feature", "threshold", "decision_type", "left_child", "right_child") if count > 1 else ()
    for key, expected in [("leaf_value", count), *((key, count - 1) for key in nodes)]:
        found = len(tree.lines.get(key, "").split())
        if found != expected:
            raise ArtifactError(f"{where}: {key} has {found} values, expected {expected}; run again with --force")


def _conditions(
    trees: list[Tree],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    """Return kind, threshold and category set of every node, and the sets."""
    decision, threshold = _joined(trees, "decision_type", np.uint8), _joined(trees, "threshold", np.float64)
    missing, default_left = (decision >> 2) & 3, (decision & _DEFAULT_LEFT) > 0
    # Without values that count as missing, LightGBM reads NaN as 0.
    nan_left = np.where(missing == 0, threshold >= 0, default_left)
    kind = np.where(nan_left, ABOVE, NOT_BELOW)
    zero = missing == _ZERO_IS_MISSING
    kind[zero & default_left & (threshold < 0)] = ABOVE_NOT_ZERO
    kind[zero & ~default_left & (threshold >= 0)] = ABOVE_OR_ZERO
    categorical = (decision & _CATEGORICAL) > 0
    kind[categorical] = OTHER_CATEGORY
    sets = _category_sets(trees)
    chosen = np.zeros(len(decision), dtype=np.int32)
    chosen[categorical] = 1 + np.arange(categorical.sum())
    return kind.astype(np.uint8), np.where(categorical, np.float32(0), _as_float32(threshold)), chosen, sets


def _as_float32(threshold: Values) -> NDArray[np.float32]:
    """Return the largest float32 that goes left; values that LightGBM reads as 0 go where 0 goes."""
    with np.errstate(over="ignore"):
        near = threshold.astype(np.float32)
    below = np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
    under_zero = np.nextafter(-ZERO, np.float32(-np.inf))
    inside = np.abs(below) <= ZERO
    return np.where(threshold >= 0, np.maximum(below, ZERO), np.where(inside, under_zero, below)).astype(np.float32)


def _category_sets(trees: list[Tree]) -> NDArray[np.bool_]:
    """Return the categories that go left at each categorical node, in the order of the nodes; row 0 is empty."""
    found: list[NDArray[np.bool_]] = [np.zeros(0, dtype=np.bool_)]
    for tree in trees:
        if int(tree.lines["num_cat"]):
            bounds, words = _row(tree, "cat_boundaries", np.int64), _row(tree, "cat_threshold", np.uint32)
            indices = _row(tree, "threshold", np.float64)[(_row(tree, "decision_type", np.uint8) & _CATEGORICAL) > 0]
            for index in indices.astype(np.int64):
                bits = words[bounds[index] : bounds[index + 1]].astype("<u4").view(np.uint8)
                found.append(np.unpackbits(bits, bitorder="little").astype(np.bool_))
    sets = np.zeros((len(found), max(map(len, found)) + 1), dtype=np.bool_)
    for row, categories in zip(sets, found, strict=True):
        row[: len(categories)] = categories
    return sets


def _row(tree: Tree, key: str, kind: Any) -> NDArray[Any]:
    return np.array(tree.lines[key].split(), dtype=kind)


def _joined(trees: list[Tree], key: str, kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *(_row(tree, key, kind) for tree in trees)])


def _head_number(text: str, key: str) -> int:
    return int(text.partition(f"\n{key}=")[2].partition("\n")[0])
