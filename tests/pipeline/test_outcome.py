"""The outcome of a scheduler's run: approval, notification, and the run that recommendations are made from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError, GateError
from mtl_tasks.pipeline import outcome
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.tasks import execute_report, execute_stage
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.promotion import promote, rollback
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from tests.support.projects import NAME, write_log, write_scenario

DAYS = ("2013-05-10", "2013-05-11")
Made = tuple[RunSpec, UpstreamResults]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    write_scenario(root, members=["popularity", "als"])
    return root


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def make(store: Path, as_of: str, **overrides: Any) -> Made:
    """Run everything, and return what a scheduler would have: the run, and the results of `gate` and `publish`."""
    run = make_run(NAME, AsOf.parse(as_of), overrides, str(store))
    results: dict[str, StageResult] = {}

    def keep(name: str, result: StageResult | None) -> None:
        results.update({} if result is None else {name: result})

    run_pipeline(run, keep)
    passed = json.loads(json.dumps([RunSpec.of(run).to_json(), [results[n].to_json() for n in ("gate", "publish")]]))
    return RunSpec.from_json(passed[0]), UpstreamResults.from_json(passed[1])


@pytest.mark.faults(5)
def test_only_todays_champion_is_announced(tmp_path: Path) -> None:
    newer = make(tmp_path, DAYS[1])
    older = make(tmp_path, DAYS[0])
    told = outcome.champion_event(*newer)
    assert told is not None
    assert told.as_of.iso == DAYS[1]
    assert list(told.to_json()) == ["run_key", "as_of", "verdict", "standing", "metrics", "refs"]
    assert told.verdict.startswith("promote: 1 of 1 rules passed")
    assert set(told.refs) >= {"validate", "factors", "member:als", "gate"}
    assert outcome.champion_event(*older) is None


def test_a_run_from_before_a_release_that_added_a_key_is_found_by_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, DAYS[1])
    before = outcome.champion_event(*made)
    assert before is not None
    note = outcome.run_note(*made)
    # The scenario has keys that it had not when the run was recorded.
    monkeypatch.setattr("mtl_tasks.pipeline.stages.publish.run_key", lambda run, gate: "0" * 64)
    assert outcome.champion_event(*made) == before
    assert outcome.run_note(*made) == note


def test_recommendations_of_a_run_from_before_there_were_rankers_are_ordered_by_its_utility(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    make(tmp_path, DAYS[1])
    (entry,) = Registry(store, NAME).entries()
    refs = {stage: ref for stage, ref in entry.refs.items() if stage != "rank"}
    older = replace(entry, run_key="1" * 64, refs=refs)
    Registry(store, NAME).append(older)
    found = outcome.prepare_recommend(NAME, older.run_key, str(tmp_path))
    assert found is not None
    made = execute_stage("recommend", found.run_spec, UpstreamResults(found.results))
    lists = store.open(made.ref).frame("recommendations")
    for _, mine in lists.groupby("user_id"):
        assert mine["utility"].is_monotonic_decreasing


@pytest.mark.faults(8)
def test_a_backfill_of_five_older_dates_announces_nobody(tmp_path: Path) -> None:
    champion = RunRecord("f" * 64, "2013-05-12", "promote", ["holds"], {"name": NAME}, {}, "c0de")
    Registry(Store(str(tmp_path)), NAME).append(champion)
    made = [make(tmp_path, f"2013-05-{day:02}", **{"windows.min_history": 7}) for day in range(7, 12)]
    assert [outcome.champion_event(*one) for one in made] == [None] * 5
    registry = Registry(Store(str(tmp_path)), NAME)
    assert registry.champion() == champion
    assert [entry.promoted for entry in registry.entries()] == [True] * 6


def test_who_need_not_be_asked_is_not(tmp_path: Path) -> None:
    assert not outcome.awaits_approval(*make(tmp_path, DAYS[1]))


@pytest.mark.faults(30)
@pytest.mark.parametrize(
    ("approved", "by", "note"),
    [
        (True, "ada", "approved (approved by ada at 2026-01-01: answered in Airflow); promote: 1 of 1"),
        (False, "ada", "not approved (not approved by ada at 2026-01-01: answered in Airflow); promote"),
        (False, None, "not approved (not approved by nobody at 2026-01-01: no answer in time); promote"),
    ],
)
def test_the_answer_decides_and_is_in_the_note(tmp_path: Path, approved: bool, by: str | None, note: str) -> None:
    made = make(tmp_path, DAYS[1], **{"gate.approval": "required"})
    assert outcome.awaits_approval(*made)
    assert outcome.champion_event(*made) is None
    for _ in range(2):  # a task that was cut off after it had recorded the answer does so again
        outcome.record_answer(*made, approved=approved, by=by, at="2026-01-01")
    assert not outcome.awaits_approval(*made)
    assert (outcome.champion_event(*made) is not None) == approved
    assert outcome.run_note(*made).startswith(f"{DAYS[1]}: {note}")
    assert len(Registry(Store(str(tmp_path)), NAME).records()) == 2


def test_lists_are_made_from_exactly_the_run_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run is promoted yet: run train_small first"):
        outcome.prepare_recommend(NAME, None, str(tmp_path))
    make(tmp_path, DAYS[0])
    make(tmp_path, DAYS[1])
    registry = Registry(Store(str(tmp_path)), NAME)
    older, newer = registry.standing()
    named, default = (outcome.prepare_recommend(NAME, key, str(tmp_path)) for key in (older.run_key[:12], None))
    assert named is not None
    assert default is not None
    assert (named.run_spec.as_of.iso, default.run_spec.as_of.iso) == DAYS
    assert execute_stage(
        "recommend", named.run_spec, UpstreamResults(named.results)
    ).reused  # what the run itself has made
    rollback(registry, Store(str(tmp_path)), None, by="ada", reason="bad lists", at="2026-01-01")
    assert outcome.prepare_recommend(NAME, newer.run_key, str(tmp_path)) is None


def test_an_answer_that_comes_after_a_decision_leaves_the_champion_as_it_is(tmp_path: Path) -> None:
    made = make(tmp_path, DAYS[1], **{"gate.approval": "required", "gate.approvers": ["7"]})
    assert outcome.approvers(made[0]) == ["7"]
    store = Store(str(tmp_path))
    registry = Registry(store, NAME)
    [entry] = registry.entries()
    with pytest.raises(
        GateError, match=r"the answer of user '8' is not recorded: gate\.approvers names 7; clear this task"
    ):
        outcome.record_answer(*made, approved=True, by="bob", user_id="8", at="2026-01-01")
    assert outcome.awaits_approval(*made)
    promote(registry, store, entry.run_key, by="ada", reason="it is urgent", at="2026-01-01")
    late = outcome.record_answer(*made, approved=False, by=None, at="2026-01-02")
    assert late.promoted
    assert late.message.startswith("the answer reject by nobody at 2026-01-02 (no answer in time) is ignored: run ")
    assert late.message.endswith("was decided before it, approved by ada at 2026-01-01: it is urgent")
    assert outcome.champion_event(*made) is not None
    registry.append(Decision(entry.run_key, entry.as_of, "retire", "ada", "it is bad", "2026-01-03"))
    after = outcome.record_answer(*made, approved=True, by="ada", user_id="7", at="2026-01-04")
    assert not after.promoted
    assert "is ignored" in after.message
    assert registry.champion() is None
    assert len(registry.records()) == 3


def test_lists_need_no_tables_but_the_log_and_no_damaged_champion(tmp_path: Path) -> None:
    for day in DAYS:
        make(tmp_path, day)
    store = Store(str(tmp_path))
    older, newer = Registry(store, NAME).standing()
    for stage in ("split", "features"):
        shutil.rmtree(store.open(newer.refs[stage]).folder)
    found = outcome.prepare_recommend(NAME, None, str(tmp_path))
    assert found is not None
    assert found.run_spec.as_of.iso == DAYS[1]
    assert execute_stage("recommend", found.run_spec, UpstreamResults(found.results)).reused
    assert execute_report(found.run_spec, UpstreamResults(found.results)) is None  # it shows the windows
    assert outcome.run_note(found.run_spec, UpstreamResults(found.results)).startswith(f"{DAYS[1]}: promoted; promote")
    model = store.open(newer.refs["member:als"])
    path = model.folder / next(iter(model.manifest["files"].values()))["path"]
    path.write_bytes(path.read_bytes()[:-1])
    found = outcome.prepare_recommend(NAME, None, str(tmp_path))
    assert found is not None
    assert found.run_spec.as_of.iso == DAYS[0]
    warning = f"warning: run {newer.run_key[:12]} as of {DAYS[1]}: its member:als is missing or damaged"
    assert outcome.run_note(found.run_spec, UpstreamResults(found.results)).endswith(warning)
    with pytest.raises(
        ArtifactError, match=rf"run {newer.run_key[:12]} .* cannot make recommendations: its member:als is missing"
    ):
        outcome.prepare_recommend(NAME, newer.run_key, str(tmp_path))
    shutil.rmtree(store.open(older.refs["validate"]).folder)
    with pytest.raises(ArtifactError, match=rf"was pruned .*include/bin/mtl run {NAME} --as-of {DAYS[0]}"):
        outcome.prepare_recommend(NAME, older.run_key, str(tmp_path))
