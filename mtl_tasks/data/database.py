"""Logs in a database: each day is queried once and kept in the store, so that later runs read the same rows."""

from __future__ import annotations

import datetime
import hashlib
import io
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import URL, CursorResult, exc, text
from upath import UPath

from mtl_tasks.core.days import zone_of
from mtl_tasks.core.errors import ConfigError, DataError, SourceError
from mtl_tasks.data.connections import cause_of, connected, database_url, masked
from mtl_tasks.data.conversion import MICROSECONDS, UTC_TIME
from mtl_tasks.data.files import LogFile, Root, SourceFile, about_content, one_line, source_file, with_retries
from mtl_tasks.scenario import Scenario, Source, Sql
from mtl_tasks.store.durable_files import write_once
from mtl_tasks.store.sealing import to_json

log = logging.getLogger(__name__)

_BATCH = 50_000  # rows fetched at a time
_FILE: Final = re.compile(r"dt=(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.parquet")
# Statements that make a connection read-only; nothing is committed on any.
_READ_ONLY: Final = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
_REMEDY: Final = "make it one statement that reads, SELECT … or WITH … SELECT"
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class DatabaseLog:
    """A log in a database, a :class:`~mtl_tasks.data.sources.LogSource`: one snapshot of each day, empty ones included.

    Attributes
    ----------
    folder
        Folder of the snapshots, with one subfolder per query.
    environment
        Where ``source.sql.url_env`` is looked up when a day is queried.
    """

    scenario: Scenario
    folder: UPath
    environment: Mapping[str, str] = field(repr=False)
    queried: ClassVar[bool] = True

    @classmethod
    def open(cls, scenario: Scenario, root: Root, snapshots: UPath, environment: Mapping[str, str]) -> Self:
        """See :class:`~mtl_tasks.data.sources.LogSource`."""
        return cls(scenario, snapshots, environment)

    def list_days(self, as_of_day: int, *, renew: bool = False) -> list[SourceFile]:
        """Return the snapshots; days that are not kept yet are queried.

        Parameters
        ----------
        renew
            Query every day again. A changed day is kept beside its earlier snapshots, which runs have read or are
            reading; from then on the newest counts.

        Raises
        ------
        ConfigError
            If the URL is not in the environment, or cannot be used.
        DataError
            If the log starts at ``as_of_day`` or later, the query fails, or a column holds several types.
        SourceError
            If the database does not answer. No message contains the password.
        """
        days = range(self._first_day, as_of_day)
        if not days:
            raise DataError(
                f"source.sql.start {self._sql.start} in {self.scenario.file}: not before as_of {_iso(as_of_day)}:"
                " choose a later as_of"
            )
        return self._snapshots(days, renew)

    def newest_first(self, as_of_day: int | None) -> Iterator[LogFile]:
        """Yield the snapshots, newest first, each queried when it is asked for; errors as :meth:`list_days`."""
        if as_of_day is None:
            raise ConfigError("a log in a database needs --as-of: the query returns the days before it")
        for day in range(as_of_day - 1, self._first_day - 1, -1):
            (file,) = self._snapshots(range(day, day + 1))
            yield self.folder / file.path, file.path, day

    @property
    def _sql(self) -> Sql:
        assert self.scenario.source.sql is not None
        return self.scenario.source.sql

    @property
    def _first_day(self) -> int:
        return (self._sql.start - _EPOCH).days

    def _snapshots(self, days: range, renew: bool = False) -> list[SourceFile]:
        name = hashlib.sha256(to_json(_identity(self.scenario.source, self._sql))).hexdigest()[:16]
        folder = self.folder / name
        kept = _kept(folder)
        missing = [day for day in days if renew or _iso(day) not in kept]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            sql, place = self._sql, self.scenario.file
            url = database_url(sql.name, sql.url, sql.url_env, self.environment, place)
            for day in missing:
                content = with_retries(lambda day=day: _rows_of_day(self.scenario, url, day))  # type: ignore[misc]
                kept[_iso(day)] = _keep(folder, _iso(day), kept.get(_iso(day), 0), content)
            log.info("%s: asked %s for %d days", self.scenario.name, self._sql.name, len(missing))
        paths = {day: f"{name}/{_file(_iso(day), kept[_iso(day)])}" for day in days}
        return [source_file(self.folder / path, path, day) for day, path in paths.items()]


def _kept(folder: UPath) -> dict[str, int]:
    """Return the number of the newest snapshot of each day; the first is 1."""
    if not folder.exists():
        return {}
    found = [_FILE.fullmatch(entry.name) for entry in folder.iterdir()]
    numbers = sorted((match[1], int(match[2] or 1)) for match in found if match)
    return dict(numbers)


def _keep(folder: UPath, day: str, newest: int, content: bytes) -> int:
    """Write a day's snapshot unless it equals the newest one, and return its number; none is overwritten."""
    if newest and (folder / _file(day, newest)).read_bytes() == content:
        return newest
    number = newest + 1
    while not write_once(folder / _file(day, number), content):
        number += 1
    return number


