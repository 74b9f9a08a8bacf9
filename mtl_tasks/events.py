"""The interaction log and the item table, read strictly: what cannot be read in one way only is refused by name."""

from __future__ import annotations

import datetime
import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from upath import UPath

from mtl_tasks.columns import ITEM, TIME, TITLE, USER, label
from mtl_tasks.conversion import Place, concatenated, narrow_ids, to_ids, to_numbers, to_pandas, to_texts, to_times
from mtl_tasks.errors import ConfigError, DataError, nearest
from mtl_tasks.scenario import ItemTable, Scenario

log = logging.getLogger(__name__)

FILE: Final = "file"  # category: the file that a row was read from
PARTITION: Final = "partition_day"  # int32: the day of the dt= folder that it lay in; only in a partitioned log

_EPOCH = datetime.date(1970, 1, 1)
_PARTITION_NAME = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")
_SHOWN = 12  # names listed in a message
_BLOCK = 1 << 20  # bytes hashed at a time


@dataclass(frozen=True)
class SourceFile:
    """A file of the source as it stood when the run began.

    ``path`` is written as in the scenario, so that keys do not depend on the machine; ``day`` (UTC days since
    1970-01-01) is that of its partition, or None.
    """

    path: str
    day: int | None
    size: int
    sha256: str


def list_sources(scenario: Scenario, root: str | Path, as_of_day: int) -> list[SourceFile]:
    """Find and hash the files that a run at ``as_of_day`` reads: the log's in day order, then the item table.

    Parameters
    ----------
    root
        Folder that the scenario's relative paths start from.
    as_of_day
        UTC days since 1970-01-01; partitions of this day and later are not taken.

    Raises
    ------
    DataError
        If a file or folder is missing, a folder is empty, a partition's name or content is not understood, or no
        partition is before ``as_of_day``.
    ConfigError
        If a path's protocol is unknown or its package is not installed.
    """
    events, items = scenario.source.events, scenario.source.items
    with _readable(f"source.events {events!r} in {scenario.file}"):
        path = _locate(root, events)
        if path.is_dir():
            found = [_source_file(*entry) for entry in _partition_files(path, scenario, as_of_day)]
        else:
            found = [_source_file(path, events, None)]
    if items is not None:
        with _readable(f"source.items.path {items.path!r} in {scenario.file}"):
            found.append(_source_file(_locate(root, items.path), items.path, None))
    return found


def read_log(scenario: Scenario, files: list[SourceFile], root: str | Path) -> pd.DataFrame:
    """Read the log's needed columns under their canonical names: rows in file order, none dropped.

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
    text = scenario.source.format == "csv"
    seen: dict[str, tuple[str, str]] = {}
    parts = [_log_part(scenario, file, root, seen) for file in log_files]
    joined = {name: concatenated([part[name] for part in parts]) for name in parts[0]}
    if text:
        joined |= {name: narrow_ids(joined[name]) for name in (USER, ITEM)}
    frame = pd.DataFrame({name: to_pandas(column) for name, column in joined.items()}, copy=False)
    rows = [len(part[TIME]) for part in parts]
    codes = np.repeat(np.arange(len(log_files), dtype=np.int32), rows)
    frame[FILE] = pd.Categorical.from_codes(codes, categories=pd.Index([f.path for f in log_files], dtype="str"))
    days = [file.day for file in log_files if file.day is not None]
    if days:
        frame[PARTITION] = np.repeat(np.array(days, dtype=np.int32), rows)
    log.info("%s: read %d rows from %d files", scenario.name, len(frame), len(log_files))
    return frame


def read_items(scenario: Scenario, files: list[SourceFile], root: str | Path, item_ids: pd.Series) -> pd.DataFrame:
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


# ------------------------------------------------------------------------------------------ finding the files


def _partition_files(folder: UPath, scenario: Scenario, as_of_day: int) -> Iterator[tuple[UPath, str, int]]:
    """Yield (path, path as the scenario would write it, day) of the data files of the days before ``as_of_day``."""
    source, where = scenario.source, f"(source.events in {scenario.file})"
    days = {_partition_day(entry, scenario): entry for entry in _visible(folder)}
    if not days:
        raise DataError(f"{source.events}: the folder is empty {where}: put dt=YYYY-MM-DD folders into it")
    if min(days) >= as_of_day:
        span = f"{_date(min(days))} to {_date(max(days))}"
        raise DataError(
            f"{source.events}: no partition before {_date(as_of_day)}, there are {span} {where}: choose a later as_of"
        )
    for day in sorted(day for day in days if day < as_of_day):
        name = f"{source.events.rstrip('/')}/{days[day].name}"
        files = _visible(days[day])
        if not files:
            raise DataError(f"{name}: the partition has no file {where}: write the day's rows or remove the folder")
        for file in files:
            if file.suffix != f".{source.format}":
                raise DataError(
                    f"{name}/{file.name}: not a .{source.format} file (source.format in {scenario.file}): move it away"
                )
            yield file, f"{name}/{file.name}", day


def _visible(folder: UPath) -> list[UPath]:
    # Spark and Hive leave markers such as _SUCCESS and .part-0.crc beside the data.
    return sorted((entry for entry in folder.iterdir() if entry.name[:1] not in ("_", ".")), key=lambda e: e.name)


def _partition_day(entry: UPath, scenario: Scenario) -> int:
    matched = _PARTITION_NAME.fullmatch(entry.name)
    try:
        if matched is None or not entry.is_dir():
            raise ValueError
        return (datetime.date.fromisoformat(matched[1]) - _EPOCH).days
    except ValueError:
        raise DataError(
            f"{scenario.source.events}: {entry.name!r} is not a partition folder named dt=YYYY-MM-DD"
            f" (source.events in {scenario.file}): rename it or move it away"
        ) from None


def _date(day: int) -> datetime.date:
    return _EPOCH + datetime.timedelta(days=day)


def _locate(root: str | Path, path: str) -> UPath:
    try:
        return UPath(path) if "://" in path else UPath(root) / path
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{path}: this kind of path cannot be opened: {_one_line(error)}") from error


def _source_file(path: UPath, name: str, day: int | None) -> SourceFile:
    return SourceFile(name, day, path.stat().st_size, _sha256(path))


def _sha256(path: UPath) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say what is wrong when a path cannot be opened; other I/O errors may pass on a retry and go through."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{what}: no such file or folder: correct the path or put the data there") from None
    except (PermissionError, IsADirectoryError) as error:
        raise DataError(f"{what}: cannot be read as a file: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------ reading a file


def _log_part(
    scenario: Scenario, file: SourceFile, root: str | Path, seen: dict[str, tuple[str, str]]
) -> dict[str, pa.ChunkedArray]:
    """Read one file of the log; ``seen`` holds each column's first (type in words, file), to hold later ones to."""
    places = _log_places(scenario, file.path)
    part = _read_columns(file, root, places)
    for name, place in places.items():
        kind: str | None = None
        if name == TIME:
            part[name], kind = to_times(part[name], scenario.source, place)
        elif name in (USER, ITEM):
            part[name], kind = to_ids(part[name], place)
        else:
            part[name] = to_numbers(part[name], place)
        if kind is not None:
            first, first_file = seen.setdefault(name, (kind, file.path))
            if kind != first:
                raise place.error(f"holds {kind}, but {first_file} holds {first}: write every file with one type")
    return part


