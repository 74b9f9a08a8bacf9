"""The interaction log and the item table, read strictly: what cannot be read in one way only is refused by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from upath import UPath

from mtl_tasks.attribution import TYPE, VALUE, join_labels
from mtl_tasks.columns import ITEM, TIME, TITLE, USER, label
from mtl_tasks.conversion import (
    Place,
    concatenated,
    is_text,
    narrow_ids,
    to_ids,
    to_numbers,
    to_pandas,
    to_texts,
    to_times,
)
from mtl_tasks.errors import DataError, nearest
from mtl_tasks.scenario import ItemTable, Scenario
from mtl_tasks.sources import SUFFIXES, SourceFile, is_unchanged, locate, one_line, patiently, readable

log = logging.getLogger(__name__)

FILE: Final = "file"  # category: the file that a row was read from
PARTITION: Final = "partition_day"  # int32: the day of the dt= folder that it lay in; only in a partitioned log

_SHOWN = 12  # names listed in a message


def read_log(scenario: Scenario, files: list[SourceFile], root: str | Path | UPath) -> pd.DataFrame:
    """Read the log's needed columns under their canonical names: rows in file order, none dropped.

    Of a log in the long layout the exposures are returned, with the labels that they led to.

    Returns
    -------
    pandas.DataFrame
        ``user_id`` and ``item_id`` (int64, Int64 if some are missing, or str), ``event_time``
        (datetime64[us, UTC]), ``label:<task>`` (float32, NaN where null), ``file`` (category) and, if the log is
        partitioned, ``partition_day`` (int32).

    Raises
    ------
    DataError
        If a file is missing, changed, truncated or corrupt, lacks a column, holds a wrong type or another one than
        the first file, or has times that do not name one instant.
    """
    items = scenario.source.items
    log_files = [file for file in files if items is None or file.path != items.path]
    seen: dict[str, tuple[str, str]] = {}
    parts = [_log_part(scenario, file, root, seen) for file in log_files]
    frame = join_parts(scenario, [(file.path, file.day) for file in log_files], parts)
    log.info("%s: read %d rows from %d files", scenario.name, len(frame), len(log_files))
    return frame


def join_parts(
    scenario: Scenario, files: list[tuple[str, int | None]], parts: list[dict[str, pa.ChunkedArray]]
) -> pd.DataFrame:
    """Make the table that :func:`read_log` returns of converted columns, file by file.

    Parameters
    ----------
    files
        Path and partition day of each part.
    """
    for name, place in log_places(scenario, scenario.source.log).items():
        if name in (USER, ITEM) and all(pa.types.is_null(part[name].type) for part in parts):
            raise place.error("has no value in any row: map the right column, or load the data")
    text = scenario.source.format == "csv"
    joined = {name: concatenated([part[name] for part in parts]) for name in parts[0]}
    if text:
        joined |= {name: narrow_ids(joined[name]) for name in (USER, ITEM)}
    frame = pd.DataFrame({name: to_pandas(column) for name, column in joined.items()}, copy=False)
    rows = [len(part[TIME]) for part in parts]
    codes = np.repeat(np.arange(len(files), dtype=np.int32), rows)
    frame[FILE] = pd.Categorical.from_codes(codes, categories=pd.Index([path for path, _ in files], dtype="str"))
    days = [day for _, day in files if day is not None]
    if days:
        frame[PARTITION] = np.repeat(np.array(days, dtype=np.int32), rows)
    if scenario.source.long is not None:
        frame = join_labels(frame, scenario, scenario.source.long)
    return frame


def read_items(
    scenario: Scenario, files: list[SourceFile], root: str | Path | UPath, item_ids: pd.Series
) -> pd.DataFrame:
    """Read the item table; without one, make a table of the log's items that has no attributes.

    Parameters
    ----------
    item_ids
        The log's item ids; the table's must be of the same type.

    Returns
    -------
    pandas.DataFrame
        ``item_id``, ``title`` (str, '' if none), the numeric attributes (float32, NaN where unknown) and the multi
        attributes (str, values joined by ``|``, '' if none).

    Raises
    ------
    DataError
        As :func:`read_log`; also for ids that are missing, repeated or of another type than the log's, and for
        infinite attributes.
    """
    table = scenario.source.items
    if table is None:
        ids = item_ids.dropna().drop_duplicates().sort_values(ignore_index=True)
        return pd.DataFrame({ITEM: ids.astype(_id_dtype(item_ids)), TITLE: pd.Series("", ids.index, dtype="str")})
    file = next(file for file in files if file.path == table.path)
    places = _item_places(scenario, table)
    columns = _read_columns(file, root, places)
    ids, _ = to_ids(columns[ITEM], places[ITEM])
    frame = pd.DataFrame({ITEM: _checked_ids(ids, item_ids, places[ITEM])})
    frame[TITLE] = to_pandas(to_texts(columns[TITLE], places[TITLE])) if TITLE in columns else ""
    frame[TITLE] = frame[TITLE].astype("str")
    for name in table.numeric:
        frame[name] = to_pandas(to_numbers(columns[name], places[name]))
        if np.isinf(frame[name]).any():
            raise places[name].error(f"has {int(np.isinf(frame[name]).sum()):,} infinite values: write null instead")
    for name in table.multi:
        frame[name] = to_pandas(to_texts(columns[name], places[name]))
    return frame


# ------------------------------------------------------------------------------------------ reading a file


def _log_part(
    scenario: Scenario, file: SourceFile, root: str | Path | UPath, seen: dict[str, tuple[str, str]]
) -> dict[str, pa.ChunkedArray]:
    """Read one file of the log; ``seen`` holds each column's first (type in words, file), to hold later ones to."""
    places = log_places(scenario, file.path)
    part = _read_columns(file, root, places)
    for name, place in places.items():
        part[name] = log_column(name, part[name], place, scenario, seen)
    return part


