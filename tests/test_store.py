"""An artefact is whole and as it was written, or an error that names the file; never anything in between."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.errors import ArtifactError, StoreError
from mtl_tasks.store import MANIFEST, Artifact, Payload, Ref, Store, pack_arrays, to_json, unpack_arrays

KEY = "0123456789abcdef" * 4
FILES = ("rows.parquet", "vectors.npz", "facts.json", "page.html")


def payload() -> Payload:
    made = Payload(summary={"columns": 2, "share": 0.1}, rows=3)
    made.add_frame("rows", pd.DataFrame({"user_id": [1, 2, 3], "title": ["a", "b", None]}))
    made.add_arrays("vectors", {"vectors": np.ones((2, 3), dtype=np.float32), "item_ids": np.array(["x", "yy"])})
    made.add_json("facts", {"weights": {"als": 0.25}})
    made.add_text("page.html", "<p>é</p>")
    return made


def publish(root: Path, **facts: Any) -> Artifact:
    store = Store(str(root))
    return store.publish(store.folder("tiny", "2013-05-07", "factors", KEY), KEY, payload(), facts)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def path_of(artifact: Artifact, name: str) -> Path:
    return Path(str(artifact.folder / artifact.manifest["files"][name]["path"]))


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    ref = publish(tmp_path).ref
    artifact = Store(str(tmp_path)).open(ref)
    assert artifact.frame("rows")["user_id"].tolist() == [1, 2, 3]
    assert artifact.frame("rows", ["title"]).columns.tolist() == ["title"]
    arrays = artifact.arrays("vectors", {"vectors": ("f", 2), "item_ids": ("U", 1)})
    assert arrays["vectors"].dtype == np.float32
    assert arrays["item_ids"].tolist() == ["x", "yy"]
    assert artifact.json("facts") == {"weights": {"als": 0.25}}
    assert artifact.read("page.html").decode() == "<p>é</p>"
    assert artifact.summary == {"columns": 2, "share": 0.1}
    assert (ref.key, ref.rows, ref.uri) == (KEY, 3, f"tiny/2013-05-07/factors/{KEY[:32]}")
    assert Ref.from_json(ref.to_json()) == ref


@pytest.mark.faults(24)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, -1, "middle"])
def test_one_flipped_bit_in_a_file_is_an_error_that_names_it(tmp_path: Path, name: str, place: Any) -> None:
    artifact = publish(tmp_path)
    path = path_of(artifact, name)
    flip(path, path.stat().st_size // 2 if place == "middle" else place)
    found = Store(str(tmp_path)).open(artifact.ref)
    with pytest.raises(ArtifactError, match=rf"{name}: does not match its manifest .* run again"):
        found.read(name)
    with pytest.raises(ArtifactError, match=name):
        found.verify()


@pytest.mark.faults(24)
def test_any_flipped_bit_in_the_manifest_is_an_error_that_names_it(tmp_path: Path) -> None:
    artifact = publish(tmp_path, usage={"seconds": 1.25})
    path = Path(str(artifact.folder / MANIFEST))
    for place in range(path.stat().st_size):
        flip(path, place)
        with pytest.raises(ArtifactError, match=rf"{MANIFEST}: is not a manifest: damaged or tampered with"):
            Store(str(tmp_path)).find(artifact.folder)
        flip(path, place)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"key": 1}', "\xff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    artifact = publish(tmp_path)
    Path(str(artifact.folder / MANIFEST)).write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match="is not a manifest"):
        Store(str(tmp_path)).find(artifact.folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    artifact = publish(tmp_path)
    path_of(artifact, name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: named by its manifest but missing; .* run again"):
        artifact.read(name)


@pytest.mark.faults(26)
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_found_without_reading_any(tmp_path: Path, name: str) -> None:
    artifact = publish(tmp_path)
    artifact.verify_sizes()
    path_of(artifact, name).write_bytes(path_of(artifact, name).read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=rf"{name}: does not match its manifest .*size differs"):
        artifact.verify_sizes()
    path_of(artifact, name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: named by its manifest but missing"):
        artifact.verify_sizes()


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    path = path_of(artifact, "rows.parquet")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"rows\.parquet: does not match its manifest"):
        artifact.frame("rows")


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no file 'roes.parquet' in the manifest \(has facts.json, page.html"):
        publish(tmp_path).frame("roes")


def test_without_a_manifest_there_is_no_artefact(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    Path(str(artifact.folder / MANIFEST)).unlink()
    assert Store(str(tmp_path)).find(artifact.folder) is None
    with pytest.raises(ArtifactError, match="no artefact here"):
        Store(str(tmp_path)).open(artifact.ref)


def test_what_a_killed_attempt_left_is_ignored(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    folder = store.folder("tiny", "2013-05-07", "factors", KEY)
    left = Path(str(folder)) / "attempt-000000000000"
    left.mkdir(parents=True)
    (left / "rows.parquet").write_bytes(b"half")
    (Path(str(folder)) / f"{MANIFEST}.1234abcd.tmp").write_bytes(b"{")
    assert store.find(folder) is None
    assert publish(tmp_path).frame("rows").shape == (3, 2)


def test_the_same_work_done_again_has_an_equal_reference(tmp_path: Path) -> None:
    first = publish(tmp_path, usage={"seconds": 1.0})
    again = publish(tmp_path, usage={"seconds": 2.0})
    assert again.ref == first.ref
    assert path_of(again, "rows.parquet") != path_of(first, "rows.parquet")
    Store(str(tmp_path)).open(first.ref).verify()


def test_a_reference_to_other_content_is_refused(tmp_path: Path) -> None:
    ref = publish(tmp_path, code="a").ref
    publish(tmp_path, code="b")
    with pytest.raises(ArtifactError, match="does not match the reference's sha256"):
        Store(str(tmp_path)).open(ref)


@pytest.mark.faults(29)
def test_a_store_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"the store cannot be written \(.*\); this artefact does not exist") as caught:
        publish(tmp_path / "file" / "store")
    assert "\n" not in str(caught.value)
    store = Store(str(tmp_path / "file" / "store"))
    with pytest.raises(StoreError, match="cannot be read"):
        store.find(store.folder("tiny", "2013-05-07", "factors", KEY))


@pytest.mark.faults(29)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtl_tasks import store as module

    def fill(path: Any, data: bytes) -> None:
        with open("/dev/full", "wb", buffering=0) as handle:
            handle.write(data)

    monkeypatch.setattr(module, "write_durably", fill)
    with pytest.raises(StoreError, match="No space left on device"):
        publish(tmp_path)
    assert not list(tmp_path.rglob(MANIFEST))


def test_a_store_may_be_moved(tmp_path: Path) -> None:
    ref = publish(tmp_path / "here").ref
    shutil.move(tmp_path / "here", tmp_path / "there")
    Store(str(tmp_path / "there")).open(ref).verify()


def test_an_object_store_works_alike() -> None:
    store = Store("memory://bucket/store")
    made = store.publish(store.folder("tiny", "2013-05-07", "factors", KEY), KEY, payload(), {})
    found = store.open(made.ref)
    found.verify()
    assert made.ref.uri == f"tiny/2013-05-07/factors/{KEY[:32]}"


# -------------------------------------------------------------------------------------------------- formats


def test_arrays_are_packed_to_bytes_that_depend_on_them_alone() -> None:
    first, second = np.arange(3), np.ones((2, 2))
    assert pack_arrays({"a": first, "b": second}) == pack_arrays({"b": second, "a": first})


@pytest.mark.faults(25)
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


@pytest.mark.faults(25)
def test_python_objects_are_neither_written_nor_read() -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        pack_arrays({"a": objects})
    buffer = io.BytesIO()
    np.savez(buffer, a=objects)
    with pytest.raises(ArtifactError, match=r"x\.npz: not a file of plain arrays"):
        unpack_arrays(buffer.getvalue(), {"a": ("O", 1)}, "x.npz")


@pytest.mark.faults(25)
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello", pack_arrays({"a": np.arange(9)})[:-30]])
def test_bytes_that_are_no_npz_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"x\.npz"):
        unpack_arrays(data, {"a": ("i", 1)}, "x.npz")


def test_documents_refuse_nan_and_have_one_form() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"a": float("nan")})
    assert to_json({"b": 1, "a": 2}) == to_json({"a": 2, "b": 1})
