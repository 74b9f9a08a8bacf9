"""Use of the DAGs on a real Airflow: by REST, on the command line, and with kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from mtl_tasks.store.registry import RunRecord
from tests.conftest import PROJECT
from tests.end_to_end.server.meddling import Ahead, asked_for, process_ended
from tests.end_to_end.server.scenarios import (
    BACKFILLS,
    DAILY,
    DAYS,
    MARKER,
    TRAIN,
    WOKEN,
    backfilled,
    entries,
    registry,
    run_here,
    runs_of,
)
from tests.support.airflow import Airflow, RefusedError
from tests.support.browser import CHROMIUM, browser, element, screenshot
from tests.support.projects import AS_OF, NAME


def test_a_run_by_hand_is_followed_to_the_end_and_wakes_the_lists_once(
    airflow: Airflow, here: None, early_runs: dict[str, str], again: str
) -> None:
    run = early_runs[NAME]
    run_here(NAME, AS_OF, "quiet")  # while the server is at work
    done = airflow.follow(TRAIN, run)
    assert done["state"] == "success", airflow.tasks(TRAIN, run)
    assert done["note"].startswith(f"{AS_OF}: promoted; promote: 1 of 1 rules passed")
    tasks = airflow.tasks(TRAIN, run)
    assert {tasks[f"member:{kind}"]["pool"] for kind in ("popularity", "als")} == {"cpu_heavy"}
    assert {mapped_name(airflow, run, index) for index in "01"} == {"popularity", "als"}
    assert entries(airflow) == entries(airflow, store="quiet")
    (event,) = airflow.events(f"{NAME}_champion")
    assert event["extra"]["run_key"] == entries(airflow)[0].run_key
    assert event["extra"]["metrics"]["rating"]["rmse"] > 0
    (lists,) = airflow.until(lambda: runs_of(airflow, f"recommend_{NAME}"), "the lists", 60)
    assert airflow.follow(f"recommend_{NAME}", lists["dag_run_id"])["state"] == "success"
    assert airflow.follow(TRAIN, again)["state"] == "success"
    assert airflow.tasks(TRAIN, again)["publish.announce"]["state"] == "skipped"
    assert len(entries(airflow)) == 1
    assert len(airflow.events(f"{NAME}_champion")) == 1
    assert len(runs_of(airflow, f"recommend_{NAME}")) == 1


@pytest.mark.usefixtures("early_runs")
def test_tasks_are_forked_from_a_process_that_has_imported_the_libraries(airflow: Airflow) -> None:
    airflow.until(lambda: "lib_lightgbm.so" in airflow.libraries("scheduler"), "a process with the libraries", 60)
    assert "lib_lightgbm.so" not in airflow.libraries("triggerer")


def mapped_name(airflow: Airflow, run: str, index: str) -> str:
    """Return the name of a member's task that `make up` prints when the task ends."""
    command = [sys.executable, "include/airflow/mapped_name.py", TRAIN, "learn.member", run, index]
    done = subprocess.run(command, cwd=PROJECT, env=airflow.environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_run_whose_recommendations_lose_to_popularity_is_rejected_with_that_sentence(
    airflow: Airflow, early_runs: dict[str, str]
) -> None:
    run = early_runs["unpopular"]
    done = airflow.follow("train_unpopular", run)
    assert done["state"] == "success"
    lost = "ranking ndcg no worse than popularity's: fails, the difference is \N{MINUS SIGN}0.0"
    assert done["note"].startswith(f"{AS_OF}: rejected; reject: 1 of 2 rules passed; {lost}")
    tasks = airflow.tasks("train_unpopular", run)
    assert tasks["publish.announce"]["state"] == "skipped"
    (entry,) = entries(airflow, "unpopular")
    assert entry.metrics["ranking"]["ndcg"]["value"] > 0  # the board draws it over time
    assert not runs_of(airflow, "recommend_unpopular")


@pytest.mark.faults(10)
def test_an_unknown_key_fails_the_first_task_with_the_nearest_name(airflow: Airflow) -> None:
    run = airflow.trigger(TRAIN, {"train_day": 5})
    done = airflow.follow(TRAIN, run)
    assert done["state"] == "failed"
    assert done["note"].startswith("failed: resolve")
    assert "unknown parameter 'train_day', did you mean 'train_days'?" in done["note"]
    log = airflow.log(TRAIN, run, "resolve")
    assert "unknown parameter 'train_day', did you mean 'train_days'?" in log
    assert "Next step: correct the parameter" in log


@pytest.mark.faults(10)
@pytest.mark.parametrize("conf", [{"as_of": "soon"}, {"threads": 64}, {"train_days": "x"}, {"gate_mode": "off"}])
def test_an_ill_typed_value_is_refused_at_once(airflow: Airflow, conf: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as refused:
        airflow.trigger(TRAIN, conf)
    assert refused.value.status == 400


@pytest.mark.parametrize(("user", "status"), [("victor", 403), (None, 401)])
def test_a_viewer_and_a_stranger_start_nothing(airflow: Airflow, user: str | None, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        airflow.trigger(TRAIN, {"as_of": AS_OF}, user=user)
    assert refused.value.status == status


@pytest.mark.faults(6, 8)
@pytest.mark.parametrize("name", BACKFILLS)
@pytest.mark.usefixtures("early_runs")
def test_a_backfill_gives_what_one_date_after_the_other_gives(airflow: Airflow, here: None, name: str) -> None:
    for day in DAYS[1:]:  # while the server is at work
        run_here(name, day, "quiet")
    assert backfilled(airflow, name) == ["failed", *["success"] * 4]
    promoted = [entry for entry in entries(airflow, name) if entry.promoted]  # the board's tests add one that is not
    assert promoted == entries(airflow, name, "quiet")
    assert [entry.as_of for entry in promoted] == DAYS[1:]
    told = [event["extra"]["as_of"] for event in airflow.events(f"{name}_champion")]
    assert told == DAYS[1:]  # each was the newest when it was promoted


@pytest.mark.faults(6)
@pytest.mark.usefixtures("early_runs")
def test_a_backfill_that_runs_backwards_is_refused_but_for_its_first_date(airflow: Airflow) -> None:
    assert backfilled(airflow, "reversed", 2) == ["success", "failed"]
    assert [entry.as_of for entry in entries(airflow, "reversed")] == ["2013-05-09"]


ANSWERS = {"asked": "Approve", "denied": "Reject"}


PAST = """
UPDATE deadline SET deadline_time = now() - interval '1 minute' FROM dag_run
WHERE dag_run.id = deadline.dagrun_id AND dag_run.run_id = :run AND dag_run.dag_id = :dag
"""


def test_a_run_that_is_late_is_told_in_the_triggerers_log(airflow: Airflow, early_runs: dict[str, str]) -> None:
    dag, run = "train_asked", early_runs["asked"]
    airflow.until(lambda: airflow.change(PAST, dag=dag, run=run), "the run to have a deadline", 60)
    told = f"{dag}: run {run} has not ended within 7 hours of being queued. See include/docs/operations.md"
    airflow.until(lambda: told in airflow.logged("triggerer"), "the alert", 60)


@pytest.mark.faults(30)
@pytest.mark.parametrize(
    ("name", "told", "promoted"),
    [("asked", "approved (approved by admin at ", True), ("denied", "not approved (not approved by admin at ", False)],
)
def test_a_persons_answer_decides_and_the_registry_says_whose_it_was(
    airflow: Airflow, early_runs: dict[str, str], name: str, told: str, promoted: bool
) -> None:
    dag, run = f"train_{name}", early_runs[name]
    path = f"dags/{dag}/dagRuns/{run}/taskInstances/publish.approve/-1/hitlDetails"
    question = airflow.until(lambda: asked_for(airflow, path), "the question", 200)
    assert "| ✓ | rating rmse <= 3 |" in question["body"]
    assert registry(airflow, name).champion() is None
    answer = {"chosen_options": [ANSWERS[name]], "params_input": {}}
    # Answered before the scheduler has seen the process end, Airflow 3.3 takes the task for killed and asks again.
    airflow.until(lambda: process_ended(airflow, dag, run, "publish.approve"), "the end of the task's process", 120)
    for user in ("victor", *(["olga"] if name == "asked" else [])):  # she may answer where nobody is named
        with pytest.raises(RefusedError) as refused:
            airflow.call(path, answer, method="PATCH", user=user)
        assert refused.value.status == 403
    airflow.call(path, answer, method="PATCH")
    done = airflow.follow(dag, run)
    assert done["state"] == "success"
    assert done["note"].startswith(f"{AS_OF}: {told}")
    assert len(airflow.events(f"{name}_champion")) == int(promoted)
    found = registry(airflow, name)
    assert (found.champion() is not None) == promoted
    (ruling,) = found.rulings(found.entries()[0].run_key)
    assert (ruling.by, ruling.reason) == ("admin", "answered in Airflow")


def test_an_asset_starts_a_run_that_waits_for_its_day_without_a_process(airflow: Airflow, woken: str) -> None:
    dag = f"train_{WOKEN}"
    assert airflow.follow(dag, woken)["state"] == "success", airflow.tasks(dag, woken)
    assert f"waits for {MARKER}" in airflow.log(dag, woken, "ready")
    assert [(entry.as_of, entry.decision) for entry in entries(airflow, WOKEN)] == [(AS_OF, "dry_run:promote")]


@pytest.mark.usefixtures("early_runs")
def test_a_partition_of_an_asset_starts_a_run_as_of_the_day_after(airflow: Airflow) -> None:
    [started] = airflow.until(lambda: runs_of(airflow, f"train_{DAILY}"), "the run of the partition", 60)
    assert airflow.follow(f"train_{DAILY}", started["dag_run_id"])["state"] == "success"
    assert started["partition_key"] == DAYS[-2]
    assert [entry.as_of for entry in entries(airflow, DAILY)] == [AS_OF]


def test_a_verdict_of_an_earlier_date_is_waited_for_and_an_answer_is_not(airflow: Airflow, ahead: Ahead) -> None:
    dag = "train_ahead"
    assert f"waits for the verdicts of {ahead.first}" in airflow.log(dag, ahead.second, "decide.earlier_runs")
    assert airflow.follow(dag, ahead.third, 600)["state"] == "success"
    assert airflow.tasks(dag, ahead.second)["publish.approve"]["state"] == "awaiting_input"
    champion = registry(airflow, "ahead").champion()
    assert champion is not None
    assert champion.as_of == DAYS[-1]


@pytest.mark.faults(30)
def test_no_answer_in_time_promotes_nothing(airflow: Airflow, early_runs: dict[str, str]) -> None:
    run = early_runs["late"]
    done = airflow.follow("train_late", run)
    assert done["state"] == "success"
    assert "not approved by nobody" in done["note"]
    assert airflow.tasks("train_late", run)["publish.announce"]["state"] == "skipped"
    late = registry(airflow, "late")
    assert late.champion() is None
    (ruling,) = late.rulings(late.entries()[0].run_key)
    assert (ruling.action, ruling.by, ruling.reason) == ("retire", "nobody", "no answer in time")


def test_a_run_that_is_promoted_while_the_question_waits_stays_champion(
    airflow: Airflow, early_runs: dict[str, str], overtaken: RunRecord
) -> None:
    dag, run = "train_overtaken", early_runs["overtaken"]
    done = airflow.follow(dag, run)  # nobody answers
    assert done["note"].startswith(f"{AS_OF}: approved (approved by ada at 2026-01-01: urgent); promote")
    assert airflow.tasks(dag, run)["publish.announce"]["state"] == "success"
    assert registry(airflow, "overtaken").champion() == overtaken
    assert len(airflow.events("overtaken_champion")) == 1


@pytest.mark.faults(1)
def test_a_killed_task_and_a_killed_scheduler_leave_what_a_quiet_run_leaves(
    airflow: Airflow, here: None, killed: list[str]
) -> None:
    run_here("killed", AS_OF, "quiet")
    for run in killed:
        assert airflow.follow("train_killed", run, 400)["state"] == "success"
    assert airflow.tasks("train_killed", killed[0])["validate.validate"]["try_number"] > 1
    assert entries(airflow, "killed") == entries(airflow, "killed", "quiet")
    assert len(airflow.events("killed_champion")) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="takes pictures with chromium, which is not installed")
def test_pictures_of_the_form_and_the_graph_of_a_run(
    airflow: Airflow, early_runs: dict[str, str], tmp_path: Path
) -> None:
    """Their pictures are those of the documentation where SCREENSHOTS names the folder for them."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    run = early_runs[NAME]
    assert airflow.follow(TRAIN, run)["state"] == "success"
    token = {"name": "_token", "value": airflow.token("admin"), "url": airflow.url}
    with browser() as page:
        page.context.add_cookies([token])
        page.goto(f"{airflow.url}/dags/{TRAIN}")
        element(page, "button", "Trigger").click()
        form = element(page, "[role=dialog]", "Trigger Dag")
        form.get_by_text("What to learn").first.click(trial=True)  # waits until it has slid to its place
        screenshot(page, folder / "form.png")
        page.evaluate("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
        page.goto(f"{airflow.url}/dags/{TRAIN}/runs/{run}")
        expect(page.locator("body")).to_contain_text("publish", use_inner_text=True)
        element(page, ".react-flow__node", "publish").click(trial=True)
        screenshot(page, folder / "graph.png")
