"""Array helpers: stable ordering by several integer keys in one sort, and top-n selection without a sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Positions = NDArray[np.int64]
_BITS: Final = 63
_GROUP: Final = 16  # columns per block; the first pass looks at block maxima only


def group_starts(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the first element of each run of equal values, bool (n,)."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def top_n_mask(groups: NDArray[Any], values: NDArray[np.floating[Any]], count: int) -> NDArray[np.bool_]:
    """Mark the rows with the ``count`` largest values of their group, bool (n,); ties with the last are included.

    Groups become the rows of a padded matrix, and a partition of each finds its threshold: for groups of hundreds of
    rows, a tenth of the time of a sort.

    Parameters
    ----------
    groups
        (n,) group of each row; rows of a group must be contiguous.
    values
        float (n,); NaN ranks below any number.

    >>> top_n_mask(np.array([7, 7, 7, 3]), np.array([0.5, 2.0, 0.5, 0.1]), 2)
    array([ True,  True,  True,  True])
    """
    first = group_starts(groups)
    number = np.cumsum(first) - 1
    lengths = np.bincount(number)
    if not len(groups) or lengths.max() <= count:
        return np.ones(len(groups), dtype=np.bool_)
    known = np.where(np.isnan(values), -np.inf, values)
    beside = np.full((len(lengths), lengths.max()), -np.inf, dtype=values.dtype)
    beside[number, np.arange(len(groups)) - np.flatnonzero(first)[number]] = known
    reached = np.partition(beside, -count, axis=1)[:, -count]
    among: NDArray[np.bool_] = known >= reached[number]
    return among


def marked(mask: NDArray[np.bool_]) -> tuple[Positions, Positions]:
    """Return row and column of each true value of a 2-D mask, in a fifth of the time of ``np.nonzero``.

    >>> marked(np.array([[False, True], [True, True]]))
    (array([0, 1, 1]), array([1, 0, 1]))
    """
    row, column = np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))
    return row, column


def largest_of_rows(scores: NDArray[np.float32], count: int) -> tuple[Positions, Positions]:
    """Return row and column of the ``count`` largest positive scores of each row; ties go to the first column.

    The choice in a row does not depend on other rows.

    Parameters
    ----------
    scores
        float32 (rows, columns), finite, fewer than 2**29 columns.

    >>> largest_of_rows(np.array([[0.5, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=np.float32), 2)
    (array([0, 0, 1]), array([0, 1, 2]))
    """
    size = scores.shape[1]
    bound = np.full(len(scores), np.finfo(np.float32).tiny)
    groups = size // _GROUP
    if groups > count:
        # At least ``count`` scores reach the count-th largest block maximum, and few others do: a fifth of the time of
        # partitioning all columns.
        largest = scores[:, : groups * _GROUP].reshape(len(scores), _GROUP, groups).max(axis=1)
        bound = np.maximum(bound, np.partition(largest, groups - count, axis=1)[:, groups - count])
    row, column = marked(scores >= bound[:, None])
    # The digits that float64 has beyond float32 break ties in favor of the first column.
    distinct = scores[row, column].astype(np.float64)
    distinct.view(np.int64)[:] += size - column
    chosen = top_n_mask(row, distinct, count)
    return row[chosen], column[chosen]


def stable_argsort(*keys: NDArray[Any]) -> Positions:
    """Return the positions that sort rows by their keys, int64 (n,); rows with equal keys keep their order.

    Keys and position are packed into one int64 and sorted: an eighth of the time of ``np.lexsort`` on ten million
    rows. Keys that do not fit use ``np.lexsort``.

    Parameters
    ----------
    keys
        Signed integers (n,), or narrower unsigned ones; the first is the most significant.

    >>> stable_argsort(np.array([2, 1, 2, 1]), np.array([5, 8, 4, 8]))
    array([1, 3, 2, 0])
    """
    size = len(keys[0])
    if not size:
        return np.zeros(0, dtype=np.int64)
    bits = (size - 1).bit_length()
    lowest = [int(key.min()) for key in keys]
    widths = [int(key.max()) - low + 1 for key, low in zip(keys, lowest, strict=True)]
    if sum(width.bit_length() for width in widths) + bits > _BITS:
        return np.lexsort(keys[::-1]).astype(np.int64, copy=False)
    packed = np.zeros(size, dtype=np.int64)
    for key, low, width in zip(keys, lowest, widths, strict=True):
        packed *= width
        packed += key
        packed -= low
    packed <<= bits
    packed |= np.arange(size)
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def row_products(matrix: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the product of each row with the weights, (n,); it does not depend on the other rows.

    The last bits of a BLAS product do depend on them, so a prediction would change with its batch.

    Parameters
    ----------
    matrix
        float (n, columns).
    weights
        float (columns,).
    """
    return np.asarray(np.einsum("ij,j->i", np.ascontiguousarray(matrix), weights))


def id_array(ids: pd.Series | pd.Index) -> NDArray[Any]:
    """Return ids as an int64 or fixed-width text array, which sorts, searches and stores without pickling."""
    if pd.api.types.is_integer_dtype(ids.dtype):
        return ids.to_numpy(dtype=np.int64)
    return ids.to_numpy(dtype=np.str_)


def id_hashes(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of each id, uint64 (n,), the same on every machine.

    >>> id_hashes(np.array([0, 1, 5])) % np.uint64(3)
    array([0, 1, 0], dtype=uint64)
    """
    plain = ids.astype("int64") if ids.dtype.kind in "iu" else ids.astype(object)
    return np.asarray(pd.util.hash_array(plain), dtype=np.uint64)


def drawn_by_ids(seed: Sequence[int], *ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a number from [0, 1) for each row, drawn by its ids alone, float64 (n,).

    Unlike a generator's, the numbers do not depend on the other rows or on their order.

    Parameters
    ----------
    ids
        (n,) each: the ids of a row.
    """
    state = np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)
    for part in ids:
        state = _mixed(state ^ id_hashes(part))
    return np.asarray((state >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finalizer of SplitMix64 (Steele et al., OOPSLA 2014), uint64 (n,)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
