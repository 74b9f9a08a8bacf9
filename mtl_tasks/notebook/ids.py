"""Ids that a caller gives, as the log's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype, is_string_dtype

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError


def rows_like(frame: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
    """Return the columns user and item of a frame with the types of a log's.

    Raises
    ------
    DataError
        If one is missing or there twice, or an id is null, of another type or too large for it.
    """
    pair = (columns.USER, columns.ITEM)
    for name in pair:
        count = list(frame.columns).count(name)
        if count != 1:
            has, found = f"{count} columns" if count else "no column", ", ".join(map(str, frame.columns)) or "none"
            raise DataError(f"frame: {has} {name!r} (its columns are: {found}): name the ids {' and '.join(pair)}")
    return pd.DataFrame({name: ids_like(frame[name], past[name], f"column {name!r}") for name in pair})


def ids_like(ids: pd.Series[Any], known: pd.Series[Any], where: str) -> pd.Series[Any]:
    """Return ids with the type of a log's ids.

    Raises
    ------
    DataError
        If an id is null, of another type or too large for it; the message begins with ``where``.

    Examples
    --------
    >>> ids_like(pd.Series([2, 3], dtype="int16"), pd.Series([1]), "users").dtype
    dtype('int64')
    """
    if ids.empty:
        return ids.astype(known.dtype)
    if ids.isna().any():
        raise DataError(f"{where}: {int(ids.isna().sum()):,} of {len(ids):,} ids are null: leave those rows out")
    whole = is_integer_dtype(known.dtype)
    if not (is_integer_dtype(ids.dtype) if whole else is_string_dtype(ids)):  # a column of objects is looked into
        kind = "whole numbers" if whole else "texts"
        raise DataError(f"{where}: is {ids.dtype}, and the ids of this log are {kind}: convert it")
    if whole and int(ids.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{where}: {int(ids.max())} does not fit 64 signed bits, so it is none of this log's: check it")
    return ids.astype(known.dtype)
