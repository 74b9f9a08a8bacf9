"""Past runs as the board reads them: their status, their evidence, and faults of stored artifacts."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError, StoreError
from mtl_tasks.pipeline import engine as run_module
from mtl_tasks.pipeline.artifact_states import list_artifacts
from mtl_tasks.pipeline.comparison import compare_runs
from mtl_tasks.pipeline.engine import Inputs
from mtl_tasks.pipeline.explore import open_run
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_documents import find_lists, past_document, read_card, rebuild_run
from mtl_tasks.pipeline.past_runs import read_history, read_run, stored_scenarios
from mtl_tasks.pipeline.stages import explain
from mtl_tasks.report import render_report
from mtl_tasks.store.artifacts import MANIFEST, Payload, Store
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support import board
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library as it will be one day: every key is another one."""
    monkeypatch.setattr(run_module, "code_version", lambda presentation=False: "another")


def test_each_run_stands_where_verdict_and_rulings_put_it(board_project: Path) -> None:
    history = read_history(board.store(board_project), NAME)
    assert [run.standing for run in history.runs] == ["promoted", "retired", "rejected", "forced"]
    assert [period.as_of for period in history.champions] == ["2013-05-08", "2013-05-11"]
    assert history.champion is not None
    assert history.champion.entry.as_of == "2013-05-11"
    assert "too eager" in history.runs[1].why
    assert history.runs[2].why.startswith("rating rmse <= 0.5: fails, rmse is")
    metric = history.runs[0].metrics["rating"]["rmse"]
    assert metric.bounds is not None
    assert metric.value is not None
    assert metric.bounds[0] < metric.value < metric.bounds[1]


def test_a_new_record_is_seen_at_once(board_project: Path, tmp_path: Path) -> None:
    shutil.copytree(board_project / ".store", tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    before = read_history(store, NAME)
    last = max((tmp_path / "store" / NAME / "registry").glob("*/*.json"))
    last.unlink()
    assert before.runs[-1].standing == "forced"
    assert read_history(store, NAME).runs[-1].standing == "rejected"


def test_a_scenario_without_runs_and_a_store_that_is_not_there_are_empty(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "nowhere"))
    assert stored_scenarios(store) == []
    assert read_history(store, NAME).runs == []
    assert read_history(store, NAME).champion is None


def test_runs_are_found_whatever_code_made_them(board_project: Path, other_code: None) -> None:
    store = board.store(board_project)
    document = past_document(store, board.run_of(board_project, "2013-05-10"))
    assert document.standing == "rejected"
    assert {stage.name for stage in document.stages} >= {"resolve", "gate", "member:shared_tail"}
    assert all(stage.seconds >= 0 for stage in document.stages)
    assert "rating rmse ≤ 0.5" in render_report(document)


def test_the_lists_of_a_promoted_run_are_found(board_project: Path) -> None:
    assert past_document(board.store(board_project), board.run_of(board_project, "2013-05-08")).sample
    assert past_document(board.store(board_project), board.run_of(board_project, "2013-05-10")).sample == ()


def past_entry(store: Store, **usage: float) -> RunRecord:
    """Enter a run of which only the stages `evaluate` and `gate` are left."""
    refs = {}
    for stage in ("evaluate", "gate"):
        folder = store.folder(NAME, AS_OF, stage, stage[0] * 64)
        refs[stage] = store.publish(folder, stage[0] * 64, Payload(), {"usage": usage}).ref
    entry = RunRecord("1" * 64, AS_OF, "promote", ["holds"], {"name": NAME}, refs, "c0de")
    Registry(store, NAME).append(entry)
    return entry


def publish_lists(store: Store, key: str, gate: str, usage: dict[str, float]) -> None:
    facts = {"inputs": {"gate": gate}, "usage": usage}
    store.publish(store.folder(NAME, AS_OF, "recommend", key * 64), key * 64, Payload(), facts)


@pytest.mark.parametrize("newest", ["a", "b", "c"])
def test_the_newest_lists_are_those_made_last_whatever_their_key(tmp_path: Path, newest: str) -> None:
    store = Store(str(tmp_path))
    entry = past_entry(store)
    assert find_lists(store, entry) is None
    for key in "abc":
        publish_lists(store, key, entry.refs["gate"].key, {"made_at": 2e9 + (key == newest)})
    publish_lists(store, "d", "of another run", {"made_at": 3e9})
    found = find_lists(store, entry)
    assert found is not None
    assert found.ref.key == newest * 64


