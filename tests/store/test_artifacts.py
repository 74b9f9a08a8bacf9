"""An artifact is whole and as it was written, or an error that names the file; never anything in between."""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ArtifactError, StoreError
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Payload, Ref, Store
from mtl_tasks.store.registry import Registry
from mtl_tasks.store.safe_files import DOCUMENT_BYTES, FILE_BYTES, read_file
from mtl_tasks.store.sealing import sealed
from tests.support.buckets import empty_bucket, s3_server
from tests.support.forging import forge, manifest_of, path_of, plant

KEY = "0123456789abcdef" * 4
FILES = ("rows.parquet", "vectors.npz", "facts.json", "page.html")
VECTORS = {"vectors": ("f", 2), "item_ids": ("U", 1)}
FORTY_GB = 40_000_000_000


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


def test_without_a_manifest_there_is_no_artifact(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    Path(str(artifact.folder / MANIFEST)).unlink()
    assert Store(str(tmp_path)).find(artifact.folder) is None
    with pytest.raises(ArtifactError, match="no artifact here"):
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
    assert path_of(again, "rows.parquet") == path_of(first, "rows.parquet")
    assert len(list(Path(str(first.folder)).iterdir())) == 2  # the manifest, and the files that it names
    Store(str(tmp_path)).open(first.ref).verify()


def test_a_reference_to_other_content_is_refused(tmp_path: Path) -> None:
    artifact = publish(tmp_path, code="a")
    ref = artifact.ref
    shutil.rmtree(str(artifact.folder))
    publish(tmp_path, code="b")
    with pytest.raises(ArtifactError, match="does not match the reference's sha256"):
        Store(str(tmp_path)).open(ref)


def test_a_manifest_is_never_replaced_by_one_of_other_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = publish(tmp_path, code="a")
    second = publish(tmp_path, code="b")
    assert second.manifest == first.manifest
    assert "another run made this at once, with another result" in caplog.text
    assert sorted(path.name for path in Path(str(first.folder)).iterdir()) == sorted(
        [MANIFEST, path_of(first, "rows.parquet").parent.name]
    )


def test_a_manifest_whose_put_was_tried_again_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtl_tasks.store import artifacts as module

    def lost_answer(path: Any, data: bytes) -> bool:
        write_once(path, data)
        return write_once(path, data)

    write_once = module.write_once
    monkeypatch.setattr(module, "write_once", lost_answer)
    publish(tmp_path).verify()


def test_of_many_that_publish_at_once_one_is_heard_and_all_go_on_with_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: publish(tmp_path, code=str(number)), range(8)))
    assert len({artifact.ref.sha256 for artifact in made}) == 1
    Store(str(tmp_path)).open(made[0].ref).verify()


def test_a_file_system_without_links_keeps_the_first_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = publish(tmp_path, code="a"), publish(tmp_path, code="b")
    assert second.manifest == first.manifest
    second.verify()


def test_an_object_store_keeps_the_first_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as server, empty_bucket(server, monkeypatch):
        store = Store("s3://shop/store")
        folder = store.folder("tiny", "2013-05-07", "factors", KEY)
        first, second = (store.publish(folder, KEY, payload(), {"code": code}) for code in "ab")
        assert second.manifest == first.manifest
        store.open(first.ref).verify()


@pytest.mark.faults(29)
def test_a_store_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"the store cannot be written \(.*\); this artifact does not exist") as caught:
        publish(tmp_path / "file" / "store")
    assert "\n" not in str(caught.value)
    store = Store(str(tmp_path / "file" / "store"))
    with pytest.raises(StoreError, match="cannot be read"):
        store.find(store.folder("tiny", "2013-05-07", "factors", KEY))


@pytest.mark.faults(29)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtl_tasks.store import artifacts as module

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


# -------------------------------------------------------------------------------------- what others may have planted


