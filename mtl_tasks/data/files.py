"""Files of the log and of the tables beside it: the ones that a run reads, fingerprinted when it begins."""

from __future__ import annotations

import datetime
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

import tenacity
from upath import UPath

from mtl_tasks.core.errors import ConfigError, DataError, SourceError, may_quote
from mtl_tasks.scenario import Scenario, Source

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Root = str | Path | UPath
LogFile = tuple[UPath, str, int | None]  # path, name in messages, day of the partition

SUFFIXES: Final = {"parquet": (".parquet",), "csv": (".csv", ".csv.gz")}

_EPOCH = datetime.date(1970, 1, 1)
_PARTITION_NAME = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")
_EVER: Final = 10**6  # a day after any in a log
_BLOCK = 1 << 20  # bytes hashed at a time
_ATTEMPTS = 3
_FIRST_PAUSE = 0.5  # seconds; doubled after every attempt
# A cached listing would hide later changes of a file.
_OPTIONS: Final[dict[str, dict[str, Any]]] = {"s3": {"use_listings_cache": False}}
# Object-store clients raise their own errors when they cannot connect or are refused.
_CLIENTS: Final = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "adlfs")


@dataclass(frozen=True)
class SourceFile:
    """A file of the source, as it was when the run began.

    ``path`` is written as in the scenario, so that keys do not depend on the machine; ``day`` (UTC days since
    1970-01-01) is that of its partition, or None. The content is identified by the ``etag`` if the object store gives
    one, which needs no read, else by the ``sha256``.
    """

    path: str
    day: int | None
    size: int
    sha256: str | None
    etag: str | None = None


@dataclass(frozen=True)
class FileLog:
    """A log in files, a :class:`~mtl_tasks.data.sources.LogSource`: a single file, or a folder partitioned by day.

    Attributes
    ----------
    folder
        Folder that the scenario's relative paths start from.
    """

    scenario: Scenario
    folder: Root
    queried: ClassVar[bool] = False

    @classmethod
    def open(cls, scenario: Scenario, root: Root, snapshots: UPath, environment: Mapping[str, str]) -> Self:
        """See :class:`~mtl_tasks.data.sources.LogSource`."""
        return cls(scenario, root)

    def list_days(self, as_of_day: int, *, renew: bool = False) -> list[SourceFile]:
        """Find and fingerprint the files; ``renew`` changes nothing, as every listing reads them again.

        Raises
        ------
        DataError
            If the file or folder is missing, a folder is empty, a partition's name or content is not understood, or no
            partition is before ``as_of_day``.
        SourceError
            If their bucket or server does not answer.
        ConfigError
            If the path's protocol is unknown or its package is not installed.
        """

        def found() -> list[SourceFile]:
            with readable(self._name):
                return [source_file(*entry) for entry in self._entries(as_of_day)]

        return with_retries(found)

    def newest_first(self, as_of_day: int | None) -> Iterator[LogFile]:
        """Return the files, newest first, without opening them; errors as :meth:`list_days`."""
        with readable(self._name):
            found = self._entries(_EVER if as_of_day is None else as_of_day)
            if not found[0][0].exists():
                raise FileNotFoundError
            return reversed(found)

    @property
    def _events(self) -> str:
        assert self.scenario.source.events is not None
        return self.scenario.source.events

    @property
    def _name(self) -> str:
        return f"source.events {self._events!r} in {self.scenario.file}"

    def _entries(self, as_of_day: int) -> list[LogFile]:
        path = locate(self.folder, self._events)
        if path.is_dir():
            return list(_partition_files(path, self._events, self.scenario, as_of_day))
        return [(path, self._events, None)]


def list_tables(scenario: Scenario, root: Root) -> list[SourceFile]:
    """Find and fingerprint the files beside the log.

    Parameters
    ----------
    root
        Folder that the scenario's relative paths start from.

    Raises
    ------
    DataError
        If a file is missing.
    SourceError
        If their bucket or server does not answer.
    ConfigError
        If a path's protocol is unknown or its package is not installed.
    """

    def found() -> list[SourceFile]:
        listed = []
        for key, path in scenario.source.tables.items():
            with readable(f"{key}.path {path!r} in {scenario.file}"):
                listed.append(source_file(locate(root, path), path, None))
        return listed

    return with_retries(found)


def locate(root: Root, path: str) -> UPath:
    """Return the location of a path of the scenario.

    Raises
    ------
    ConfigError
        If the path's protocol is unknown or its package is not installed.
    """
    protocol, separator, _ = path.partition("://")
    try:
        return UPath(path, **_OPTIONS.get(protocol, {})) if separator else UPath(root) / path
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{path}: this kind of path cannot be opened: {one_line(error)}") from error


def is_unchanged(file: SourceFile, path: UPath) -> bool:
    """Whether the content is still as it was listed."""
    return _fingerprint(path) == (file.size, file.sha256, file.etag)


