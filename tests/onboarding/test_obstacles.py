"""Obstacles to a run are found before its first stage, and `check`, `run` and a scheduler's run name the same ones."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.models.boosting.device import probe
from mtl_tasks.onboarding.check import inspect
from mtl_tasks.onboarding.obstacles import find_obstacles
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.tasks import SETTINGS, prepare_run
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.projects import NAME, SCENARIO, write_scenario

FIRST, SECOND = "2013-05-10", "2013-05-11"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store() -> Store:
    return Store(".store")


def scenario(project: Path, warm_start: str, name: str = NAME, **sections: Any) -> None:
    boosting = {**SCENARIO["boosting"], "warm_start": warm_start, **sections.pop("boosting", {})}
    write_scenario(project, name, boosting=boosting, **sections)


def enter_champion(store: Store, name: str = NAME) -> None:
    document = load_scenario(name).model_dump(mode="json")
    refs = {"member:independent": Ref(f"{name}/{FIRST}/member-independent/{'a' * 32}", "a" * 64, "b" * 64, 1)}
    Registry(store, name).append(RunRecord("c" * 64, FIRST, "promote", ["holds"], document, refs, "c0de"))


def obstacles(store: Store, **overrides: Any) -> list[str]:
    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    return find_obstacles(load_scenario(NAME, settings), SECOND, store, devices=False)


def test_check_run_and_a_schedulers_run_refuse_an_unknown_scenario_in_the_same_words(
    project: Path, store: Store
) -> None:
    scenario(project, "smal")
    [known] = obstacles(store)
    assert known.startswith("boosting.warm_start: no scenario 'smal', did you mean 'small'? (known: small): ")
    run = make_run(NAME, AsOf.parse(SECOND), {}, ".store")
    begun: list[str] = []
    with pytest.raises(ConfigError) as of_run:
        run_pipeline(run, lambda stage, result: begun.append(stage))
    assert str(of_run.value) == known
    assert begun == []
    found = inspect(run.scenario, run.as_of.timestamp, project, 1000, {}, store)
    assert known in found.problems
    assert not found.ready
    document = run.scenario.model_dump(mode="json")
    params = {name: document[key.split(".")[0]][key.split(".")[1]] for name, key in SETTINGS.items()}
    params |= {"as_of": SECOND, "members": list(run.scenario.members), "force": False}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigError) as asked:
        prepare_run(NAME, params, {}, interval_end=None, run_after=now, now=now, store=".store", run_id="manual")
    assert str(asked.value) == known


def test_without_a_champion_another_scenario_stops_a_run_and_its_own_does_not(project: Path, store: Store) -> None:
    scenario(project, "champion")
    scenario(project, "none", "other")
    assert obstacles(store) == []
    [found] = obstacles(store, boosting__warm_start="other")
    assert found.startswith(f"boosting.warm_start: no run of other was published before {SECOND}: run other")


def test_a_scenario_whose_file_is_gone_can_be_grown_on_from(project: Path, store: Store) -> None:
    scenario(project, "champion", "other")
    enter_champion(store, "other")
    (project / "include" / "scenarios" / "other.yaml").unlink()
    scenario(project, "other")
    assert obstacles(store) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"boosting__seeds": 2}, "has boosting.seeds 1, and this scenario 2"),
        ({"features__raw_factors": True}, "trees cannot be warm-started with features.raw_factors"),
        ({"source__items__text": "title"}, "trees cannot be warm-started with source.items.text"),
        ({"windows__test": 7, "windows__train": 8}, "learned from days before 2013-04-27, of which this run"),
        ({"tasks": {"stars": SCENARIO["tasks"]["rating"]}, "gate.absolute": []}, "has none of the tasks"),
    ],
)
def test_a_champion_that_does_not_fit_is_known_by_its_entry(
    project: Path, store: Store, overrides: dict[str, Any], message: str
) -> None:
    scenario(project, "champion")
    enter_champion(store)
    assert obstacles(store) == []
    [found] = obstacles(store, **overrides)
    assert message in found
    assert f"{NAME} as of {FIRST} (run {'c' * 12})" in found or "cannot be warm-started" in found


def test_a_champion_that_kept_no_trees_stops_nothing(project: Path, store: Store) -> None:
    scenario(project, "none")
    enter_champion(store)
    assert obstacles(store, boosting__warm_start="champion", boosting__seeds=2) == []


def test_without_members_that_grow_trees_there_is_no_start_to_miss(project: Path, store: Store) -> None:
    scenario(project, "nosuch", members=["popularity", "als"])
    assert obstacles(store) == []


def test_a_device_is_tried_where_members_are_fitted(project: Path, store: Store) -> None:
    scenario(project, "none", boosting={"device": "cuda"})
    asked = load_scenario(NAME)
    assert find_obstacles(asked, SECOND, store, devices=False) == []
    found = find_obstacles(asked, SECOND, store, devices=True)
    assert ["'cuda' was requested" in one for one in found] == [True] * (probe("cuda").problem is not None)


def test_a_deep_member_without_its_optional_part_is_refused_before_the_first_stage(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario(project, "none", members=["popularity", "als", "deep"])
    assert obstacles(store) == []
    monkeypatch.setitem(sys.modules, "jax", None)  # as if it were not installed
    [found] = obstacles(store)
    assert found.startswith("members: 'deep' is trained with JAX, which is not installed: install it with make install")
    with pytest.raises(ConfigError, match="'deep' is trained with JAX"):
        run_pipeline(make_run(NAME, AsOf.parse(SECOND), {}, ".store"), lambda name, result: None)


def test_an_exclusion_table_that_is_missing_is_named_before_the_first_stage(project: Path, store: Store) -> None:
    table = {"exclude_table": {"path": "recalls.csv", "item": "film"}}
    write_scenario(project, recommend={**SCENARIO["recommend"], "reranking": table})
    [known] = obstacles(store)
    key = "recommend.reranking.exclude_table.path"
    assert known.startswith(f"{key} 'recalls.csv' in include/scenarios/small.yaml: no such file or folder")
    with pytest.raises(ConfigError, match=r"exclude_table\.path 'recalls\.csv'"):
        run_pipeline(make_run(NAME, AsOf.parse(SECOND), {}, ".store"), lambda name, result: None)
    (project / "recalls.csv").write_text("film\n1\n")
    assert obstacles(store) == []


def test_two_towers_without_jax_are_refused_before_the_first_stage(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario(project, "none")
    towers = load_scenario(NAME, {"recommend.sources.two_tower": 10})
    assert find_obstacles(towers, SECOND, store, devices=True) == []
    monkeypatch.setitem(sys.modules, "jax", None)  # as if it were not installed
    found = find_obstacles(towers, SECOND, store, devices=True)
    assert [problem.partition(":")[0] for problem in found] == ["recommend.sources.two_tower"]
    assert 'make install EXTRAS="deep"' in found[0]
    assert find_obstacles(towers, SECOND, store, devices=False) == []
