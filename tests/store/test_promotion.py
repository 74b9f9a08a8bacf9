"""Decisions about finished runs, on runs of two stages: what is refused, and the messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.errors import ArtifactError, StoreError
from mtl_tasks.core.stages import BULK
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.store.artifacts import MANIFEST, Store
from mtl_tasks.store.champions import LISTED
from mtl_tasks.store.promotion import promote, rollback, verify_runs
from mtl_tasks.store.registry import Decision, Registry
from tests.support.projects import NAME, SCENARIO, write_past_runs

DAYS = ["2013-05-09", "2013-05-10", "2013-05-11"]
SAID = {"by": "ada", "reason": "a test", "at": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_past_runs(tmp_path, DAYS)
    return Store(str(tmp_path))


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store, NAME)


def silence(store: Store, registry: Registry, place: int) -> None:
    """Make the manifest of a run's factors one that cannot be read this time: a folder lies in its place."""
    ref = registry.entries()[place].refs["factors"]
    path = Path(store.root / ref.uri / MANIFEST)
    path.unlink()
    path.mkdir()


def records(store: Store) -> int:
    return sum(1 for _ in Path(store.root).rglob("registry/*/*.json"))


def test_what_lists_are_made_from_is_what_the_stage_reads() -> None:
    scenario = parse_scenario({**SCENARIO, "name": NAME}, where="tests")
    assert [name for name in build_stages(scenario)["recommend"].needs if name in BULK] == [LISTED]


def test_a_store_that_does_not_answer_is_not_damage(store: Store, registry: Registry) -> None:
    silence(store, registry, 0)
    with pytest.raises(StoreError, match="cannot be read"):
        verify_runs(registry.entries(), store)
    registry.append(Decision("1" * 64, DAYS[0], "retire", **SAID))
    before = records(store)
    with pytest.raises(StoreError, match="cannot be read"):
        promote(registry, store, "1" * 64, **SAID)
    assert records(store) == before


def test_a_rollback_on_a_store_that_does_not_answer_says_so(store: Store, registry: Registry) -> None:
    silence(store, registry, 1)
    before = records(store)
    with pytest.raises(StoreError, match="cannot be read"):
        rollback(registry, store, None, **SAID)
    assert records(store) == before


def test_a_run_with_a_damaged_record_is_not_promoted_and_one_beside_it_may_be_rolled_back(
    store: Store, registry: Registry
) -> None:
    registry.append(Decision("3" * 64, DAYS[2], "retire", **SAID))
    (retirement,) = Path(store.root).rglob("*-retire-*.json")
    retirement.write_bytes(retirement.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=r"not a registry entry .* registry quarantine small 2013-05-11/0002-3333"):
        promote(registry, store, "3" * 64, **SAID)
    _, champion = rollback(registry, store, None, **SAID)
    assert champion.run_key == "1" * 64
    registry.quarantine(retirement.name, by="ada", reason="a test", at="2026-01-02")
    promote(registry, store, "3" * 64, **SAID)
    assert registry.champion() == registry.get("3" * 64)


def test_many_questions_cost_one_reading(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from mtl_tasks.cli import main as cli
    from tests.support.projects import write_scenario

    write_scenario(tmp_path)
    read, real = list[str](), Path.read_bytes

    def counted(path: Path) -> bytes:
        if "registry" in path.parts:
            read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    for command in (["list"], ["show", "1"], ["champion"], ["rollback", "--reason", "a test"], ["promote", "3"]):
        there = records(store)
        read.clear()
        more = ["--reason", "a test"] if command[0] == "promote" else []
        code = cli.main(
            ["registry", command[0], NAME, *command[1:], *more, "--store", str(store.root), "--root", str(tmp_path)]
        )
        assert code == 0, capsys.readouterr().err
        readings = 2 if command[0] in ("rollback", "promote") else 1  # what was there, and what is now
        assert len(read) <= readings * (there + 1)
