"""Bounded sample of a table, read from a file of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from upath import UPath

from mtl_tasks.data.files import SUFFIXES, readable
from mtl_tasks.data.reading import CsvReader, open_parquet, parsed

_GROUPS: Final = 8  # row groups that are read of a Parquet file with more rows than wanted
_BATCH: Final = 65_536  # rows decoded at a time


@dataclass(frozen=True)
class Sample:
    """Rows of one file.

    Attributes
    ----------
    table
        All columns; those of a CSV file as strings, empty where there is no value.
    whole
        Whether these are all rows of the file.
    """

    table: pa.Table
    whole: bool


def is_csv(path: str) -> bool:
    """Whether a file's name has a CSV suffix."""
    return path.endswith(SUFFIXES["csv"])


def read_sample(path: UPath, name: str, text: bool, rows: int) -> Sample:
    """Return at most about ``rows`` rows: spread over a Parquet file, or the first of a CSV file.

    Raises
    ------
    DataError
        If the file cannot be read; the message calls it ``name``.
    SourceError
        If the bucket or server that holds it is unreachable.
    """
    with readable(name), parsed(name, text):
        return _first_lines(path, rows) if text else _spread_rows(path, rows)


def _first_lines(path: UPath, rows: int) -> Sample:
    with CsvReader(path) as reader:
        names = reader.schema.names
    types = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False)
    with CsvReader(path, types) as reader:
        batches: list[pa.RecordBatch] = []
        for batch in reader:
            batches.append(batch)
            if sum(len(part) for part in batches) > rows:
                break
        table = pa.Table.from_batches(batches, reader.schema)
    return Sample(table.slice(0, rows), len(table) <= rows)


def _spread_rows(path: UPath, rows: int) -> Sample:
    with path.open("rb") as handle:
        parquet = open_parquet(handle)
        if parquet.metadata.num_rows <= rows:
            return Sample(parquet.read(), whole=True)
        positions = np.unique(np.linspace(0, parquet.num_row_groups - 1, _GROUPS).round().astype(int)).tolist()
        each = -(-rows // len(positions))
        batches = [batch for place in positions for batch in _group_head(parquet, place, each)]
        return Sample(pa.Table.from_batches(batches, parquet.schema_arrow), whole=False)


def _group_head(parquet: pq.ParquetFile, group: int, rows: int) -> Iterator[pa.RecordBatch]:
    left = rows
    for batch in parquet.iter_batches(batch_size=min(_BATCH, rows), row_groups=[group]):
        yield batch.slice(0, left)
        left -= len(batch)
        if left <= 0:
            return