def test_lists_of_before_their_time_was_recorded_go_by_their_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    entry = past_entry(store)
    for place, key in enumerate("bac"):
        publish_lists(store, key, entry.refs["gate"].key, {})
        os.utime(store.folder(NAME, AS_OF, "recommend", key * 64) / MANIFEST, (1e9, 1e9 - place))
    found = find_lists(store, entry)
    assert found is not None
    assert found.ref.key == "b" * 64


def test_a_store_that_does_not_answer_is_not_told_as_damage(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    entry = past_entry(store)
    folder = tmp_path / entry.refs["evaluate"].uri
    shutil.rmtree(folder)
    folder.touch()  # it is there and cannot be read
    for read in (lambda: read_history(store, NAME).runs[0].metrics, lambda: list_artifacts(store, entry)):
        with pytest.raises(StoreError, match="cannot be read"):
            read()


def test_a_damaged_record_leaves_the_other_runs_and_is_named(board_project: Path, tmp_path: Path) -> None:
    shutil.copytree(board_project / ".store", tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    [path] = (tmp_path / "store" / NAME / "registry").glob("*/*-promote-*.json")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    history = read_history(store, NAME)
    assert [run.standing for run in history.runs] == ["promoted", "retired", "rejected", "record damaged"]
    assert history.champion is not None
    assert history.champion.entry.as_of == "2013-05-08"
    [problem] = history.problems
    assert path.name in problem
    assert read_run(store, NAME, history.runs[-1].entry.run_key).standing == "record damaged"
    path.write_bytes(whole)  # restored from a backup, under the same name
    history = read_history(store, NAME)
    assert (history.problems, history.runs[-1].standing) == ((), "forced")


@pytest.mark.faults(23)
def test_damage_is_named_and_the_run_stays_listed(board_project: Path, tmp_path: Path) -> None:
    shutil.copytree(board_project / ".store", tmp_path / "store")
    store, entry = Store(str(tmp_path / "store")), board.entry_of(board_project, "2013-05-10")
    artifact = store.open(entry.refs["evaluate"])
    damaged = artifact.folder / artifact.manifest["files"]["evaluation.json"]["path"]
    damaged.write_bytes(damaged.read_bytes()[:-2] + b" \n")
    shutil.rmtree(store.open(entry.refs["validate"]).folder)
    states = {row.stage: row.state for row in list_artifacts(store, entry)}
    assert states["evaluate"].startswith("damaged: ")
    assert states["validate"] == "missing"
    assert states["gate"] == "sound"
    run = read_run(store, NAME, entry.run_key)
    assert (run.metrics["rating"]["rmse"].value or 0) > 0  # the registry has them too
    with pytest.raises(ArtifactError, match="no artifact here"):
        past_document(store, run)


def test_of_what_is_too_large_to_be_read_for_a_page_the_sizes_are_checked(
    board_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.pipeline.artifact_states.HASHED_BYTES", 0)
    shutil.copytree(board_project / ".store", tmp_path / "store")
    store, entry = Store(str(tmp_path / "store")), board.entry_of(board_project, "2013-05-10")
    artifact = store.open(entry.refs["evaluate"])
    shortened = artifact.folder / artifact.manifest["files"]["evaluation.json"]["path"]
    shortened.write_bytes(shortened.read_bytes()[:-1])
    states = {row.stage: row.state for row in list_artifacts(store, entry)}
    assert states["gate"] == "sizes match"
    assert states["evaluate"].startswith("damaged: ")
    assert "evaluation.json" in states["evaluate"]


def test_a_run_of_before_the_registry_kept_metrics_has_those_of_its_artifact(
    board_project: Path, tmp_path: Path
) -> None:
    store, entry = board.store(board_project), board.entry_of(board_project, "2013-05-10")
    older = Store(str(tmp_path))
    registry = Registry(older, NAME)
    registry.append(replace(entry, metrics={}))
    shutil.copytree(store.open(entry.refs["evaluate"]).folder, tmp_path / entry.refs["evaluate"].uri)
    assert read_run(older, NAME, entry.run_key).to_json()["metrics"] == entry.metrics
    shutil.rmtree(tmp_path / entry.refs["evaluate"].uri)
    other = replace(entry, metrics={}, run_key="f" * 64, refs={"evaluate": replace(entry.refs["evaluate"], uri="gone")})
    registry.append(other)
    run = read_run(older, NAME, other.run_key)
    assert run.metrics == {}
    assert run.problem is not None
    assert "no artifact here" in run.problem


def test_each_stage_says_until_when_it_read(board_project: Path) -> None:
    rows = {
        row.stage: row
        for row in list_artifacts(board.store(board_project), board.entry_of(board_project, "2013-05-11"))
    }
    assert str(rows["validate"].read_until).startswith("2013-05-10")
    assert str(rows["factors"].read_until) < str(rows["validate"].read_until)
    assert (rows["validate"].bytes or 0) > 1000
    assert list(rows)[:5] == ["resolve", "validate", "split", "factors", "features"]
    assert list(rows)[-3:] == ["rank", "evaluate", "gate"]


def test_a_run_that_is_not_there_is_refused(board_project: Path) -> None:
    with pytest.raises(ArtifactError, match="no run 'none' in the registry"):
        read_run(board.store(board_project), NAME, "none")


def test_a_comparison_shows_differences_with_intervals_and_changed_settings(board_project: Path) -> None:
    runs = read_history(board.store(board_project), NAME).runs
    made = compare_runs(board.store(board_project), [runs[0], runs[2]])
    row = next(row for row in made.metrics if (row.task, row.metric) == ("rating", "rmse"))
    first, second = row.values  # noqa: PD011 - not a frame
    nothing, difference = row.differences
    assert first is not None
    assert second is not None
    assert nothing is None
    assert difference is not None
    assert difference.bounds is not None
    gain = (first.value or 0) - (second.value or 0)  # less error is better
    assert difference.value == pytest.approx(gain)
    assert difference.bounds[0] < gain < difference.bounds[1]
    assert [setting.name for setting in made.settings] == ["gate.absolute"]


def test_a_setting_under_a_former_name_does_not_differ(board_project: Path) -> None:
    run = read_history(board.store(board_project), NAME).runs[0]
    document = run.entry.scenario_document
    boosting = {key: value for key, value in document["boosting"].items() if key != "warm_start"}
    former = {**document, "boosting": {**boosting, "transfer": document["boosting"]["warm_start"]}}
    earlier = replace(run, entry=replace(run.entry, scenario_document=former))
    assert compare_runs(board.store(board_project), [earlier, run]).settings == []


def test_a_person_is_shown_with_history_list_and_reasons(board_project: Path) -> None:
    store, entry = board.store(board_project), board.entry_of(board_project, "2013-05-08")
    lists = pd.read_parquet(next((board_project / ".store" / NAME / "2013-05-08" / "recommend").rglob("*.parquet")))
    user = lists["user_id"].iloc[0]
    run = open_run(store, entry)
    seen = run.explore_user(str(user), find_lists(store, entry), 3)
    mine = lists[lists["user_id"] == user].sort_values("rank")
    assert [offer.item_id for offer in seen.offers] == mine["item_id"].tolist()
    for offer, stored in zip(seen.offers, mine.to_dict("records"), strict=True):
        for task in ("rating", "purchase"):
            assert offer.tasks[task].prediction == pytest.approx(stored[f"prediction:{task}"], rel=1e-6)
    assert seen.history[0].at < "2013-05-08"
    alone = run.explore_pair(str(user), str(mine["item_id"].iloc[0]), None, 3)
    for task, told in alone.tasks.items():
        same = seen.offers[0].tasks[task]
        assert told.prediction == pytest.approx(same.prediction)
        assert told.explained is not None
        assert same.explained is not None
        assert [part.words for part in told.explained.contributions] == [
            part.words for part in same.explained.contributions
        ]


def test_a_persons_history_is_told_by_the_titles_that_items_had_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)
    films = pd.read_parquet("films.parquet")
    versions = [
        films.assign(title=title + films["title"], since=pd.Timestamp(day, tz="UTC").as_unit("us"))
        for title, day in (("first ", "2013-01-01"), ("second ", "2013-05-01"), ("future ", AS_OF))
    ]
    pd.concat(versions).to_parquet("films.parquet", index=False)
    items = {**SCENARIO["source"]["items"], "valid_from": "since"}
    write_scenario(tmp_path, members=["popularity"], source={**SCENARIO["source"], "items": items})
    run = make_run(NAME, AsOf.parse(AS_OF), {}, ".store")
    run_pipeline(run, lambda stage, result: None)
    [entry] = Registry(run.store, NAME).entries()
    lists = pd.read_parquet(next((tmp_path / ".store" / NAME / AS_OF / "recommend").rglob("*.parquet")))
    history = open_run(run.store, entry).explore_user(str(lists["user_id"].iloc[0]), None, 1).history
    assert {str(seen.title).split()[0] for seen in history} == {"second"}


def test_a_stranger_and_a_word_are_refused_in_a_line(board_project: Path) -> None:
    run = open_run(board.store(board_project), board.entry_of(board_project, "2013-05-08"))
    with pytest.raises(DataError, match="user 99999999: no event before 2013-05-08"):
        run.explore_user("99999999", None, 3)
    with pytest.raises(ConfigError, match="ids of this log are whole numbers"):
        run.explore_user("<script>", None, 3)


def test_a_prepared_run_answers_for_anybody_as_if_its_log_were_read_for_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)
    log = pd.concat([pd.read_parquet(path) for path in sorted((tmp_path / "log").rglob("*.parquet"))])
    active, silent, stranger = int(log["user_id"].iloc[0]), 88_888_888, 99_999_999
    people = pd.DataFrame({"user_id": [*log["user_id"].unique(), silent]})
    people.assign(height=150.0 + people["user_id"] % 50).to_parquet("people.parquet", index=False)
    source = {
        **SCENARIO["source"],
        "users": {"path": "people.parquet", "id": "user_id", "numeric": {"height": "height"}},
    }
    write_scenario(tmp_path, members=["popularity", "shared_tail"], source=source)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, ".store")
    run_pipeline(run, lambda stage, result: None)
    [entry] = Registry(run.store, NAME).entries()
    prepared = open_run(run.store, entry)
    item = str(log["movie_id"].mode()[0])
    inputs = Inputs({stage: run.store.open(ref) for stage, ref in entry.refs.items()})
    told = {}
    for user in (active, silent, stranger, active):
        told[user] = prepared.explore_pair(str(user), item, None, 50)
        alone = explain(rebuild_run(run.store, entry), inputs, (str(user), item), 50)
        assert (told[user].tasks, told[user].new_user) == (alone.tasks, alone.new_user)
    assert [told[user].new_user for user in (active, silent, stranger)] == [False, True, True]
    assert told[silent].tasks != told[stranger].tasks  # her height is known
    with pytest.raises(DataError, match=f"user {silent}: no event before"):
        prepared.explore_user(str(silent), None, 3)
    with pytest.raises(DataError, match="item 77: no event before"):
        prepared.explore_pair(str(active), "77", None, 3)