@pytest.mark.faults(25)
@pytest.mark.parametrize("name", ["vectors", "rows", "facts"])
def test_a_flipped_bit_is_refused_before_anything_parses_the_file(tmp_path: Path, name: str) -> None:
    artifact = publish(tmp_path)
    readers: dict[str, Callable[[], object]] = {
        "vectors": lambda: artifact.arrays("vectors", VECTORS),
        "rows": lambda: artifact.frame("rows"),
        "facts": lambda: artifact.json("facts"),
    }
    flip(path_of(artifact, next(file for file in FILES if file.startswith(name))), 0)  # no parser goes on from there
    with pytest.raises(ArtifactError, match=rf"{name}\.\w+: does not match its manifest"):
        readers[name]()


class Marking:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.faults(25)
def test_a_pickle_planted_as_npz_is_refused_and_none_of_its_code_runs(tmp_path: Path) -> None:
    artifact, mark = publish(tmp_path), tmp_path / "it ran"
    planted = {"a pickle": pickle.dumps(Marking(mark)), "an array of objects": objects_npz(Marking(mark))}
    for data in planted.values():
        plant(artifact, "vectors.npz", data)
        found = Store(str(tmp_path)).find(artifact.folder)
        assert found is not None
        with pytest.raises(ArtifactError, match=r"vectors\.npz: (not a file of plain arrays|holds arrays)"):
            found.arrays("vectors", {"vectors": ("O", 1)})
    assert not mark.exists()


def objects_npz(content: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, vectors=np.array([content], dtype=object))
    return buffer.getvalue()


LINKED = ["", "2013-05-07", "2013-05-07/factors", f"2013-05-07/factors/{KEY[:32]}", "attempt", "vectors.npz", MANIFEST]


@pytest.mark.faults(25)
@pytest.mark.parametrize("place", LINKED)
def test_a_symbolic_link_anywhere_below_the_root_is_refused(tmp_path: Path, place: str) -> None:
    artifact = publish(tmp_path / "store")
    file = path_of(artifact, "vectors.npz")
    positions = {"attempt": file.parent, "vectors.npz": file, MANIFEST: manifest_of(artifact)}
    path = positions.get(place, tmp_path / "store" / "tiny" / place)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a symbolic link, and nothing in a store may be one"):
        Store(str(tmp_path / "store")).open(artifact.ref).verify()


def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path) -> None:
    artifact = publish(tmp_path / "store")
    store, precious = Store(str(tmp_path / "store")), tmp_path / "precious"
    precious.write_text("keep me")
    Path(str(artifact.folder / "used")).symlink_to(precious)
    with pytest.raises(ArtifactError, match="used: is a symbolic link"):
        store.reuse(artifact.ref)
    assert precious.read_text() == "keep me"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "other").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="other: is a symbolic link"):
        store.publish(store.folder("other", "2013-05-07", "factors", KEY), KEY, payload(), {})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_root_itself_may_be_a_symbolic_link(tmp_path: Path) -> None:
    ref = publish(tmp_path / "store").ref
    (tmp_path / "link").symlink_to(tmp_path / "store")
    Store(str(tmp_path / "link")).open(ref).verify()


OUTSIDE = ["../secret", "attempt-0123456789ab/../../secret", "/etc/passwd", "s3://bucket/x", "attempt-0123456789ab/"]


@pytest.mark.faults(25)
@pytest.mark.parametrize("path", [*OUTSIDE, "page.html", "attempt-0123456789ab/other.html", None, 3])
@pytest.mark.parametrize("root", ["disk", "memory"])
def test_a_path_in_a_resealed_manifest_that_leads_elsewhere_is_refused(tmp_path: Path, root: str, path: Any) -> None:
    store = Store(str(tmp_path) if root == "disk" else f"memory://{tmp_path}")
    artifact = store.publish(store.folder("tiny", "2013-05-07", "factors", KEY), KEY, payload(), {})
    manifest = {**artifact.manifest, "files": {"page.html": {**artifact.manifest["files"]["page.html"], "path": path}}}
    (artifact.folder / MANIFEST).write_bytes(sealed(manifest))
    with pytest.raises(ArtifactError, match=r"is not a manifest: .* file 'page\.html' has an invalid path"):
        store.find(artifact.folder)


