"""Attribute tables of users and items, read as strictly as the log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from mtl_tasks.core.columns import ITEM, TITLE, USER, VALID
from mtl_tasks.core.errors import quoted
from mtl_tasks.data.conversion import (
    ColumnRef,
    is_text,
    narrow_ids,
    to_ids,
    to_kinds,
    to_moments,
    to_numbers,
    to_pandas,
    to_texts,
)
from mtl_tasks.data.files import SUFFIXES, SourceFile
from mtl_tasks.data.item_content import content_columns, content_keys
from mtl_tasks.data.reading import read_columns
from mtl_tasks.scenario import AttributeTable, ItemTable, Scenario, Source

_KNOWN_TIMES: Final = (pd.Timestamp("1000-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC"))  # books are old


def read_items(
    scenario: Scenario, files: list[SourceFile], root: str | Path | UPath, item_ids: pd.Series
) -> pd.DataFrame:
    """Read the item table; without one, return the log's items without attributes.

    Parameters
    ----------
    item_ids
        The log's item ids; the table's must have the same type.

    Returns
    -------
    pandas.DataFrame
        ``item_id``, ``title`` (str, '' if none), ``valid_from`` (datetime64[us, UTC]; only in a versioned table, which
        is ordered by id and it), the free text (str, '' if none), a column for each number of the given vectors
        (float32, NaN where an item has none), the numeric attributes (float32, NaN where unknown), the categorical and
        multi-valued ones (str, '' if none; several values joined by ``|``), and the times (datetime64[us, UTC]).

    Raises
    ------
    DataError
        As :func:`~mtl_tasks.data.interactions.read_log`; also for ids that are missing, repeated or of another type
        than the log's, and for attributes that are infinite or entirely null.
    """
    table = scenario.source.items
    if table is not None:
        return _read(scenario, table, ITEM, files, root, item_ids)
    ids = item_ids.dropna().drop_duplicates().sort_values(ignore_index=True)
    return pd.DataFrame({ITEM: ids.astype(_id_dtype(item_ids)), TITLE: pd.Series("", ids.index, dtype="str")})


def read_users(
    scenario: Scenario, files: list[SourceFile], root: str | Path | UPath, user_ids: pd.Series
) -> pd.DataFrame:
    """Read the user table like :func:`read_items` (``user_id``, no title); without one, return no rows."""
    table = scenario.source.users
    if table is not None:
        return _read(scenario, table, USER, files, root, user_ids)
    return pd.DataFrame({USER: user_ids.iloc[:0].astype(_id_dtype(user_ids))})


def newest(table: pd.DataFrame, id_column: str, day: int) -> pd.DataFrame:
    """Return the newest version of each id from before a day; a table without versions is returned as it is."""
    if VALID not in table:
        return table
    known = table[table[VALID] < pd.Timestamp(day, unit="D", tz="UTC")]
    return known.drop_duplicates(id_column, keep="last")


def _read(
    scenario: Scenario,
    table: AttributeTable,
    id_column: str,
    files: list[SourceFile],
    root: str | Path | UPath,
    log_ids: pd.Series,
) -> pd.DataFrame:
    file = next(file for file in files if file.path == table.path)
    column_refs = _column_refs(scenario, table, id_column)
    columns = read_columns(file, root, column_refs)
    frame = pd.DataFrame({id_column: _checked_ids(columns[id_column], log_ids, column_refs[id_column])})
    if id_column == ITEM:
        frame[TITLE] = to_pandas(to_texts(columns[TITLE], column_refs[TITLE])) if TITLE in columns else ""
        frame[TITLE] = frame[TITLE].astype("str")
    if isinstance(table, ItemTable) and table.contents:
        content = content_columns(table, columns, column_refs, frame[ITEM])
        frame = pd.concat([frame, pd.DataFrame(content, index=frame.index)], axis=1)
    for name in table.numeric:
        frame[name] = _finite_numbers(columns[name], column_refs[name])
    for name in table.categorical:
        frame[name] = to_pandas(to_kinds(columns[name], column_refs[name]))
    for name in table.multi:
        frame[name] = to_pandas(
            to_texts(_joined_by_bar(columns[name], table.separator, column_refs[name]), column_refs[name])
        )
    for name in table.times:
        frame[name] = _known_times(columns[name], scenario.source, column_refs[name])
    if table.valid_from:  # any time: a version may have been valid forever
        frame[VALID] = to_pandas(to_moments(columns[VALID], scenario.source, column_refs[VALID]))
    _refuse_empty(frame, column_refs)
    return _one_row_a_version(frame, id_column, column_refs)


def _finite_numbers(column: pa.ChunkedArray, ref: ColumnRef) -> pd.Series:
    numbers = to_pandas(to_numbers(column, ref))
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise ref.error(f"has {infinite:,} infinite values: write null instead")
    return numbers


def _known_times(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> pd.Series:
    times = to_pandas(to_moments(column, source, ref))
    strange = int((times.notna() & ~times.between(*_KNOWN_TIMES)).sum())
    if strange:
        span = " to ".join(f"{time:%Y-%m-%d}" for time in _KNOWN_TIMES)
        raise ref.error(f"has {strange:,} times outside {span}: write null instead")
    return times


def _joined_by_bar(column: pa.ChunkedArray, separator: str, ref: ColumnRef) -> pa.ChunkedArray:
    """Join several values by ``|``, given as lists or as texts with their own separator."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        try:
            texts = column.cast(pa.large_list(pa.large_string()))
        except pa.ArrowException:
            raise ref.error(f"holds {column.type}: a list of texts or numbers is needed") from None
        return pa.chunked_array([_join_lists(chunk) for chunk in texts.chunks], type=pa.large_string())
    if separator == "|" or not is_text(column.type):
        return column
    column = pc.replace_substring(column.cast(pa.large_string()), "|", "/")
    return pc.replace_substring_regex(column, rf"\s*{re.escape(separator)}\s*", "|")


