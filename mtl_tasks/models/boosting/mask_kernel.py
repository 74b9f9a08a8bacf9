"""The functions that numba compiles; only :mod:`~mtl_tasks.models.boosting.leaf_masks` imports this module.

Numba keeps what it compiled until this file changes. Change it too if a constant that it imports changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.leaf_masks import DE_BRUIJN
from mtl_tasks.models.boosting.tree_arrays import ABOVE, ABOVE_OR_ZERO, NOT_BELOW, OTHER_CATEGORY, ZERO

log = logging.getLogger(__name__)
_ALL: Final = np.uint32(0xFFFFFFFF)
_NONE, _FACTOR, _SHIFT = np.uint32(0), np.uint32(DE_BRUIJN), np.uint32(27)

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    try:
        compiled: Function = numba.njit(function, nogil=True, cache=True)
    except RuntimeError as error:  # no folder that numba can write
        log.info("compiled without a cache: %s", error)
        compiled = numba.njit(function, nogil=True)
    return compiled


@_compiled
def add_scores(
    block: NDArray[np.float32],
    first_word: NDArray[np.int32],
    first_condition: NDArray[np.int32],
    feature: NDArray[np.int32],
    kind: NDArray[np.uint8],
    threshold: NDArray[np.float32],
    category_set: NDArray[np.int32],
    kept: NDArray[np.uint32],
    sets: NDArray[np.bool_],
    leaves: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Add the outputs of each row's leaf, tree by tree.

    Parameters
    ----------
    block
        (columns, rows).
    first_word, first_condition
        (trees + 1,), (words + 1,): the first mask of each tree, the first condition of each mask.
    feature, kind, threshold, category_set
        (conditions,): see :class:`~mtl_tasks.models.boosting.tree_arrays.TreeArrays`.
    kept
        (conditions,): the leaves that remain of a row that goes right.
    leaves
        (words, outputs, 32).
    scores
        (outputs, rows), changed in place.
    """
    mask, found = np.empty(block.shape[1], dtype=np.uint32), np.empty(block.shape[1], dtype=np.bool_)
    for tree in range(len(first_word) - 1):
        several = first_word[tree + 1] - first_word[tree] > 1
        found[:] = False
        for word in range(first_word[tree], first_word[tree + 1]):
            mask[:] = _ALL
            for condition in range(first_condition[word], first_condition[word + 1]):
                column, limit, rest = block[feature[condition]], threshold[condition], kept[condition]
                if kind[condition] == OTHER_CATEGORY:
                    _rule_out_category(mask, column, sets[category_set[condition]], rest)
                else:
                    _rule_out(mask, column, kind[condition], limit, rest)
            if several:
                _add_first(mask, found, leaves[word], scores)
            else:
                _add(mask, leaves[word], scores)


@_compiled
def _rule_out(
    mask: NDArray[np.uint32], column: NDArray[np.float32], kind: int, limit: np.float32, rest: np.uint32
) -> None:
    """Rule out leaves of the rows that a condition on a number sends to the right."""
    if kind == ABOVE:
        for row in range(len(mask)):
            mask[row] &= rest if column[row] > limit else _ALL
    elif kind == NOT_BELOW:
        for row in range(len(mask)):
            mask[row] &= _ALL if column[row] <= limit else rest
    else:
        zero_rest = rest if kind == ABOVE_OR_ZERO else _ALL
        for row in range(len(mask)):
            above = rest if column[row] > limit else _ALL
            mask[row] &= above if abs(column[row]) > ZERO else zero_rest  # NaN is 0 here


@_compiled
def _rule_out_category(
    mask: NDArray[np.uint32], column: NDArray[np.float32], goes_left: NDArray[np.bool_], rest: np.uint32
) -> None:
    most = len(goes_left) - 1
    for row in range(len(mask)):
        value = column[row]
        code = int(value) if value > -1 and value < most else most
        mask[row] &= _ALL if goes_left[code] else rest


@_compiled
def _add(mask: NDArray[np.uint32], leaves: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
    """Add the outputs of the leaves of a tree that one mask holds."""
    for row in range(len(mask)):
        mask[row] = np.uint32((mask[row] & (_NONE - mask[row])) * _FACTOR) >> _SHIFT
    for output in range(len(scores)):
        values, total = leaves[output], scores[output]
        for row in range(len(mask)):
            total[row] += values[mask[row]]


@_compiled
def _add_first(
    mask: NDArray[np.uint32], found: NDArray[np.bool_], leaves: NDArray[np.float64], scores: NDArray[np.float64]
) -> None:
    """Add the outputs of leaves of one of several masks, unless a row's leaf was found in an earlier one."""
    for row in range(len(mask)):
        if mask[row] != _NONE and not found[row]:
            found[row] = True
            leaf = np.uint32((mask[row] & (_NONE - mask[row])) * _FACTOR) >> _SHIFT
            for output in range(len(scores)):
                scores[output, row] += leaves[output, leaf]