@pytest.mark.faults(25)
@pytest.mark.parametrize("name", ["../secret", "..", "a/b", ".hidden", ""])
def test_a_name_in_a_resealed_manifest_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    artifact = publish(tmp_path)
    entry = {"path": f"attempt-0123456789ab/{name}", "size": 1, "sha256": "0" * 64}
    forge(manifest_of(artifact), lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(ArtifactError, match="has an invalid path"):
        Store(str(tmp_path)).find(artifact.folder)


@pytest.mark.faults(25)
@pytest.mark.parametrize("uri", ["..", "../store/tiny", "/etc", "s3://bucket/x", "a//b", "a/./b", ".", "", "a b", 3])
@pytest.mark.parametrize("root", ["disk", "memory"])
def test_a_reference_that_leads_out_of_the_store_is_refused(tmp_path: Path, root: str, uri: Any) -> None:
    store = Store(str(tmp_path / "store") if root == "disk" else "memory://bucket/store")
    for use in (store.open, store.look_up, store.reuse):
        with pytest.raises(ArtifactError, match="is not a path in a store"):
            use(Ref(uri, KEY, "0" * 64, 3))
    with pytest.raises(ArtifactError, match=r"is not a path in a store|not a reference"):
        Ref.from_json({"uri": uri, "key": KEY, "sha256": "0" * 64, "rows": 3})


@pytest.mark.parametrize("document", [{}, {"uri": "a", "key": 3, "sha256": "0", "rows": 3}, {"uri": "a", "more": 1}])
def test_what_is_no_reference_is_refused(document: Any) -> None:
    with pytest.raises(
        ArtifactError,
        match=r"not a reference to an artifact \((expected uri, key, sha256, rows|key is not of type str)\)",
    ):
        Ref.from_json(document)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "", "s3://b"])
def test_a_scenario_date_stage_or_key_that_is_no_name_becomes_no_folder(tmp_path: Path, place: int, name: str) -> None:
    names = ["tiny", "2013-05-07", "factors", KEY]
    names[place] = name
    with pytest.raises(ArtifactError, match="is not a path in a store"):
        Store(str(tmp_path)).folder(*names)


def test_an_artifact_that_was_copied_to_the_place_of_another_is_refused(tmp_path: Path) -> None:
    artifact, other = publish(tmp_path), "f" * 64
    folder = Store(str(tmp_path)).folder("tiny", "2013-05-07", "factors", other)
    shutil.copytree(str(artifact.folder), str(folder))
    with pytest.raises(ArtifactError, match=r"is not a manifest: .*belongs to key 0123456789abcdef"):
        Store(str(tmp_path)).find(folder)


