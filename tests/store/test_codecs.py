"""The claimed size of an array file, a table or a document is checked before memory is allocated for it."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.codecs import pack_arrays, parse_json, read_table, table_types, unpack_arrays
from mtl_tasks.store.sealing import to_json


def test_arrays_are_packed_to_bytes_that_depend_on_them_alone() -> None:
    first, second = np.arange(3), np.ones((2, 2))
    assert pack_arrays({"a": first, "b": second}) == pack_arrays({"b": second, "a": first})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.arange(3), "more": np.arange(3)}, r"holds arrays \['a', 'more'\], expected \['a'\]"),
        ({"b": np.arange(3)}, r"holds arrays \['b'\], expected \['a'\]"),
        ({"a": np.ones(3)}, "array 'a' is float64 with 1 dimensions"),
        ({"a": np.ones((3, 1), dtype=np.int64)}, "array 'a' is int64 with 2 dimensions"),
    ],
)
def test_arrays_that_are_not_expected_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack_arrays(pack_arrays(arrays), {"a": ("i", 1)}, "x.npz")


def test_python_objects_are_neither_written_nor_read() -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        pack_arrays({"a": objects})
    buffer = io.BytesIO()
    np.savez(buffer, a=objects)
    with pytest.raises(ArtifactError, match=r"x\.npz: not a file of plain arrays"):
        unpack_arrays(buffer.getvalue(), {"a": ("O", 1)}, "x.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello", pack_arrays({"a": np.arange(9)})[:-30]])
def test_bytes_that_are_no_npz_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"x\.npz"):
        unpack_arrays(data, {"a": ("i", 1)}, "x.npz")


def test_documents_refuse_nan_and_have_one_form() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"a": float("nan")})
    assert to_json({"b": 1, "a": 2}) == to_json({"a": 2, "b": 1})


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Pack bytes as members of a zip file, whatever they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: Any, shape: str | None = None) -> bytes:
    """Write one array, claiming another shape."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    data = buffer.getvalue()
    if shape is None:
        return data
    start = data.index(b"'shape': (") + len(b"'shape': ")
    end = data.index(b")", start) + 1
    padding = len(shape) - (end - start)
    return data[:start] + shape.encode() + data[end:].replace(b" " * (padding + 1), b" ", 1)


def peak(work: Callable[[], object]) -> int:
    """Return how many bytes were taken at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(data: bytes, match: str) -> Callable[[], None]:
    def work() -> None:
        with pytest.raises(ArtifactError, match=match):
            unpack_arrays(data, {"a": ("f", 1)}, "x.npz")

    return work


@pytest.mark.faults(25)
def test_a_zip_bomb_is_refused_and_not_unpacked() -> None:
    bomb = npz({"a.npy": npy(np.zeros(5_000_000))}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert peak(refused(bomb, r"x\.npz: not a file of plain arrays \(a\.npy is compressed")) < 10_000_000


@pytest.mark.faults(25)
@pytest.mark.parametrize("shape", ["(999999999999,)", "(4611686018427387905,)", "(-1,)", "(2,)"])
def test_an_array_that_claims_more_or_fewer_bytes_than_there_are_is_refused(shape: str) -> None:
    work = refused(npz({"a.npy": npy(np.zeros(3), shape)}), r"not a file of plain arrays \(a: claims .* bytes")
    assert peak(work) < 10_000_000


@pytest.mark.faults(25)
def test_members_that_overlap_are_refused() -> None:
    data = bytearray(npz({"a.npy": npy(np.zeros(3)), "b.npy": npy(np.zeros(3))}))
    second = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # both begin where the first does
    with pytest.raises(ArtifactError, match=r"x\.npz: not a file of plain arrays"):
        unpack_arrays(bytes(data), {"a": ("f", 1), "b": ("f", 1)}, "x.npz")


def test_an_array_that_is_there_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy(np.zeros(3)))
    with pytest.raises(ArtifactError, match=r"holds arrays \['a', 'a'\], expected \['a'\]"):
        unpack_arrays(buffer.getvalue(), {"a": ("f", 1)}, "x.npz")


@pytest.mark.parametrize("header", [b"{'descr': [('a', 'O')]}", b"((((", b"__import__('os')", b"{" * 5000, b"\xff"])
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(ArtifactError, match=r"x\.npz: not a file of plain arrays"):
        unpack_arrays(npz({"a.npy": member}), {"a": ("f", 1)}, "x.npz")


def test_structured_arrays_are_refused() -> None:
    array = np.zeros(3, dtype=[("x", "f8")])
    with pytest.raises(ArtifactError, match="array 'a' is "):
        unpack_arrays(pack_arrays({"a": array}), {"a": ("f", 1)}, "x.npz")


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


@pytest.mark.faults(25)
@pytest.mark.parametrize("content", [0, "x" * 10_000_000])
def test_a_small_table_that_claims_far_more_is_refused_by_its_footer(
    monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.setattr("mtl_tasks.store.codecs.TABLE_BYTES", 1_000_000)
    data = parquet(pd.DataFrame({"a": [content] * (1 if isinstance(content, str) else 500_000)}))
    assert len(data) < 10_000
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a table that can be read .*more than 1,000,000"):
        read_table(data, None, "x.parquet")


def test_a_table_of_constants_is_read() -> None:
    data = parquet(pd.DataFrame({"a": np.zeros(5_000_000)}))
    assert len(data) < 100_000
    assert len(read_table(data, ["a"], "x.parquet")) == 5_000_000


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"hello", parquet(pd.DataFrame({"a": [1]}))[:-9], b"PAR1" + b"\xff" * 40]
)
def test_bytes_that_are_no_table_are_refused(data: bytes) -> None:
    for read in (lambda: read_table(data, None, "x.parquet"), lambda: table_types(data, "x.parquet")):
        with pytest.raises(ArtifactError, match=r"x\.parquet: not a table that can be read"):
            read()


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a table that can be read"):
        read_table(parquet(pd.DataFrame({"a": [1]})), ["b"], "x.parquet")


@pytest.mark.faults(25)
@pytest.mark.parametrize("data", [b"[" * 1_000_000, b'{"a":' * 100_000, b"", b"{", b"\xff", b"1" * 10_000])
def test_documents_that_are_nested_too_deeply_or_no_json_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"x\.json: not JSON, or nested too deeply"):
        parse_json(data, "x.json")


def test_a_document_that_is_too_large_is_refused_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_tasks.store.codecs.DOCUMENT_BYTES", 10)
    with pytest.raises(ArtifactError, match="a document of 11 bytes, more than 10"):
        parse_json(b"[1,2,3,4,5]", "x.json")
