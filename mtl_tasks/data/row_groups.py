"""Selection of the row groups of a single Parquet log that may hold rows before a run's as_of."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tasks.core.errors import DataError
from mtl_tasks.data.conversion import ColumnRef, to_times
from mtl_tasks.scenario import Source


def groups_before(
    parquet: pq.ParquetFile, source: Source, time: ColumnRef, before: pd.Timestamp, latest: pd.Timestamp
) -> list[int]:
    """Return the row groups except those whose statistics show only rows from ``before`` on.

    A group without such statistics is kept, and so is one with a missing time or a time from ``latest`` on: those are
    bad rows to count.

    Parameters
    ----------
    time
        The file's time column.
    latest
        The first implausible instant.
    """
    metadata = parquet.metadata
    column = next((n for n in range(metadata.num_columns) if metadata.schema.column(n).path == time.column), None)
    every = list(range(parquet.num_row_groups))
    if column is None or metadata.num_rows == 0:
        return every
    kind = parquet.schema_arrow.field(time.column).type
    return [group for group in every if _is_needed(parquet, group, column, kind, source, time, (before, latest))]


def _is_needed(
    parquet: pq.ParquetFile,
    group: int,
    column: int,
    kind: pa.DataType,
    source: Source,
    time: ColumnRef,
    span: tuple[pd.Timestamp, pd.Timestamp],
) -> bool:
    statistics = parquet.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
        return True
    try:
        bounds = pa.array([statistics.min, statistics.max], type=kind)
        (earliest, newest), _ = to_times(pa.chunked_array([bounds]), source, time)
    except (
        DataError,
        pa.ArrowException,
        OverflowError,
        ValueError,
    ):  # reported with the count of all rows once they are read
        return True
    return bool(earliest.as_py() < span[0] or newest.as_py() >= span[1])
