"""Scoring of trees by masks of leaves, compiled by numba.

The leaves of a tree are numbered from left to right, a bit each. A node that sends a row to the right rules out the
leaves of its left subtree. After all nodes, in any order, the lowest remaining bit is the row's leaf.

Source: QuickScorer, Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of
regression trees", SIGIR 2015.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.tree_arrays import TreeArrays, Values

LEAVES: Final = 32  # of a mask
DE_BRUIJN: Final = 0x077CB531  # times a power of two, its five highest bits identify the power (Leiserson et al., 1998)
ROWS: Final = 1024  # of a block: the columns of more leave the processor's second cache

Places = NDArray[np.int64]


class MaskedTrees:
    """Trees in the form in which the compiled function scores them: masks of 32 leaves, several for a large tree."""

    rows = ROWS

    def __init__(self, trees: TreeArrays) -> None:
        start, count, rank = _spans(trees)
        sizes = np.diff(trees.first_leaf)
        first_word = np.concatenate([[0], np.cumsum(-(-sizes // LEAVES))])
        tree = np.repeat(np.arange(trees.trees), sizes - 1)
        node, word = _touched(start, count, first_word[tree])
        offset = start[node] - LEAVES * (word - first_word[tree[node]])  # of the left subtree in the word
        ruled_out = _bits(offset + count[node]) & ~_bits(offset)
        self._trees = (
            first_word.astype(np.int32),
            np.searchsorted(word, np.arange(first_word[-1] + 1)).astype(np.int32),
            trees.feature[node],
            trees.kind[node],
            trees.threshold[node],
            trees.category_set[node],
            ~ruled_out,
            trees.sets,
            _leaf_table(trees, rank, first_word),
        )
        self._outputs = trees.leaves.shape[1]

    def scores(self, block: NDArray[np.float32]) -> Values:
        """Return the sums of the trees in order, float64 (rows, outputs).

        Parameters
        ----------
        block
            (columns, rows).
        """
        scores = np.zeros((self._outputs, block.shape[1]))
        compiled()(block, *self._trees, scores)
        return scores.T


def is_compiled() -> bool:
    """Return whether this process has the compiled function."""
    return compiled.cache_info().currsize > 0


@cache
def compiled() -> Callable[..., None]:
    """Return the compiled function; a process compiles it once, or reads it from numba's cache where there is one."""
    from mtl_tasks.models.boosting.mask_kernel import add_scores

    return add_scores


def compile_seconds() -> float:
    """Return the CPU seconds until the compiled function can be called, including the import of numba."""
    started = time.process_time()
    compiled()(*_nothing())
    return time.process_time() - started


def _nothing() -> tuple[NDArray[Any], ...]:
    """Return arguments without trees, with the types that every call has."""
    whole = np.zeros(1, dtype=np.int32)
    none = np.zeros(0, dtype=np.int32)
    return (
        np.zeros((1, 1), dtype=np.float32),
        whole,
        whole,
        none,
        none.astype(np.uint8),
        none.astype(np.float32),
        none,
        none.astype(np.uint32),
        np.zeros((1, 1), dtype=np.bool_),
        np.zeros((0, 1, LEAVES)),
        np.zeros((1, 1)),
    )


def _spans(trees: TreeArrays) -> tuple[Places, Places, Places]:
    """Return the first leaf and the number of leaves left of each node, and each leaf's rank from the left."""
    nodes, first_leaf = np.diff(trees.first_node), trees.first_leaf
    below = [np.where(side < 0, 1, 0).astype(np.int64) for side in (trees.left, trees.right)]
    for number in reversed(range(int(nodes.max(initial=0)))):  # a child's number is above its parent's
        tree = np.flatnonzero(nodes > number)
        first = trees.first_node[tree]
        for leaves, side in zip(below, (trees.left, trees.right), strict=True):
            child = side[first + number]
            inner = child >= 0
            at = first[inner] + child[inner]
            leaves[first[inner] + number] = below[0][at] + below[1][at]
    start, rank = np.zeros(len(trees.left), dtype=np.int64), np.zeros(first_leaf[-1], dtype=np.int64)
    for number in range(int(nodes.max(initial=0))):
        tree = np.flatnonzero(nodes > number)
        at = trees.first_node[tree] + number
        for child, begin in ((trees.left[at], start[at]), (trees.right[at], start[at] + below[0][at])):
            inner = child >= 0
            start[trees.first_node[tree[inner]] + child[inner]] = begin[inner]
            rank[first_leaf[tree[~inner]] + ~child[~inner]] = begin[~inner]
    return start, below[0], rank


def _touched(start: Places, count: Places, first_word: Places) -> tuple[Places, Places]:
    """Return the pairs of a node and a word in which it can rule out leaves, by word."""
    first, last = start // LEAVES, (start + count - 1) // LEAVES
    words = last - first + 1
    node = np.repeat(np.arange(len(start)), words)
    step = np.arange(len(node)) - np.repeat(np.cumsum(words) - words, words)
    word = first_word[node] + first[node] + step
    order = np.argsort(word, kind="stable")
    return node[order], word[order]


def _bits(count: Places) -> NDArray[np.uint32]:
    """Return masks of the first leaves of a word."""
    return ((np.uint64(1) << np.clip(count, 0, LEAVES).astype(np.uint64)) - np.uint64(1)).astype(np.uint32)


def _leaf_table(trees: TreeArrays, rank: Places, first_word: Places) -> Values:
    """Return float64 (words, outputs, 32): each leaf's outputs where its bit times ``DE_BRUIJN`` begins."""
    tree = np.repeat(np.arange(trees.trees), np.diff(trees.first_leaf))
    bit = (np.uint64(1) << (rank % LEAVES).astype(np.uint64)) * np.uint64(DE_BRUIJN) & np.uint64(0xFFFFFFFF)
    table = np.zeros((first_word[-1], trees.leaves.shape[1], LEAVES))
    table[first_word[tree] + rank // LEAVES, :, (bit >> np.uint64(27)).astype(np.int64)] = trees.leaves
    return table
