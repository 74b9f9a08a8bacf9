"""The choice of artifacts to prune, on a disk and in a bucket."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.artifacts import DAYS, Payload, Store
from mtl_tasks.store.pruning import find_removable, remove
from tests.support.buckets import empty_bucket, s3_server
from tests.support.projects import NAME


@pytest.fixture(params=["disk", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    with s3_server() as url, empty_bucket(url, monkeypatch):
        yield "s3://shop/store"


def test_what_was_reused_is_as_young_as_what_was_made_then(root: str) -> None:
    store = Store(root)
    payload = Payload({"rows": b"rows"})
    made = [
        store.publish(store.folder(NAME, DAYS, day, day * 8), day * 8, payload, {"usage": {}})
        for day in ("2013-05-01", "2013-05-02")
    ]
    now = math.floor(time.time()) + 1  # a bucket knows whole seconds
    time.sleep(now - time.time() + 0.1)  # a disk rounds its times down to a tick of the kernel
    assert len(find_removable(store, NAME, now)) == 2
    store.reuse(made[0].ref)
    removable = find_removable(store, NAME, now)
    assert [entry.folder.name for entry in removable] == [made[1].folder.name]
    remove(removable)
    assert store.open(made[0].ref).ref == made[0].ref
    assert store.find(made[1].folder) is None


@pytest.mark.faults(25)
@pytest.mark.parametrize("place", ["2013-05-07", "2013-05-07/factors", "days/2013-05-07"])
def test_nothing_behind_a_symbolic_link_is_removed(tmp_path: Path, place: str) -> None:
    precious = tmp_path / "precious" / "one" / "two"
    precious.mkdir(parents=True)
    (precious / "file").write_text("keep me")
    link = tmp_path / "store" / "tiny" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "precious" / ("one" if place.count("/") else ""))
    with pytest.raises(ArtifactError, match="is a symbolic link"):
        find_removable(Store(str(tmp_path / "store")), "tiny", time.time() + 60)
    assert (precious / "file").exists()
