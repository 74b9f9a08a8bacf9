"""LightGBM's text format, as far as needed to give trees of one structure the leaves of each task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
END = "end of trees"
TINY = 1e-300


@dataclass(frozen=True)
class Tree:
    """The lines of one tree, by key and in order."""

    lines: dict[str, str]

    @property
    def num_leaves(self) -> int:
        """Number of leaves; 1 if nothing was split."""
        return int(self.lines["num_leaves"])

    @property
    def leaf_values(self) -> Values:
        """float64 (leaves,)."""
        return np.array(self.lines["leaf_value"].split(), dtype=np.float64)

    def with_leaves(self, values: Values, gradient: Values, hessian: Values, leaf_l2: float) -> Tree:
        """Return the tree with a task's leaves and its own gain at every split.

        Parameters
        ----------
        values, gradient, hessian
            float64 (leaves,): leaf outputs, and the task's derivative sums behind them.
        """
        if self.num_leaves == 1:
            return Tree({**self.lines, "leaf_value": _text(values)})
        leaves = np.column_stack([gradient, hessian, hessian * values])
        sums = _inner_sums(self._children("left_child"), self._children("right_child"), leaves)
        score = sums[..., 0] ** 2 / (sums[..., 1] + leaf_l2)
        # The split's reduction of the task's loss; a structure made for all tasks can raise the loss of one.
        gains = np.maximum(score[:, 1] + score[:, 2] - score[:, 0], 0.0)
        means = sums[:, 0, 2] / np.maximum(sums[:, 0, 1], TINY)
        return Tree(
            {
                **self.lines,
                "split_gain": _short(gains),
                "leaf_value": _text(values),
                "leaf_weight": _text(hessian),
                "internal_value": _short(means),
                "internal_weight": _short(sums[:, 0, 1]),
            }
        )

    def shifted(self, by: float) -> Tree:
        """Return the tree with a constant added to every leaf."""
        return Tree({**self.lines, "leaf_value": _text(self.leaf_values + by)})

    def _children(self, side: str) -> NDArray[np.int64]:
        return np.array(self.lines[side].split(), dtype=np.int64)


def constant(value: float) -> Tree:
    """Return the tree that predicts a constant."""
    return Tree({"num_leaves": "1", "num_cat": "0", "leaf_value": _text([value]), "is_linear": "0", "shrinkage": "1"})


def split_text(text: str) -> tuple[str, list[Tree], str]:
    """Split a model text into its head, its trees and the rest."""
    head, *blocks = text.split("\nTree=")
    if not blocks:
        head, _, tail = text.partition(END)
        return head, [], tail
    last, _, tail = blocks[-1].partition(END)
    trees = []
    for block in [*blocks[:-1], last]:
        lines = [line.partition("=") for line in block.splitlines()[1:] if line]
        trees.append(Tree({key: value for key, _, value in lines}))
    return head, trees, tail


def join_text(head: str, trees: Iterable[Tree], tail: str, objective: str) -> str:
    """Return the model text of trees with an objective; ``head`` and ``tail`` come from :func:`split_text`."""
    kept = [line for line in head.splitlines() if line and not line.startswith(("objective=", "tree_sizes="))]
    place = next(number for number, line in enumerate(kept) if line.startswith("feature_names="))
    blocks = [_block(number, tree) for number, tree in enumerate(trees)]
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    lines = [*kept[:place], f"objective={objective}", *kept[place:], f"tree_sizes={sizes}"]
    return "\n".join(lines) + "\n\n" + "".join(blocks) + END + tail


def _block(number: int, tree: Tree) -> str:
    return f"Tree={number}\n" + "\n".join(f"{key}={value}" for key, value in tree.lines.items()) + "\n\n\n"


def _text(values: Sequence[float] | Values) -> str:
    """Format as the shortest decimals that read back as the same doubles."""
    return " ".join(repr(float(value)) for value in values)


def _short(values: Values) -> str:
    """Format as LightGBM does for values that predictions do not use, so that saving and loading changes nothing."""
    return " ".join(f"{value:g}" for value in values)


def _inner_sums(left: NDArray[np.int64], right: NDArray[np.int64], leaves: Values) -> Values:
    """Return sums over every inner node and its two children, (nodes, 3, columns); a child ~k is leaf k."""
    sums = np.zeros((len(left), 3, leaves.shape[1]))
    for node in reversed(range(len(left))):  # a child's number is above its parent's
        for side, child in ((1, left[node]), (2, right[node])):
            sums[node, side] = leaves[~child] if child < 0 else sums[child, 0]
        sums[node, 0] = sums[node, 1] + sums[node, 2]
    return sums