def _log_places(scenario: Scenario, file: str) -> dict[str, Place]:
    """Canonical name to the column that it is read from."""
    columns = scenario.source.columns
    keys = {
        USER: (columns.user, "source.columns.user"),
        ITEM: (columns.item, "source.columns.item"),
        TIME: (columns.time, "source.columns.time"),
    }
    keys |= {label(name): (t.label, f"tasks.{name}.label") for name, t in scenario.tasks.items() if t.label is not None}
    text = scenario.source.format == "csv"
    return {name: Place(file, column, f"{key} in {scenario.file}", text) for name, (column, key) in keys.items()}


def _item_places(scenario: Scenario, table: ItemTable) -> dict[str, Place]:
    keys = {ITEM: (table.id, "source.items.id")}
    if table.title is not None:
        keys[TITLE] = (table.title, "source.items.title")
    keys |= {name: (column, f"source.items.numeric.{name}") for name, column in table.numeric.items()}
    keys |= {name: (column, f"source.items.multi.{name}") for name, column in table.multi.items()}
    text = table.path.endswith(".csv")
    return {name: Place(table.path, column, f"{key} in {scenario.file}", text) for name, (column, key) in keys.items()}


def _read_columns(file: SourceFile, root: str | Path, places: dict[str, Place]) -> dict[str, pa.ChunkedArray]:
    """Return the columns that ``places`` names, by canonical name, after checking that the file has not changed."""
    text = next(iter(places.values())).text
    with _readable(file.path), _parsed(file.path, text):
        path = _locate(root, file.path)
        if path.stat().st_size != file.size or _sha256(path) != file.sha256:
            raise DataError(f"{file.path}: changed since the run listed its sources: run again")
        with path.open("rb") as handle:
            table = _read_csv(handle, places) if text else _read_parquet(handle, places)
    return {name: table.column(place.column) for name, place in places.items()}


def _read_parquet(handle: BinaryIO, places: dict[str, Place]) -> pa.Table:
    parquet = pq.ParquetFile(handle)
    return parquet.read(columns=_wanted(parquet.schema_arrow.names, places))


def _read_csv(handle: BinaryIO, places: dict[str, Place]) -> pa.Table:
    """Read every column as strings: a type inferred from the first rows would change the later ones silently."""
    data = pa.py_buffer(handle.read())
    with pacsv.open_csv(pa.BufferReader(data)) as reader:
        wanted = _wanted(reader.schema.names, places)
    strings = pacsv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string()), strings_can_be_null=False
    )
    return pacsv.read_csv(pa.BufferReader(data), convert_options=strings)


def _wanted(names: list[str], places: dict[str, Place]) -> list[str]:
    """Return the columns to read, each exactly once in the file."""
    for place in places.values():
        count = names.count(place.column)
        if count != 1:
            listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            problem = "is not in the file" if count == 0 else f"occurs {count} times"
            raise place.error(f"{problem}{nearest(place.column, names)} (the file has {listed})")
    return list(dict.fromkeys(place.column for place in places.values()))


@contextmanager
def _parsed(file: str, text: bool) -> Iterator[None]:
    """Say which file cannot be parsed."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or the network, not the content
        kind = "CSV" if text else "Parquet"
        raise DataError(
            f"{file}: not a readable {kind} file, truncated or corrupt: {_one_line(error)}: write it again"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


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