def test_a_log_of_too_many_rows_is_left_to_the_command_line(
    board_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.pipeline.explore.READABLE_ROWS", 10)
    with pytest.raises(DataError) as refused:
        open_run(board.store(board_project), board.entry_of(board_project, "2013-05-08"))
    assert "rows, more than the 10 read for a page" in str(refused.value)
    assert f"include/bin/mtl explain {NAME} --as-of 2013-05-08 --user" in str(refused.value)


def test_what_could_not_be_read_once_is_read_again(board_project: Path, tmp_path: Path) -> None:
    shutil.copytree(board_project / ".store", tmp_path / "store")
    store, entry = Store(str(tmp_path / "store")), board.entry_of(board_project, "2013-05-08")
    run = read_run(store, NAME, entry.run_key)
    folder = store.open(entry.refs["split"]).folder
    shutil.move(folder, tmp_path / "away")
    assert read_card(store, run).windows == {}
    shutil.move(tmp_path / "away", folder)
    assert list(read_card(store, run).windows) == ["train", "tune", "blend", "test"]


def test_metrics_that_could_not_be_read_once_are_read_again(board_project: Path, tmp_path: Path) -> None:
    store, entry = board.store(board_project), board.entry_of(board_project, "2013-05-10")
    older = Store(str(tmp_path))
    Registry(older, NAME).append(replace(entry, metrics={}))  # as before the registry kept metrics
    assert read_history(older, NAME).runs[0].problem is not None
    shutil.copytree(store.open(entry.refs["evaluate"]).folder, tmp_path / entry.refs["evaluate"].uri)
    assert read_history(older, NAME).runs[0].to_json()["metrics"] == entry.metrics
