"""Some rows of an unknown log, and what its columns look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from mtl_tasks.errors import DataError
from mtl_tasks.intake.roles import Column, look_at
from mtl_tasks.intake.sample import is_csv, read_sample
from mtl_tasks.sources import SUFFIXES, locate, readable

ROWS: Final = 200_000  # most rows that a draft looks at
_PARTITIONS: Final = 20  # of a folder, spread over its days


@dataclass
class Log:
    """What was read of the log."""

    path: str
    format: str
    partitioned: bool
    table: pa.Table
    columns: list[Column]
    whole: bool
    days: int | None = None  # of the partitions' names
    used: set[str] = field(default_factory=set)

    @property
    def left(self) -> list[Column]:
        """Columns without a purpose yet."""
        return [column for column in self.columns if column.name not in self.used]


def look_at_log(events: str) -> Log:
    """Read some of the log: of a folder a file of several of its days, the first and the last among them."""
    path = locate(".", events)
    with readable(f"--events {events}"):
        if not path.exists():
            raise FileNotFoundError
        partitions = _partitions(path, events) if path.is_dir() else []
    places = np.unique(np.linspace(0, len(partitions) - 1, min(_PARTITIONS, len(partitions))).round().astype(int))
    files = [partitions[place] for place in places] if partitions else [path]
    text = is_csv(files[0].name)
    if not text and not files[0].name.endswith(SUFFIXES["parquet"]):
        raise DataError(f"--events {events}: {files[0].name} is neither a .parquet nor a .csv or .csv.gz file")
    samples = [read_sample(file, str(file), text, ROWS // len(files)) for file in files]
    tables = [sample.table for sample in samples]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"--events {events}: the partitions do not have the same columns ({error})") from None
    whole = len(files) == max(len(partitions), 1) and all(sample.whole for sample in samples)
    days = None
    if partitions:
        ends = [pc.strptime(partitions[n].parent.name[3:], format="%Y-%m-%d", unit="s").as_py() for n in (0, -1)]
        days = (ends[1] - ends[0]).days + 1
    return Log(events, "csv" if text else "parquet", bool(partitions), table, look_at(table), whole, days)


def _partitions(folder: UPath, events: str) -> list[UPath]:
    """The first file of every partition, in order of day."""
    found = sorted((entry for entry in folder.iterdir() if entry.name[:1] not in "_."), key=lambda entry: entry.name)
    wrong = [entry.name for entry in found if not (entry.is_dir() and entry.name.startswith("dt="))]
    if wrong or not found:
        raise DataError(
            f"--events {events}: a folder must hold one folder a day named dt=YYYY-MM-DD,"
            f" this one holds {wrong[0] if wrong else 'nothing'}: give one file, or write the log so"
        )
    files = [sorted((f for f in entry.iterdir() if f.name[:1] not in "_."), key=lambda f: f.name) for entry in found]
    return [of_day[0] for of_day in files if of_day]
