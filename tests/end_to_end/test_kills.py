"""A run killed by SIGKILL at any write leaves nothing that counts, and the next one ends as if undisturbed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Store
from mtl_tasks.store.promotion import problems_of
from mtl_tasks.store.registry import Registry
from tests.support.processes import ForkedCommand
from tests.support.projects import AS_OF, NAME, write_log, write_scenario

BEFORE = "2013-05-10"  # as_of of the champion that is there when a run is killed
LEARNING = ("split", "factors", "features", "member-popularity", "member-als", "member-independent", "fuse", "rank")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_scenario(root)
    write_log(root)
    return root


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


@pytest.fixture(scope="module")
def before(project: Path) -> Path:
    """A store with a champion."""
    with contextlib.chdir(project):
        run(project / "before", BEFORE)
    return project / "before"


@pytest.fixture(scope="module")
def quiet(project: Path, before: Path) -> Path:
    """The same after the next day's run, which was left in peace."""
    shutil.copytree(before, project / "quiet")
    with contextlib.chdir(project):
        run(project / "quiet")
    return project / "quiet"


@pytest.fixture(scope="module")
def judged(project: Path, before: Path) -> Path:
    """The store with the champion after the next day's run has died where it was to be entered in the registry."""
    shutil.copytree(before, project / "judged")
    with contextlib.chdir(project):
        assert run_dying(project / "judged", "/registry/") == -signal.SIGKILL
    return project / "judged"


def run(store: Path, as_of: str = AS_OF) -> None:
    run_pipeline(make_run(NAME, AsOf.parse(as_of), {}, str(store)), lambda stage, result: None)


def run_dying(store: Path, pattern: str, place: int = 1) -> int:
    """Run the command in another process, which dies at a write, and return how it ended."""
    die = partial(die_at_write, pattern, place)
    command = ForkedCommand("run", NAME, "--as-of", AS_OF, "--store", str(store), first=die)
    printed = command.stderr.read()
    ended = command.wait()
    assert ended in (0, -signal.SIGKILL), printed
    return ended


def die_at_write(pattern: str, place: int) -> None:
    """Have this process die in the middle of the n-th write whose path has a pattern."""
    seen: list[str] = []

    def dying(put: Callable[..., None]) -> Callable[..., None]:
        def die_or_put(source: str, target: str) -> None:
            seen.extend(re.findall(pattern, str(target)))
            if len(seen) == place:
                os.truncate(source, os.path.getsize(source) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            put(source, target)

        return die_or_put

    os.replace, os.link = dying(os.replace), dying(os.link)


def contents(store: Path) -> dict[str, str]:
    """Stage/key to the hash of all that a manifest says but what making it cost; not of pages, which show that."""
    found: dict[str, Artifact | None] = {
        str(path.parent.relative_to(store)): Store(str(store)).find(path.parent)  # type: ignore[arg-type]
        for path in store.glob(f"*/*/*/*/{MANIFEST}")
        if "report" not in path.parts
    }
    return {place: artifact.ref.sha256 for place, artifact in found.items() if artifact is not None}


def records(store: Path) -> list[dict[str, Any]]:
    return [record.to_json() for record in Registry(Store(str(store)), NAME).records()]


@pytest.mark.faults(1)
def test_a_run_killed_in_every_stage_of_training_ends_with_the_same_manifests_and_no_duplicates(
    before: Path, quiet: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(before, store)
    for stage in LEARNING:  # each goes on from what the one before has left
        assert run_dying(store, f"/{AS_OF}/{stage}/.*/{MANIFEST}") == -signal.SIGKILL, stage
    run(store)
    assert contents(store) == contents(quiet)
    assert records(store) == records(quiet)


@pytest.mark.faults(2)
def test_a_run_killed_between_its_files_and_their_publication_leaves_the_champion_and_is_finished_by_the_next(
    before: Path, quiet: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(before, store)
    for stage in ("evaluate", "gate"):
        assert run_dying(store, f"/{AS_OF}/{stage}/.*/{MANIFEST}") == -signal.SIGKILL
        assert list(store.glob(f"{NAME}/{AS_OF}/{stage}/*/attempt-*/*.json"))  # written, and not published
        assert_champion(store, [BEFORE])
    run(store)
    assert_champion(store, [AS_OF])
    assert contents(store) == contents(quiet)


@pytest.mark.faults(3)
def test_a_run_killed_at_any_write_of_its_publication_leaves_the_old_champion_or_the_new_and_never_none(
    quiet: Path, judged: Path, tmp_path: Path
) -> None:
    served = []
    for place in range(1, 100):
        store = tmp_path / str(place)
        shutil.copytree(judged, store)
        ended = run_dying(store, "/(?:registry|publish|recommend|report)/", place)
        served.append(assert_champion(store, [BEFORE, AS_OF]))
        if ended == 0:
            break
        run(store)
        assert contents(store) == contents(quiet), place
        assert records(store) == records(quiet), place
    # The entry, and the files and the manifest of `publish`, `recommend` and the report.
    assert served == [BEFORE, *[AS_OF] * 7, AS_OF]


def assert_champion(store: Path, either: list[str]) -> str:
    """There is a champion, one of those, and all that scoring with it takes is whole; return its as_of."""
    registry = Registry(Store(str(store)), NAME)
    champion = registry.champion()
    assert champion is not None
    assert champion.as_of in either
    assert problems_of(champion, Store(str(store))) == []
    lists = [path for path in store.glob(f"{NAME}/{BEFORE}/recommend/*/{MANIFEST}") if json.loads(path.read_bytes())]
    assert len(lists) == 1  # yesterday's lists are there until today's are, and after
    return champion.as_of
