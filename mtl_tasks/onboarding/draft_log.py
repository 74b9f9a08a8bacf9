"""Sample of an unknown log, with its columns classified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.core.errors import DataError
from mtl_tasks.data.files import SUFFIXES, locate, partition_date, readable
from mtl_tasks.onboarding.column_roles import Column, look_at
from mtl_tasks.onboarding.sample import is_csv, read_sample

ROWS: Final = 200_000  # most rows that a draft reads
_WEIGHTS: Final = 100_000  # total weight of the days of all partitions
_PARTITIONS: Final = 20  # most that are read of a folder, spread over its days


@dataclass
class Log:
    """The part of a log that was read."""

    path: str
    format: str
    partitioned: bool
    table: pa.Table
    columns: list[Column]
    whole: bool
    days: NDArray[np.int64] | None = None  # of the partitions, since 1970, in proportion to their bytes
    used: set[str] = field(default_factory=set)
    time: Column | None = None  # once it is chosen

    @property
    def left(self) -> list[Column]:
        """Columns without a role yet."""
        return [column for column in self.columns if column.name not in self.used]


def look_at_log(events: str) -> Log:
    """Read part of the log: of a folder, one file each of several days, including the first and the last."""
    path = locate(".", events)
    with readable(f"--events {events}"):
        if not path.exists():
            raise FileNotFoundError
        partitions = _partitions(path, events) if path.is_dir() else []
    positions = np.unique(np.linspace(0, len(partitions) - 1, min(_PARTITIONS, len(partitions))).round().astype(int))
    files = [partitions[place] for place in positions] if partitions else [path]
    text = is_csv(files[0].name)
    if not text and not files[0].name.endswith(SUFFIXES["parquet"]):
        raise DataError(f"--events {events}: {files[0].name} is neither a .parquet nor a .csv or .csv.gz file")
    samples = [read_sample(file, str(file), text, ROWS // len(files)) for file in files]
    tables = [sample.table for sample in samples]
    _refuse_repeated(tables[0].column_names, events)
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"--events {events}: the partitions do not have the same columns ({error})") from None
    if not len(table):
        raise DataError(f"--events {events}: no row in the {len(files)} files that were read: a draft needs some rows")
    whole = len(files) == max(len(partitions), 1) and all(sample.whole for sample in samples)
    days = _weighted_days(partitions) if partitions else None
    return Log(events, "csv" if text else "parquet", bool(partitions), table, look_at(table, not text), whole, days)


def _weighted_days(partitions: list[UPath]) -> NDArray[np.int64]:
    """Return the day of each partition, repeated in proportion to its file size: a draft does not count rows."""
    dates = np.array([str(partition_date(path.parent.name)) for path in partitions], dtype="datetime64[D]")
    sizes = np.array([path.stat().st_size for path in partitions], dtype=np.float64)
    times = np.maximum(np.round(_WEIGHTS * sizes / max(sizes.sum(), 1.0)), 1.0)
    return np.repeat(dates.astype(np.int64), times.astype(np.int64))


def _refuse_repeated(names: list[str], events: str) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"--events {events}: the column {repeated!r} is duplicated: give each column its own name")


def _partitions(folder: UPath, events: str) -> list[UPath]:
    """Return the first file of every partition, in order of day."""
    found = sorted((entry for entry in folder.iterdir() if entry.name[:1] not in "_."), key=lambda entry: entry.name)
    wrong = [entry.name for entry in found if not entry.is_dir() or partition_date(entry.name) is None]
    if wrong or not found:
        raise DataError(
            f"--events {events}: a folder must hold one folder a day named dt=YYYY-MM-DD,"
            f" this one holds {wrong[0] if wrong else 'nothing'}: give one file, or write the log so"
        )
    files = [sorted((f for f in entry.iterdir() if f.name[:1] not in "_."), key=lambda f: f.name) for entry in found]
    return [of_day[0] for of_day in files if of_day]