def log_column(
    name: str, column: pa.ChunkedArray, place: Place, scenario: Scenario, seen: dict[str, tuple[str, str]]
) -> pa.ChunkedArray:
    """Return a column of the log in its canonical type; for ``seen`` see :func:`_log_part`."""
    kind: str | None = None
    if name == TIME:
        # A database without a type for times keeps them as text.
        text = place.text or (scenario.source.sql is not None and is_text(column.type))
        column, kind = to_times(column, scenario.source, replace(place, text=text))
    elif name in (USER, ITEM):
        column, kind = to_ids(column, place)
    elif name == TYPE:
        column = to_texts(column, place)
    else:
        column = to_numbers(column, place)
    if kind is not None:
        first, first_file = seen.setdefault(name, (kind, place.file))
        if kind != first:
            raise place.error(f"holds {kind}, but {first_file} holds {first}: write every file with one type")
    return column


def log_places(scenario: Scenario, file: str) -> dict[str, Place]:
    """Canonical name to the column that it is read from."""
    columns = scenario.source.columns
    keys = {
        USER: (columns.user, "source.columns.user"),
        ITEM: (columns.item, "source.columns.item"),
        TIME: (columns.time, "source.columns.time"),
    }
    tasks, long = scenario.tasks, scenario.source.long
    if long is None:
        keys |= {label(name): (t.label, f"tasks.{name}.label") for name, t in tasks.items() if t.label is not None}
    else:
        keys[TYPE] = (long.type, "source.long.type")
        keys |= {} if long.value is None else {VALUE: (long.value, "source.long.value")}
    text = scenario.source.format == "csv"
    return {name: Place(file, column, f"{key} in {scenario.file}", text) for name, (column, key) in keys.items()}


def _item_places(scenario: Scenario, table: ItemTable) -> dict[str, Place]:
    keys = {ITEM: (table.id, "source.items.id")}
    if table.title is not None:
        keys[TITLE] = (table.title, "source.items.title")
    keys |= {name: (column, f"source.items.numeric.{name}") for name, column in table.numeric.items()}
    keys |= {name: (column, f"source.items.multi.{name}") for name, column in table.multi.items()}
    text = table.path.endswith(SUFFIXES["csv"])
    return {name: Place(table.path, column, f"{key} in {scenario.file}", text) for name, (column, key) in keys.items()}