def _join_lists(lists: pa.LargeListArray) -> pa.Array:
    values = pc.replace_substring(pc.list_flatten(lists), "|", "/")
    owner = pc.list_parent_indices(lists)
    filled = pc.is_valid(values)  # nulls among the values are left out
    values, owner = values.filter(filled), owner.filter(filled).to_numpy()
    offsets = np.searchsorted(owner, np.arange(len(lists) + 1))
    made = pa.LargeListArray.from_arrays(pa.array(offsets, type=pa.int64()), values)
    joined = pc.binary_join(made, pa.scalar("|", pa.large_string()))
    return pc.if_else(pc.is_valid(lists), joined, pa.scalar(None, pa.large_string()))


def _column_refs(scenario: Scenario, table: AttributeTable, id_column: str) -> dict[str, ColumnRef]:
    """Return the column that each canonical name is read from."""
    key = "source.items" if isinstance(table, ItemTable) else "source.users"
    keys = {id_column: (table.id, f"{key}.id")}
    if isinstance(table, ItemTable) and table.title is not None:
        keys[TITLE] = (table.title, f"{key}.title")
    if isinstance(table, ItemTable):
        keys |= content_keys(table)
    if table.valid_from is not None:
        keys[VALID] = (table.valid_from, f"{key}.valid_from")
    for kind in ("numeric", "categorical", "multi", "times"):
        keys |= {name: (column, f"{key}.{kind}.{name}") for name, column in getattr(table, kind).items()}
    text = table.path.endswith(SUFFIXES["csv"])
    return {
        name: ColumnRef(table.path, column, f"{said} in {scenario.file}", text) for name, (column, said) in keys.items()
    }


def _checked_ids(column: pa.ChunkedArray, log_ids: pd.Series, ref: ColumnRef) -> pd.Series:
    """Return the table's ids in the log's type."""
    ids, _ = to_ids(column, ref)
    if ids.null_count:
        raise ref.error(f"has {ids.null_count:,} missing ids: remove those rows or fill them in")
    dtype = _id_dtype(log_ids)
    ids = narrow_ids(ids) if ref.text and dtype == "int64" else ids
    kind = "int64" if pa.types.is_integer(ids.type) else "str"
    if kind != dtype:
        words, whose = {"int64": "integers", "str": "strings"}, "user" if ".users." in ref.key else "item"
        raise ref.error(f"holds {words[kind]}, but the log's {whose} ids are {words[dtype]}: cast one of the two")
    return to_pandas(ids)


def _id_dtype(ids: pd.Series) -> Literal["int64", "str"]:
    return "int64" if pd.api.types.is_integer_dtype(ids) else "str"


def _refuse_empty(frame: pd.DataFrame, column_refs: dict[str, ColumnRef]) -> None:
    for name, ref in column_refs.items():
        if name not in frame or name in (TITLE, VALID):  # texts and vectors are checked where they are converted
            continue
        if len(frame) and not (frame[name].notna() & (frame[name] != "")).any():
            raise ref.error("has no value in any row: map the right column, or leave the attribute out")


def _one_row_a_version(frame: pd.DataFrame, id_column: str, column_refs: dict[str, ColumnRef]) -> pd.DataFrame:
    versioned = VALID in frame
    undated = int(frame[VALID].isna().sum()) if versioned else 0
    if undated:
        raise column_refs[VALID].error(f"has {undated:,} missing times: remove those rows or fill them in")
    key = [id_column, VALID] if versioned else [id_column]
    repeated = frame.loc[frame[key].duplicated(), id_column].unique()
    if len(repeated):
        shown = quoted(f", for example {', '.join(repr(value) for value in repeated[:3].tolist())}")
        what = "ids more than once at one time" if versioned else "ids more than once"
        remedy = "keep one row a version" if versioned else "keep one row an id, or name valid_from"
        raise column_refs[id_column].error(f"has {len(repeated):,} {what}{shown}: {remedy}")
    return frame.sort_values(key, ignore_index=True) if versioned else frame