def _file(day: str, number: int) -> str:
    return f"dt={day}.parquet" if number == 1 else f"dt={day}.{number}.parquet"


def _identity(source: Source, sql: Sql) -> dict[str, Any]:
    """Return the settings that a day's rows depend on, besides the database's content."""
    return {"database": sql.name, "query": sql.query, "time_unit": source.time_unit, "timezone": source.timezone}


def _rows_of_day(scenario: Scenario, url: URL, day: int) -> bytes:
    """Return a day's rows as a Parquet file."""
    sql = scenario.source.sql
    assert sql is not None
    low, high = (_bound(scenario.source, bound, url) for bound in (day, day + 1))
    where = f"{sql.name} in {scenario.file}, {_iso(day)}"
    with connected(url, where) as connection, _answered(url, where):
        if url.get_backend_name() in _READ_ONLY:
            connection.exec_driver_sql(_READ_ONLY[url.get_backend_name()])
        asked = connection.execution_options(stream_results=True)
        with asked.execute(text(sql.query), {"start": low, "end": high}) as result:
            names = _names(result, where)
            tables = [_table(names, list(rows), where) for rows in result.partitions(_BATCH)]
    joined = _joined(tables or [_table(names, [], where)], where)
    if " " in f"{low}{high}" and url.get_backend_name() == "sqlite":
        _refuse_unsorted(joined, scenario.source, where)
    buffer = io.BytesIO()
    pq.write_table(joined, buffer, compression="zstd")
    return buffer.getvalue()


def _names(result: CursorResult[Any], where: str) -> list[str]:
    if not result.returns_rows:
        raise DataError(f"{where}: source.sql.query is not a statement that returns rows: {_REMEDY}")
    names = list(result.keys())
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{where}: source.sql.query returns a duplicated column {name!r}: name each column once")
    return names


def _table(names: list[str], rows: list[Any], where: str) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = [_array(name, list(values), where) for name, values in zip(names, columns, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)


def _array(name: str, values: list[Any], where: str) -> pa.Array:
    try:
        array = pa.array(values)
    except OverflowError:
        raise DataError(
            f"{where}: column {name!r} holds integers that do not fit 64 signed bits: cast it to text in the query"
        ) from None
    except pa.ArrowException as error:
        raise DataError(
            f"{where}: column {name!r} holds values of several types ({about_content(error)}): cast it"
        ) from None
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    return array.cast(UTC_TIME) if zoned else array  # only the instant counts: the zone is the session's


def _joined(tables: list[pa.Table], where: str) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{where}: a column holds values of several types ({about_content(error)}): cast it") from None


def _bound(source: Source, day: int, url: URL) -> Any:
    """Return midnight UTC in the form of the time column."""
    moment = pd.Timestamp(day, unit="D", tz="UTC")
    if source.time_unit is not None:
        return day * 86_400 * MICROSECONDS["s"] // MICROSECONDS[source.time_unit]
    if source.timezone is not None:
        moment = moment.tz_convert(zone_of(source.timezone)).tz_localize(None)
    if url.get_backend_name() == "sqlite":  # its times are text, where a date alone sorts before any time
        return f"{moment:%Y-%m-%d}" if moment == moment.normalize() else f"{moment:%Y-%m-%d %H:%M:%S}"
    return moment.to_pydatetime()


def _refuse_unsorted(rows: pa.Table, source: Source, where: str) -> None:
    """Refuse local times in ISO form where SQLite compares them as text with a bound that has a time of day.

    'T' sorts after the blank of the bound, so rows near the bound would move to another day or be lost.
    """
    name = source.columns.time
    if name not in rows.column_names or not pa.types.is_string(rows[name].type):
        return
    iso = pc.match_substring_regex(rows[name], r"^\d{4}-\d{2}-\d{2}T")
    if pc.any(iso).as_py():
        raise DataError(
            f"{where}: column {name!r} holds times with a T before the time of day, which SQLite sorts after the "
            f"bounds of a day in {source.timezone}: replace it by a blank in source.sql.query, where the column is "
            f"compared and where it is returned, as in replace({name}, 'T', ' ')"
        )


@contextmanager
def _answered(url: URL, where: str) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        message = masked(about_content(cause_of(error)), url)
        lost = isinstance(error, exc.OperationalError) and url.get_backend_name() != "sqlite"
        if error.connection_invalidated or lost or "database is locked" in str(error):
            raise SourceError(f"{where}: the connection to the database was lost ({message}): try again") from None
        raise DataError(f"{where}: the query failed ({message}): correct source.sql.query; {_REMEDY}") from None
    except exc.StatementError as error:
        raise DataError(
            f"{where}: the query cannot be asked ({masked(one_line(cause_of(error)), url)}): correct source.sql.query;"
            " a colon before a word, but of :start and :end, is written \\:"
        ) from None


def _iso(day: int) -> str:
    return (_EPOCH + datetime.timedelta(days=day)).isoformat()
