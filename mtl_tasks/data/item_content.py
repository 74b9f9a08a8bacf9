"""Free text and given vectors of the items, converted to canonical columns."""

from __future__ import annotations

from functools import reduce
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mtl_tasks.core.columns import TEXT, VECTORS, vector
from mtl_tasks.core.errors import quoted
from mtl_tasks.data.conversion import ColumnRef, to_pandas, to_texts
from mtl_tasks.scenario import ItemTable

LONGEST: Final = 4096  # numbers of a vector


def content_keys(table: ItemTable) -> dict[str, tuple[str, str]]:
    """Return canonical name to column and scenario key of what :func:`content_columns` reads."""
    keys = {_part(number): (column, "source.items.text") for number, column in enumerate(table.text)}
    return keys | ({} if table.vectors is None else {VECTORS: (table.vectors, "source.items.vectors")})


def content_columns(
    table: ItemTable, columns: dict[str, pa.ChunkedArray], column_refs: dict[str, ColumnRef], ids: pd.Series
) -> dict[str, pd.Series]:
    """Return the text of each item, its columns joined by blanks, and a float32 column for each number of its vector.

    Parameters
    ----------
    columns, column_refs
        By the canonical names of :func:`content_keys`; others are ignored.
    ids
        The item of each row, for messages.

    Raises
    ------
    DataError
        If texts or vectors have another type, no row has any, or the vectors differ in length or hold a value that is
        not finite.
    """
    made: dict[str, pd.Series] = {}
    if table.text:
        parts = [to_pandas(to_texts(columns[_part(n)], column_refs[_part(n)])) for n in range(len(table.text))]
        text = reduce(lambda one, other: one + " " + other, parts).str.strip()
        if len(text) and not (text != "").any():
            raise column_refs[_part(0)].error("has no text in any row: map the right column, or leave the key out")
        made[TEXT] = text.astype("str")
    if table.vectors is not None:
        numbers = to_vectors(columns[VECTORS], column_refs[VECTORS], ids)
        made |= {vector(axis): pd.Series(values) for axis, values in enumerate(numbers.T)}
    return made


def to_vectors(column: pa.ChunkedArray, ref: ColumnRef, ids: pd.Series) -> NDArray[np.float32]:
    """Return a column of lists as float32 (rows, length), NaN in the rows of null.

    Raises
    ------
    DataError
        If it holds no lists of numbers, if their lengths differ, or if a number is missing or not finite.
    """
    lists = _lists(column, ref)
    given = lists.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if not given.any():
        if len(lists):
            raise ref.error("has no vector in any row: map the right column, or leave the key out")
        return np.zeros((0, 0), dtype=np.float32)
    first = int(np.flatnonzero(given)[0])
    length = int(lengths[first])
    other = np.flatnonzero(given & (lengths != length))
    if len(other):
        raise ref.error(
            f"has vectors of different lengths: {length} numbers in {_row(first, ids)}, {lengths[other[0]]} in "
            f"{_row(int(other[0]), ids)}: write all with one length, and null for an item without a vector"
        )
    if not 1 <= length <= LONGEST:
        raise ref.error(f"has vectors of {length:,} numbers, 1 to {LONGEST:,} are supported: shorten them")
    vectors = np.full((len(lists), length), np.nan, dtype=np.float32)
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    vectors[given] = np.asarray(values, dtype=np.float32).reshape(-1, length)
    wrong = np.flatnonzero(given & ~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise ref.error(
            f"has {len(wrong):,} vectors with a number that is missing or not finite, the first in "
            f"{_row(int(wrong[0]), ids)}: correct them, or write null for an item without a vector"
        )
    return vectors


def _lists(column: pa.ChunkedArray, ref: ColumnRef) -> pa.LargeListArray:
    if ref.text:
        raise ref.error("is in a CSV file, which has no lists of numbers: write the table as Parquet")
    try:
        if pa.types.is_nested(column.type):
            return column.cast(pa.large_list(pa.float64())).combine_chunks()
    except pa.ArrowException:
        pass
    raise ref.error(f"holds {column.type}: lists of numbers are needed")


def _row(position: int, ids: pd.Series) -> str:
    return f"row {position + 1:,}" + quoted(f" (item {ids.tolist()[position]!r})")


def _part(number: int) -> str:
    return f"{TEXT}:{number}"
