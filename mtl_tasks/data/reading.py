"""Reader of the wanted columns, each exactly once, of one unchanged Parquet or CSV file."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from upath import UPath

from mtl_tasks.core.errors import DataError, nearest
from mtl_tasks.data.conversion import ColumnRef
from mtl_tasks.data.files import SourceFile, about_content, is_unchanged, locate, readable, with_retries

log = logging.getLogger(__name__)

_RELEASE_SECONDS: Final = 30  # far longer than the one pending read takes
_BLOCK: Final = 1 << 20  # bytes of CSV parsed at a time; a longer line is refused rather than held
SHOWN: Final = 12  # names listed in a message


Groups = Callable[[pq.ParquetFile], list[int]]


def read_columns(
    file: SourceFile, root: str | Path | UPath, column_refs: dict[str, ColumnRef], groups: Groups | None = None
) -> dict[str, pa.ChunkedArray]:
    """Return the columns in ``column_refs``, by canonical name, after checking that the file has not changed.

    Parameters
    ----------
    groups
        Chooses the row groups to read if the file is Parquet; None reads all.
    """
    text = next(iter(column_refs.values())).text

    def table() -> pa.Table:
        with readable(file.path), parsed(file.path, text):
            path = locate(root, file.path)
            if not is_unchanged(file, path):
                raise DataError(f"{file.path}: changed since the run listed its sources: run again")
            return _read_csv(path, column_refs) if text else _read_parquet(path, column_refs, groups)

    found = with_retries(table)
    return {name: found.column(ref.column) for name, ref in column_refs.items()}


def _read_parquet(path: UPath, column_refs: dict[str, ColumnRef], groups: Groups | None) -> pa.Table:
    with path.open("rb") as handle:
        parquet = open_parquet(handle)
        wanted = wanted_columns(parquet.schema_arrow.names, column_refs)
        return parquet.read(wanted) if groups is None else parquet.read_row_groups(groups(parquet), wanted)


def open_parquet(handle: BinaryIO) -> pq.ParquetFile:
    """Return a reader of an open file; INT96 times of old engines are read as microseconds: nanoseconds end in 2262."""
    return pq.ParquetFile(handle, coerce_int96_timestamp_unit="us")


def _read_csv(path: UPath, column_refs: dict[str, ColumnRef]) -> pa.Table:
    """Read every column as strings: a type inferred from the first rows would silently change later ones.

    The file is streamed, so that memory holds only the wanted columns. It is opened once for the names and once for the
    rows: a reader reads ahead and would move a shared handle.
    """
    with CsvReader(path) as reader:
        wanted = wanted_columns(reader.schema.names, column_refs)
    strings = pacsv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string()), strings_can_be_null=False
    )
    with CsvReader(path, strings) as reader:
        return pa.Table.from_batches(list(reader), reader.schema)


class CsvReader:
    """Batches of a CSV file, decompressed as it is read; a quoted value may contain line ends.

    Arrow reads ahead in its own threads, which call Python for the bytes. A thread that still does so when the
    interpreter exits aborts the process or blocks it forever. So leaving the context, even on an error, waits until
    Arrow has released the file.

    Attributes
    ----------
    schema
        Names and types of the columns.
    """

    def __init__(self, path: UPath, convert_options: pacsv.ConvertOptions | None = None) -> None:
        self._path, self._options = path, convert_options
        self._reader: pacsv.CSVStreamingReader | None = None
        self._released = threading.Event()

    def __enter__(self) -> CsvReader:
        self._handle: BinaryIO = self._path.open("rb")
        source = _Source(self._handle)
        weakref.finalize(source, self._released.set)
        raw = pa.PythonFile(source, mode="r")
        text = pa.CompressedInputStream(raw, "gzip") if self._path.name.endswith(".gz") else raw
        quoted = pacsv.ParseOptions(newlines_in_values=True)
        try:
            self._reader = pacsv.open_csv(text, pacsv.ReadOptions(block_size=_BLOCK), quoted, self._options)
        except BaseException:
            del source, raw, text  # the traceback keeps this frame
            self._release()
            raise
        self.schema: pa.Schema = self._reader.schema
        return self

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        assert self._reader is not None
        return iter(self._reader)

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        self._reader = None
        if not self._released.wait(_RELEASE_SECONDS):
            log.warning("%s: still read in the background after %d s", self._path, _RELEASE_SECONDS)
        self._handle.close()


class _Source:
    """The bytes of a file; Arrow keeps a reference as long as any of its threads may read."""

    closed = False

    def __init__(self, handle: BinaryIO) -> None:
        self.read = handle.read

    def close(self) -> None:
        """Do nothing: the opener of the file closes it."""


def wanted_columns(names: list[str], column_refs: dict[str, ColumnRef]) -> list[str]:
    """Return the columns to read, each exactly once in the file."""
    for ref in column_refs.values():
        count = names.count(ref.column)
        if count != 1:
            listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
            problem = f"is not in the file{nearest(ref.column, names)}"
            if count:
                problem = f"occurs {count} times in the file, which is ambiguous: rename the others"
            raise ref.error(f"{problem} (the file has {listed})")
    return list(dict.fromkeys(ref.column for ref in column_refs.values()))


@contextmanager
def parsed(file: str, text: bool) -> Iterator[None]:
    """Name the file in the error if it cannot be parsed."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: the names of its columns are not UTF-8 ({about_content(error)}): save the file as UTF-8"
        ) from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or the network, not the content
        if text and "straddling" in str(error):
            raise DataError(
                f"{file}: a line is longer than {_BLOCK >> 20} MiB, which no row of a log is: fix the file, often by"
                " closing a quote or by writing the line ends"
            ) from None
        kind = "CSV" if text else "Parquet"
        raise DataError(
            f"{file}: not a readable {kind} file, truncated or corrupt: {about_content(error)}: write it again"
        ) from None
