"""The table of items that are not recommended during some days."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.core.arrays import id_array
from mtl_tasks.core.columns import ITEM
from mtl_tasks.core.days import EPOCH
from mtl_tasks.core.errors import quoted
from mtl_tasks.data.conversion import ColumnRef, is_text, narrow_ids, to_ids, to_moments, to_pandas
from mtl_tasks.data.files import SUFFIXES, SourceFile, locate, readable, source_file
from mtl_tasks.data.reading import read_columns
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.reranking import SECTION, ExclusionTable

log = logging.getLogger(__name__)

FROM: Final = "from_day"  # int32, UTC days since 1970-01-01: first day of the exclusion
UNTIL: Final = "until_day"  # int32: first day after the exclusion
KEY: Final = f"{SECTION}.exclude_table"
_ALWAYS: Final = np.iinfo(np.int32)
_DATE_LENGTH: Final = len("YYYY-MM-DD")


def read_exclusions(
    table: ExclusionTable, scenario: Scenario, files: list[SourceFile], root: str | Path | UPath, item_ids: pd.Series
) -> pd.DataFrame:
    """Read the exclusions of items.

    Parameters
    ----------
    files
        They include the table's file, under its path.
    item_ids
        The log's item ids; the table's must have the same type.

    Returns
    -------
    pandas.DataFrame
        ``item_id``; ``from_day`` and ``until_day`` (int32, UTC days since 1970-01-01): the item is excluded on days
        from the first up to, but not including, the second. A missing time becomes the least or the greatest int32. A
        date is a UTC day; of periods between times, a UTC day that they cover in part is excluded.

    Raises
    ------
    DataError
        If the file or a column is missing, ids are missing or of another type than the log's, a time is no date or
        timestamp, or a period ends before it starts.
    """
    file = next(file for file in files if file.path == table.path)
    positions = _positions(table, scenario)
    found = read_columns(file, root, positions)
    ids = _ids(found[ITEM], item_ids, positions[ITEM])
    times = {name: _times(found[name], scenario, positions[name]) for name in (FROM, UNTIL) if name in found}
    nothing = pd.Series(pd.NaT, ids.index, dtype="datetime64[us, UTC]")
    start, end = times.get(FROM, nothing), times.get(UNTIL, nothing)
    reversed_ = (start >= end).to_numpy()
    if reversed_.any():
        first = int(np.flatnonzero(reversed_)[0])
        shown = quoted(f", the first of item {ids.tolist()[first]!r} from {start.iloc[first]} until {end.iloc[first]}")
        raise positions[FROM].error(
            f"has {int(reversed_.sum()):,} times that are not before their {table.until!r}{shown}: correct the periods"
        )
    if len(ids) and not ids.isin(item_ids).any():
        log.warning("%s", positions[ITEM].error("names no item of the log, so that it excludes nothing"))
    return pd.DataFrame(
        {
            ITEM: ids,
            FROM: _days(start, np.floor, _ALWAYS.min),
            UNTIL: _days(end, np.ceil, _ALWAYS.max),
        }
    )


def exclusion_file(table: ExclusionTable, root: str | Path) -> SourceFile:
    """Return the table's file as it is now.

    Raises
    ------
    DataError
        If there is none.
    SourceError
        If its bucket does not answer.
    """
    with readable(f"{KEY}.path {table.path!r}"):
        return source_file(locate(root, table.path), table.path, None)


def excluded_ids(exclusions: pd.DataFrame, day: int) -> NDArray[Any]:
    """Return the ids, each once, of the items that are excluded on a day."""
    valid = (exclusions[FROM] <= day) & (day < exclusions[UNTIL])
    return id_array(exclusions.loc[valid, ITEM].drop_duplicates())


def _positions(table: ExclusionTable, scenario: Scenario) -> dict[str, ColumnRef]:
    """Return the column that each canonical name is read from."""
    named = {ITEM: (table.item, "item"), FROM: (table.start, "from"), UNTIL: (table.until, "until")}
    text = table.path.endswith(SUFFIXES["csv"])
    return {
        name: ColumnRef(table.path, column, f"{KEY}.{key} in {scenario.file}", text)
        for name, (column, key) in named.items()
        if column is not None
    }


def _ids(column: pa.ChunkedArray, log_ids: pd.Series, ref: ColumnRef) -> pd.Series:
    """Return the table's ids in the log's type."""
    ids, _ = to_ids(column, ref)
    if ids.null_count:
        raise ref.error(f"has {ids.null_count:,} missing ids: remove those rows or fill them in")
    wanted = "integers" if pd.api.types.is_integer_dtype(log_ids) else "strings"
    ids = narrow_ids(ids) if ref.text and wanted == "integers" else ids
    if not len(ids):
        return log_ids.iloc[:0].reset_index(drop=True)
    kind = "integers" if pa.types.is_integer(ids.type) else "strings"
    if kind != wanted:
        raise ref.error(f"holds {kind}, but the log's item ids are {wanted}: cast one of the two")
    return to_pandas(ids)


def _times(column: pa.ChunkedArray, scenario: Scenario, ref: ColumnRef) -> pd.Series:
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    kind = column.type
    dated = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)
    if not (dated or is_text(kind)):
        raise ref.error(f"holds {kind}, expected dates or timestamps: cast the column")
    source = scenario.source
    if pa.types.is_date(kind) or (is_text(kind) and (pc.max(pc.utf8_length(column)).as_py() or 0) <= _DATE_LENGTH):
        source = source.model_copy(update={"timezone": None})  # a date is a UTC day, as everywhere else
    return to_pandas(to_moments(column, source, ref))


def _days(times: pd.Series[Any], rounded: np.ufunc, missing: int) -> NDArray[np.int32]:
    days = np.asarray((times - EPOCH) / pd.Timedelta(days=1), dtype=np.float64)
    return np.where(np.isnan(days), missing, rounded(days)).astype(np.int32)
