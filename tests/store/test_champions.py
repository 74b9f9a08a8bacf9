"""The choice of a champion when the newest, or a record of it, is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_tasks.core.errors import ArtifactError, StoreError
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.store.artifacts import MANIFEST, Store
from mtl_tasks.store.champions import choose_champion, comparison_fault, lists_fault
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.projects import NAME, write_past_runs

DAYS = ["2013-05-09", "2013-05-10", "2013-05-11"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_past_runs(tmp_path, DAYS)
    return Store(str(tmp_path))


def spoil(store: Store, entry: RunRecord, stage: str) -> None:
    path = Path(store.root / entry.refs[stage].uri / MANIFEST)
    path.write_bytes(path.read_bytes()[:-3])


def test_the_newest_whole_champion_is_taken_and_the_others_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(store, NAME)
    first, second, third = registry.entries()
    spoil(store, third, "fuse")
    path = next(Path(store.root).rglob(f"*-{'2' * 32}.json"))
    path.write_bytes(path.read_bytes()[:-3])
    choice = choose_champion(registry.read(), None, lambda entry: lists_fault(entry, store))
    assert choice.entry == first
    assert choice.passed_over == (
        f"run 222222222222 as of {DAYS[1]}: its record {DAYS[1]}/{path.name} in the registry is damaged",
        f"run 333333333333 as of {DAYS[2]}: its fuse is missing or damaged",
    )
    assert f"falling back to run 111111111111 as of {DAYS[0]}" in caplog.text
    before = choose_champion(registry.read(), DAYS[1], lambda entry: lists_fault(entry, store))
    assert (before.entry, before.passed_over) == (first, ())
    assert second not in registry.entries()


def test_with_a_fault_in_each_the_newest_is_left_to_fail(store: Store) -> None:
    registry = Registry(store, NAME)
    for entry in registry.entries():
        spoil(store, entry, "factors")
    choice = choose_champion(registry.read(), None, lambda entry: lists_fault(entry, store))
    assert choice.entry == registry.entries()[-1]
    assert choice.passed_over == ()


def test_without_a_champion_that_is_known_none_is_no_first(store: Store) -> None:
    registry = Registry(store, NAME)
    path = next(Path(store.root).rglob(f"*-{'1' * 32}.json"))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="no champion is known, and none before it to fall back to"):
        choose_champion(registry.read(), DAYS[1], lambda entry: None)
    assert choose_champion(registry.read(), DAYS[0], lambda entry: None).entry is None


def test_a_champion_that_is_not_opened_may_be_damaged(store: Store) -> None:
    entry = Registry(store, NAME).entries()[-1]
    spoil(store, entry, "fuse")
    assert comparison_fault(entry, store, parse_scenario, scored=False) is None


def test_a_scenario_that_this_code_does_not_understand_is_a_fault(store: Store) -> None:
    entry = Registry(store, NAME).entries()[-1]
    found = comparison_fault(entry, store, parse_scenario, scored=True)
    assert found is not None
    assert found.startswith("this code does not understand its scenario")


def test_a_store_that_does_not_answer_is_no_fault_of_a_champion(store: Store) -> None:
    entry = Registry(store, NAME).entries()[-1]
    path = Path(store.root / entry.refs["fuse"].uri / MANIFEST)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        lists_fault(entry, store)
