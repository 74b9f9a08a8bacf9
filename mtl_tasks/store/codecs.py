"""Codecs between the bytes of an artifact's files and tables, arrays and JSON documents.

The size that a file claims is checked before memory is allocated: a few bytes can claim gigabytes.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.safe_files import DOCUMENT_BYTES

Arrays = dict[str, NDArray[Any]]
REMEDY: Final = (
    "delete its folder and run again, which restores it where the work is reproducible, or run with --force, which "
    "makes a separate run"
)
TABLE_BYTES: Final = 1 << 30  # memory that a table of any file size may take
TABLE_RATIO: Final = 100  # or this many times its file size, if that is more; tables of a large log take 2 to 20 times

_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_ENCRYPTED: Final = 0x1
_MALFORMED: Final = (
    ValueError,
    AttributeError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    SyntaxError,
    TokenError,
    RecursionError,
    NotImplementedError,
    zipfile.BadZipFile,
)


def pack_arrays(arrays: Arrays) -> bytes:
    """Write arrays as npz bytes that depend only on the arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def unpack_arrays(data: bytes, expected: Mapping[str, tuple[str, int]], where: str) -> Arrays:
    """Read npz bytes; unexpected arrays are refused before any is read.

    Parameters
    ----------
    expected
        Array name to (dtype kind such as ``"f"``, number of dimensions).

    Raises
    ------
    ArtifactError
        If the bytes are not npz from :func:`pack_arrays`, hold Python objects or other arrays than expected, or claim
        more bytes than there are.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if sorted(names) != sorted(expected):
                raise ArtifactError(f"{where}: holds arrays {sorted(names)}, expected {sorted(expected)}")
            _refuse_compressed(archive, len(data))
            for name, (kind, dimensions) in expected.items():
                _check_header(archive, name, kind, dimensions, where)
            return {name: _read_array(archive, name) for name in names}
    except _MALFORMED as error:
        raise ArtifactError(f"{where}: not a file of plain arrays ({error}); {REMEDY}") from error


def _refuse_compressed(archive: zipfile.ZipFile, size: int) -> None:
    for member in archive.infolist():
        stored = member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
        if not stored or member.flag_bits & _ENCRYPTED:
            raise ValueError(f"{member.filename} is compressed or encrypted")
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > size:
        raise ValueError(f"its members claim {claimed:,} bytes, the file has {size:,}")


def _check_header(archive: zipfile.ZipFile, name: str, kind: str, dimensions: int, where: str) -> None:
    with archive.open(f"{name}.npy") as handle:
        version = npy.read_magic(handle)
        if version not in _HEADERS:
            raise ValueError(f"{name}: version {version} of the format")
        shape, _, dtype = _HEADERS[version](handle)
        start = handle.tell()
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects")
    if dtype.kind != kind or len(shape) != dimensions:
        raise ArtifactError(f"{where}: array {name!r} is {dtype} with {len(shape)} dimensions")
    claimed, there = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{name}.npy").file_size - start
    if min(shape, default=0) < 0 or claimed != there:
        raise ValueError(f"{name}: claims {claimed:,} bytes, {there:,} are there")


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as handle:
        return npy.read_array(handle, allow_pickle=False)


def read_table(data: bytes, columns: list[str] | None, where: str) -> pd.DataFrame:
    """Read Parquet bytes.

    Raises
    ------
    ArtifactError
        If they are not Parquet, lack a column, or would take far more memory than their size justifies.
    """
    import pyarrow as pa

    try:
        _refuse_expanding(data)
        return pd.read_parquet(io.BytesIO(data), columns=columns)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{where}: not a table that can be read ({' '.join(str(error).split())})") from error


def table_types(data: bytes, where: str) -> dict[str, str]:
    """Return the columns of Parquet bytes with Arrow's name of their types; raises like :func:`read_table`."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # slow to import

    try:
        schema = pq.read_schema(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{where}: not a table that can be read ({' '.join(str(error).split())})") from error
    return {field.name: str(field.type) for field in schema}


def _refuse_expanding(data: bytes) -> None:
    """Refuse Parquet whose footer claims too much: decompressed pages, or 8 bytes a value, as runs encode many."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(io.BytesIO(data))
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    values = max(footer.num_rows, sum(group.num_rows for group in groups)) * footer.num_columns
    claimed = max(sum(group.total_byte_size for group in groups), 8 * values)
    limit = max(TABLE_BYTES, TABLE_RATIO * len(data))
    if claimed > limit:
        raise ValueError(f"{len(data):,} bytes that claim to hold {claimed:,}, more than {limit:,}")


def parse_json(data: bytes, where: str) -> Any:
    """Parse a JSON document.

    Raises
    ------
    ArtifactError
        If it is too large, nested too deeply, or not JSON.
    """
    if len(data) > DOCUMENT_BYTES:
        raise ArtifactError(f"{where}: a document of {len(data):,} bytes, more than {DOCUMENT_BYTES:,}; {REMEDY}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: not JSON, or nested too deeply ({error}); {REMEDY}") from error