def _read_columns(file: SourceFile, root: str | Path | UPath, places: dict[str, Place]) -> dict[str, pa.ChunkedArray]:
    """Return the columns that ``places`` names, by canonical name, after checking that the file has not changed."""
    text = next(iter(places.values())).text

    def table() -> pa.Table:
        with readable(file.path), parsed(file.path, text):
            path = locate(root, file.path)
            if not is_unchanged(file, path):
                raise DataError(f"{file.path}: changed since the run listed its sources: run again")
            return _read_csv(path, places) if text else _read_parquet(path, places)

    found = patiently(table)
    return {name: found.column(place.column) for name, place in places.items()}


def _read_parquet(path: UPath, places: dict[str, Place]) -> pa.Table:
    with path.open("rb") as handle:
        parquet = pq.ParquetFile(handle)
        return parquet.read(columns=wanted_columns(parquet.schema_arrow.names, places))


def _read_csv(path: UPath, places: dict[str, Place]) -> pa.Table:
    """Read every column as strings: a type inferred from the first rows would change the later ones silently.

    The file streams through, so that no more of it is in memory than the columns that are wanted. It is opened once
    for the names and once for the rows: a reader reads ahead, and would move a handle that both shared.
    """
    with path.open("rb") as handle, pacsv.open_csv(text_of(handle, path)) as reader:
        wanted = wanted_columns(reader.schema.names, places)
    strings = pacsv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string()), strings_can_be_null=False
    )
    with path.open("rb") as handle, pacsv.open_csv(text_of(handle, path), convert_options=strings) as reader:
        return reader.read_all()


def text_of(handle: BinaryIO, path: UPath) -> pa.NativeFile:
    """Return the text of a CSV file that is open, decompressed as it is read."""
    raw = pa.PythonFile(handle, mode="r")
    return pa.CompressedInputStream(raw, "gzip") if path.name.endswith(".gz") else raw


def wanted_columns(names: list[str], places: dict[str, Place]) -> list[str]:
    """Return the columns to read, each exactly once in the file."""
    for place in places.values():
        count = names.count(place.column)
        if count != 1:
            listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            problem = "is not in the file" if count == 0 else f"occurs {count} times"
            raise place.error(f"{problem}{nearest(place.column, names)} (the file has {listed})")
    return list(dict.fromkeys(place.column for place in places.values()))


@contextmanager
def parsed(file: str, text: bool) -> Iterator[None]:
    """Say which file cannot be parsed."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or the network, not the content
        kind = "CSV" if text else "Parquet"
        raise DataError(
            f"{file}: not a readable {kind} file, truncated or corrupt: {one_line(error)}: write it again"
        ) from error


# ------------------------------------------------------------------------------------------ checking the item table


def _checked_ids(ids: pa.ChunkedArray, log_ids: pd.Series, place: Place) -> pd.Series:
    """Return the item table's ids in the log's type, each once."""
    if ids.null_count:
        raise place.error(f"has {ids.null_count:,} missing ids: remove those rows or fill them in")
    dtype = _id_dtype(log_ids)
    ids = narrow_ids(ids) if place.text and dtype == "int64" else ids
    kind = "int64" if pa.types.is_integer(ids.type) else "str"
    if kind != dtype:
        words = {"int64": "integers", "str": "strings"}
        raise place.error(f"holds {words[kind]}, but the log's item ids are {words[dtype]}: cast one of the two")
    series = to_pandas(ids)
    repeated = series[series.duplicated()].unique()
    if len(repeated):
        shown = ", ".join(repr(value) for value in repeated[:3].tolist())
        raise place.error(f"has {len(repeated):,} ids more than once, for example {shown}: keep one row an item")
    return series


def _id_dtype(ids: pd.Series) -> Literal["int64", "str"]:
    return "int64" if pd.api.types.is_integer_dtype(ids) else "str"
