"""Which row groups of a single Parquet log hold anything from before a run's as_of."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tasks.conversion import Place, to_times
from mtl_tasks.errors import DataError
from mtl_tasks.scenario import Source


def groups_before(parquet: pq.ParquetFile, source: Source, time: Place, before: pd.Timestamp) -> list[int]:
    """Return the row groups but those that hold nothing but rows from ``before`` on, by their statistics.

    A group whose statistics do not say so is kept, and so is one with a missing time, which is a bad row to be counted.

    Parameters
    ----------
    time
        The file's time column.
    """
    metadata = parquet.metadata
    column = next((n for n in range(metadata.num_columns) if metadata.schema.column(n).path == time.column), None)
    every = list(range(parquet.num_row_groups))
    if column is None or metadata.num_rows == 0:
        return every
    kind = parquet.schema_arrow.field(time.column).type
    return [group for group in every if _reaches_before(parquet, group, column, kind, source, time, before)]


def _reaches_before(
    parquet: pq.ParquetFile,
    group: int,
    column: int,
    kind: pa.DataType,
    source: Source,
    time: Place,
    before: pd.Timestamp,
) -> bool:
    statistics = parquet.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
        return True
    try:
        earliest, _ = to_times(pa.chunked_array([pa.array([statistics.min], type=kind)]), source, time)
    except (DataError, pa.ArrowException):  # said of all rows, with their count, once these are read
        return True
    return bool(earliest[0].as_py() < before)
