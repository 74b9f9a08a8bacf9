"""Scoring of trees in numpy: a bit for each row and node, eight rows a byte.

A node passes the bits of its rows on to its children, for all trees of a group at once, level by level. The number of
each row's leaf is then put together from its binary digits, each the union of the leaves whose number has the digit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.tree_arrays import (
    ABOVE_NOT_ZERO,
    ABOVE_OR_ZERO,
    NOT_BELOW,
    OTHER_CATEGORY,
    ZERO,
    TreeArrays,
    Values,
)

ROWS: Final = 8192  # of a block: fewer cost more calls a row, more leave the processor's cache
_GROUP: Final = 16  # trees whose rows are passed on at once
_WORD: Final = 64
_ALL: Final = np.uint64(2**64 - 1)

Places = NDArray[np.int64]


@dataclass(frozen=True)
class _Level:
    """Nodes of one depth in a group of trees.

    Attributes
    ----------
    reached
        The row of bits that reaches each node.
    condition
        The row of bits that go right.
    right, left, end
        The bits of the children are written to these rows.
    """

    reached: Places
    condition: Places
    right: int
    left: int
    end: int


@dataclass(frozen=True)
class _Group:
    """Consecutive trees.

    Attributes
    ----------
    rows
        Rows of bits in all: an empty one, the trees' roots, and the nodes and leaves below.
    digits
        (most leaves with a digit, digits * trees): the rows whose union is a digit of the leaf's number.
    values
        float64 (trees, outputs, 2 ** digits): leaf outputs, by number.
    """

    levels: tuple[_Level, ...]
    rows: int
    digits: Places
    values: Values


class SlicedTrees:
    """Trees in the form in which numpy scores them."""

    rows = ROWS

    def __init__(self, trees: TreeArrays) -> None:
        keys = np.stack([trees.feature, trees.kind, trees.threshold.view(np.int32), trees.category_set], axis=1)
        distinct, condition = np.unique(keys, axis=0, return_inverse=True)
        self._feature, self._kind, bits, self._set = distinct.T
        self._threshold = np.ascontiguousarray(bits, dtype=np.int32).view(np.float32)
        changed = (np.diff(distinct[:, :2], axis=0) != 0).any(axis=1)
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(distinct)] if len(distinct) else [0]
        self._runs = list(itertools.pairwise(bounds))
        self._sets, self._outputs = trees.sets, trees.leaves.shape[1]
        starts = range(0, trees.trees, _GROUP)
        self._groups = [_group(trees, condition.ravel(), start, min(start + _GROUP, trees.trees)) for start in starts]

    def scores(self, block: NDArray[np.float32]) -> Values:
        """Return the sums of the trees in order, float64 (rows, outputs).

        Parameters
        ----------
        block
            (columns, rows).
        """
        rows = block.shape[1]
        words = -(-rows // _WORD)
        conditions = self._conditions(block, words)
        scores = np.zeros((self._outputs, rows))
        for group in self._groups:
            numbers = _leaf_numbers(group, conditions, words)
            for number, values in zip(numbers, group.values, strict=True):
                for output, leaves in enumerate(values):
                    scores[output] += leaves.take(number[:rows])
        return scores.T

    def _conditions(self, block: NDArray[np.float32], words: int) -> NDArray[np.uint64]:
        """Return the rows that each condition sends to the right, as bits, (conditions, words)."""
        rows = block.shape[1]
        bits = np.empty((len(self._feature), words), dtype=np.uint64)
        for start, end in self._runs:
            right = np.zeros((end - start, words * _WORD), dtype=np.bool_)
            self._send_right(block[self._feature[start]], start, end, right[:, :rows])
            bits[start:end] = np.packbits(right).view(np.uint64).reshape(end - start, words)
        return bits

    def _send_right(self, column: NDArray[np.float32], start: int, end: int, right: NDArray[np.bool_]) -> None:
        """Fill in the rows that conditions of one kind on one column send to the right."""
        kind, threshold = self._kind[start], self._threshold[start:end, None]
        if kind == OTHER_CATEGORY:
            most = self._sets.shape[1] - 1
            listed = (column > -1) & (column < most)
            code = np.where(listed, column, most).astype(np.int64)
            np.logical_not(self._sets[self._set[start:end]][:, code], out=right)
        elif kind == NOT_BELOW:
            np.less_equal(column, threshold, out=right)
            np.logical_not(right, out=right)
        else:
            np.greater(column, threshold, out=right)
            if kind in (ABOVE_NOT_ZERO, ABOVE_OR_ZERO):
                zero = ~(np.abs(column) > ZERO)  # NaN too
                right[:, zero] = kind == ABOVE_OR_ZERO


def _group(trees: TreeArrays, condition: Places, start: int, end: int) -> _Group:
    """Number the rows of bits: the empty one, the roots, and for each level the right children, then the left ones."""
    count = end - start
    leaf_row = np.zeros(trees.first_leaf[end] - trees.first_leaf[start], dtype=np.int64)
    tree = np.arange(start, end)
    row = 1 + np.arange(count)
    single = np.diff(trees.first_leaf[start : end + 1]) == 1
    leaf_row[trees.first_leaf[tree[single]] - trees.first_leaf[start]] = row[single]
    tree, row = tree[~single], row[~single]
    node, levels, used = trees.first_node[tree], list[_Level](), count + 1
    while len(node):
        right, left, after = used, used + len(node), used + 2 * len(node)
        levels.append(_Level(row, condition[node], right, left, after))
        child = np.concatenate([trees.right[node], trees.left[node]])
        tree, row, used = np.concatenate([tree, tree]), np.arange(right, after), after
        leaf = child < 0
        leaf_row[trees.first_leaf[tree[leaf]] - trees.first_leaf[start] + ~child[leaf]] = row[leaf]
        tree, row = tree[~leaf], row[~leaf]
        node = trees.first_node[tree] + child[~leaf]
    digits, values = _digits(trees, leaf_row, start, end)
    return _Group(tuple(levels), used, digits, values)


def _digits(trees: TreeArrays, leaf_row: Places, start: int, end: int) -> tuple[Places, Values]:
    sizes = np.diff(trees.first_leaf[start : end + 1])
    count, tree = max(1, int(sizes.max() - 1).bit_length()), np.repeat(np.arange(end - start), sizes)
    leaf = np.concatenate([np.arange(size) for size in sizes])
    values = np.zeros((end - start, trees.leaves.shape[1], 2**count))
    values[tree, :, leaf] = trees.leaves[trees.first_leaf[start] : trees.first_leaf[end]]
    rows: list[list[int]] = [[] for _ in range(count * (end - start))]
    for number, owner, row in zip(leaf.tolist(), tree.tolist(), leaf_row.tolist(), strict=True):
        for digit in range(count):
            if number >> digit & 1:
                rows[digit * (end - start) + owner].append(row)
    most = max(1, *map(len, rows))
    return np.array([row + [0] * (most - len(row)) for row in rows], dtype=np.int64).T.copy(), values


def _leaf_numbers(group: _Group, conditions: NDArray[np.uint64], words: int) -> NDArray[np.uint8]:
    """Return the leaf of each row in each tree, uint8 (trees, words * 64)."""
    count = len(group.values)
    bits = np.empty((group.rows, words), dtype=np.uint64)
    bits[0], bits[1 : count + 1] = 0, _ALL
    for level in group.levels:
        reached = bits[level.reached]
        np.bitwise_and(reached, conditions[level.condition], out=bits[level.right : level.left])
        np.bitwise_xor(reached, bits[level.right : level.left], out=bits[level.left : level.end])
    packed = bits[group.digits[0]]
    for rows in group.digits[1:]:
        np.bitwise_or(packed, bits[rows], out=packed)
    digits = np.unpackbits(packed.view(np.uint8)).reshape(-1, count, words * _WORD)
    number: NDArray[np.uint8] = digits[0]
    for digit, values in enumerate(digits[1:], 1):
        np.left_shift(values, digit, out=values)
        np.bitwise_or(number, values, out=number)
    return number