def with_retries(work: Callable[[], Result], pause: float = _FIRST_PAUSE, level: int = logging.WARNING) -> Result:
    """Return the result of ``work``; if its source does not answer, try again after a pause, three times in all.

    Parameters
    ----------
    level
        Of what is logged of an attempt that failed, except the last.

    Raises
    ------
    SourceError
        The error of the last attempt.
    """
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=pause),
        retry=tenacity.retry_if_exception_type(SourceError),
        before_sleep=partial(_log_attempt, level),
        reraise=True,
    )
    return attempts(work)


def _log_attempt(level: int, state: tenacity.RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    log.log(level, "%s: attempt %d of %d, again in %g s", error, state.attempt_number, _ATTEMPTS, state.upcoming_sleep)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Explain why a path cannot be opened; other errors of a local disk pass through."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{what}: no such file or folder: correct the path or put the data there") from None
    except (PermissionError, IsADirectoryError) as error:
        raise DataError(f"{what}: cannot be read as a file: {error.strerror or error}") from error
    except (ConnectionError, TimeoutError) as error:
        raise _unreachable(what, error) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _CLIENTS:
            raise _unreachable(what, error) from None
        raise


def one_line(error: Exception) -> str:
    """Return the start of an error's text, fit for the middle of a message."""
    return " ".join(str(error).split())[:200].rstrip(".")


def about_content(error: Exception) -> str:
    """As :func:`one_line`, for errors that may quote row values: only the type where quoting is not allowed."""
    return one_line(error) if may_quote() else type(error).__name__


def _unreachable(what: str, error: Exception) -> SourceError:
    return SourceError(
        f"{what}: its bucket or server does not answer or denies access ({one_line(error) or type(error).__name__}):"
        " check the address, the network and the access keys"
    )


def _partition_files(
    folder: UPath, events: str, scenario: Scenario, as_of_day: int
) -> Iterator[tuple[UPath, str, int]]:
    """Yield (path, path as the scenario would write it, day) of the data files of the days before ``as_of_day``."""
    source, where = scenario.source, f"(source.events in {scenario.file})"
    days = {_partition_day(entry, events, scenario): entry for entry in _visible(folder)}
    if not days:
        raise DataError(f"{events}: the folder is empty {where}: put dt=YYYY-MM-DD folders into it")
    if min(days) >= as_of_day:
        span = f"{_date(min(days))} to {_date(max(days))}"
        raise DataError(
            f"{events}: no partition before {_date(as_of_day)}, there are {span} {where}: choose a later as_of"
        )
    for day in sorted(day for day in days if day < as_of_day):
        name = f"{events.rstrip('/')}/{days[day].name}"
        files = _visible(days[day])
        if not files:
            raise DataError(f"{name}: the partition has no file {where}: write the day's rows or remove the folder")
        for file in files:
            _refuse_other_format(file.name, name, source, scenario)
            yield file, f"{name}/{file.name}", day


def _refuse_other_format(file: str, folder: str, source: Source, scenario: Scenario) -> None:
    suffixes = SUFFIXES[source.format]
    if not file.endswith(suffixes):
        raise DataError(
            f"{folder}/{file}: not a {' or '.join(suffixes)} file (source.format in {scenario.file}): move it away"
        )


def _visible(folder: UPath) -> list[UPath]:
    # Spark and Hive leave markers such as _SUCCESS and .part-0.crc beside the data.
    return sorted((entry for entry in folder.iterdir() if entry.name[:1] not in ("_", ".")), key=lambda e: e.name)


def _partition_day(entry: UPath, events: str, scenario: Scenario) -> int:
    date = partition_date(entry.name) if entry.is_dir() else None
    if date is None:
        raise DataError(
            f"{events}: {entry.name!r} is not a partition folder named dt=YYYY-MM-DD"
            f" (source.events in {scenario.file}): rename it or move it away"
        )
    return (date - _EPOCH).days


def partition_date(name: str) -> datetime.date | None:
    """Return the date of a folder named ``dt=YYYY-MM-DD``, None for any other name.

    >>> partition_date("dt=2024-01-05"), partition_date("dt=20240105"), partition_date("dt=2024-02-30")
    (datetime.date(2024, 1, 5), None, None)
    """
    matched = _PARTITION_NAME.fullmatch(name)
    try:
        return None if matched is None else datetime.date.fromisoformat(matched[1])
    except ValueError:
        return None


def _date(day: int) -> datetime.date:
    return _EPOCH + datetime.timedelta(days=day)


def source_file(path: UPath, name: str, day: int | None) -> SourceFile:
    """Return a file as it is now, under a name."""
    size, sha256, etag = _fingerprint(path)
    return SourceFile(name, day, size, sha256, etag)


def _fingerprint(path: UPath) -> tuple[int, str | None, str | None]:
    """Return the size, and either the sha256 or the etag, of a file."""
    etag = path.fs.info(path.path).get("ETag") if "://" in str(path) else None
    size = path.stat().st_size
    return (size, _sha256(path), None) if etag is None else (size, None, str(etag).strip('"'))


def _sha256(path: UPath) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