def test_another_sealed_document_is_no_manifest(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    manifest_of(artifact).write_bytes(sealed({"run_key": KEY, "action": "promote"}))
    with pytest.raises(ArtifactError, match=r"is not a manifest: .*has no key, rows, files or summary"):
        Store(str(tmp_path)).find(artifact.folder)


# ------------------------------------------------------------------------------------------------- bounds of reading


@pytest.mark.faults(25)
@pytest.mark.parametrize("change", ["huge", "truncated"])
def test_a_huge_or_truncated_lightgbm_text_is_refused_by_its_size(tmp_path: Path, change: str) -> None:
    store, made = Store(str(tmp_path)), Payload()
    made.add_text("model.purchase.0.lightgbm.txt", "tree\nend of parameters\n" * 100)
    artifact = store.publish(store.folder("tiny", "2013-05-07", "member-shared", KEY), KEY, made, {})
    os.truncate(path_of(artifact, "model.purchase.0.lightgbm.txt"), FORTY_GB if change == "huge" else 700)
    with pytest.raises(ArtifactError, match=r"lightgbm\.txt: does not match its manifest .*size differs"):
        artifact.read("model.purchase.0.lightgbm.txt")


@pytest.mark.faults(25)
def test_a_lightgbm_text_of_the_same_size_is_refused_by_its_hash(tmp_path: Path) -> None:
    store, made = Store(str(tmp_path)), Payload()
    made.add_text("model.purchase.0.lightgbm.txt", "leaf_value=0.5 0.25\n")
    artifact = store.publish(store.folder("tiny", "2013-05-07", "member-shared", KEY), KEY, made, {})
    path_of(artifact, "model.purchase.0.lightgbm.txt").write_text("leaf_value=0.5 0.75\n")
    with pytest.raises(ArtifactError, match=r"lightgbm\.txt: does not match its manifest .*sha256"):
        artifact.read("model.purchase.0.lightgbm.txt")


@pytest.mark.faults(25)
def test_a_manifest_of_forty_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    os.truncate(manifest_of(artifact), FORTY_GB)
    with pytest.raises(
        ArtifactError, match=rf"{MANIFEST}: has more than {DOCUMENT_BYTES:,} bytes, more than any document written here"
    ):
        Store(str(tmp_path)).find(artifact.folder)


@pytest.mark.faults(25)
def test_a_resealed_manifest_that_claims_a_file_of_forty_gigabytes_is_refused(tmp_path: Path) -> None:
    artifact = publish(tmp_path)
    os.truncate(path_of(artifact, "page.html"), FORTY_GB)
    forge(manifest_of(artifact), lambda manifest: manifest["files"]["page.html"].update(size=FORTY_GB))
    assert FORTY_GB > FILE_BYTES
    with pytest.raises(ArtifactError, match="is not a manifest"):
        Store(str(tmp_path)).find(artifact.folder)


@pytest.mark.faults(25)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", ["vectors.npz", MANIFEST])
def test_what_is_no_regular_file_is_refused_and_nobody_waits(tmp_path: Path, name: str, kind: str) -> None:
    message = "is not a regular file but a pipe or device" if kind == "pipe" else "cannot be read .*Is a directory"
    artifact = publish(tmp_path)
    path = manifest_of(artifact) if name == MANIFEST else path_of(artifact, name)
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    store = Store(str(tmp_path))
    readers = [lambda: store.find(artifact.folder)] if name == MANIFEST else [artifact.verify_sizes, artifact.verify]
    for read in readers:
        with pytest.raises(StoreError if kind == "folder" else ArtifactError, match=rf"{name}: .*{message}"):
            read()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs files that hold more than their size says")
def test_of_a_file_that_grows_no_more_than_a_byte_too_much_is_read() -> None:
    assert os.stat("/proc/self/status").st_size == 0
    assert read_file(Path("/proc"), f"{os.getpid()}/status", 0) is None
    assert read_file(Path("/proc"), f"{os.getpid()}/status", 1000) == b"N"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.mark.parametrize("size", [0, 5, 10_000])
def test_an_object_of_another_size_is_refused(server: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    with empty_bucket(server, monkeypatch):
        store = Store("s3://shop/store")
        artifact = store.publish(store.folder("tiny", "2013-05-07", "factors", KEY), KEY, payload(), {})
        store.open(artifact.ref).verify()
        (artifact.folder / artifact.manifest["files"]["page.html"]["path"]).write_bytes(b"x" * size)
        with pytest.raises(ArtifactError, match=r"page\.html: does not match its manifest"):
            store.open(artifact.ref).verify()
        assert store.find(store.folder("tiny", "2013-05-08", "factors", KEY)) is None


@pytest.mark.faults(25)
@pytest.mark.parametrize(
    ("name", "size"), [("a b.html", 1), ("../x.html", 1), (".x", 1), ("x.json", DOCUMENT_BYTES + 1)]
)
def test_what_nobody_could_read_again_is_not_written(tmp_path: Path, name: str, size: int) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(ArtifactError, match="bytes cannot be stored"):
        store.publish(store.folder("tiny", "2013-05-07", "x", KEY), KEY, Payload(files={name: b" " * size}), {})
    assert not list(tmp_path.iterdir())


def test_a_record_of_the_registry_is_held_to_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "registry" / "2013-05-07"
    folder.mkdir(parents=True)
    path, registry = folder / f"0001-{KEY[:32]}.json", Registry(Store(str(tmp_path)), "tiny")
    path.touch()
    os.truncate(path, FORTY_GB)
    assert re.search(r"\.json: has more than .* bytes", registry.read().damaged[0].why)
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in registry.read().damaged[0].why
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in registry.read().damaged[0].why
    with pytest.raises(ArtifactError, match="no champion is known"):
        registry.champion()
