"""What is done to runs while they are at work or wait: processes are killed, and a run is given what it waits for."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Any

import psutil

from mtl_tasks.store.promotion import promote
from mtl_tasks.store.registry import RunRecord
from tests.end_to_end.server.scenarios import DAYS, MARKER, WOKEN, entries, registry, runs_of, store
from tests.support.airflow import Airflow, RefusedError
from tests.support.projects import AS_OF


@dataclass(frozen=True)
class Ahead:
    """Ids of runs of three dates: the second waits for the first one's verdict, the third for no answer of a person."""

    first: str
    second: str
    third: str


def kill_task_and_scheduler(airflow: Airflow) -> list[str]:
    """Kill a task of one of two runs of a date and then, in the middle of the other run, the scheduler."""
    dag = "train_killed"
    run, other = (airflow.trigger(dag, {"as_of": AS_OF}) for _ in range(2))
    kill_task(airflow, dag, run, "validate.validate")
    airflow.until(lambda: state_of(airflow, dag, other, "validate.split") == "success", "the split", 200)
    airflow.kill("scheduler")
    for unfinished in (run, other):
        assert airflow.call(f"dags/{dag}/dagRuns/{unfinished}")["state"] == "running"
    airflow.start("scheduler")
    return [run, other]


def kill_task(airflow: Airflow, dag: str, run: str, task: str) -> None:
    """Kill the process of a task with SIGKILL while it is at work."""

    def find() -> int | None:
        found = airflow.tasks(dag, run)[task]
        return found["pid"] if found["state"] == "running" and psutil.pid_exists(found["pid"]) else None

    process = airflow.until(find, f"{task} to start", 120, pause=0.1)
    with contextlib.suppress(ProcessLookupError):  # then the test sees that there was no second try
        os.kill(process, signal.SIGKILL)


def complete_day(airflow: Airflow) -> str:
    """Write the marker of a day once the run that an asset has started waits for it, and return the run's id."""
    dag = f"train_{WOKEN}"
    [started] = airflow.until(lambda: runs_of(airflow, dag), "the run that the event starts", 120)
    assert started["run_type"] == "asset_triggered"
    run: str = started["dag_run_id"]
    airflow.until(lambda: state_of(airflow, dag, run, "ready") == "deferred", "the wait for the day", 200)
    airflow.until(lambda: process_ended(airflow, dag, run, "ready"), "the end of the task's process", 60)
    assert entries(airflow, WOKEN) == []
    (airflow.project / MARKER).touch()
    return run


def hold_up(airflow: Airflow) -> tuple[str, str]:
    """Start runs of two dates, the first of which never comes to its verdict, and fail it once the second waits."""
    dag = "train_ahead"
    set_slots(airflow, "gpu", 0)  # so that a run which needs it stays where it is
    first = airflow.trigger(dag, {"as_of": DAYS[-3], "device": "gpu"}, date=DAYS[-4])
    asked = {"as_of": DAYS[-2], "approval": "required", "members": ["popularity"]}
    second = airflow.trigger(dag, asked, date=DAYS[-3])
    waiting = "decide.earlier_runs"
    airflow.until(lambda: state_of(airflow, dag, second, waiting) == "deferred", "the wait for the first", 600)
    airflow.call(f"dags/{dag}/dagRuns/{first}", {"state": "failed"}, method="PATCH")
    set_slots(airflow, "gpu", 1)
    return first, second


def go_ahead(airflow: Airflow, first: str, second: str) -> Ahead:
    """Start a run of a third date once a question about the second one waits for its answer."""
    dag, question = "train_ahead", "publish.approve"
    airflow.until(lambda: state_of(airflow, dag, second, question) == "awaiting_input", "the question", 600)
    third = airflow.trigger(dag, {"as_of": DAYS[-1], "members": ["popularity"]}, date=DAYS[-2])
    return Ahead(first, second, third)


def overtake(airflow: Airflow, run: str) -> RunRecord:
    """Promote a run by hand once a question about it waits for its answer."""
    path = f"dags/train_overtaken/dagRuns/{run}/taskInstances/publish.approve/-1/hitlDetails"
    airflow.until(lambda: asked_for(airflow, path), "the question", 600)
    assert airflow.tasks("train_overtaken", run)["publish.approve"]["state"] in ("running", "awaiting_input")
    found = registry(airflow, "overtaken")
    [entry] = found.entries()
    promote(found, store(airflow), entry.run_key, by="ada", reason="urgent", at="2026-01-01")
    return entry


def set_slots(airflow: Airflow, pool: str, slots: int) -> None:
    """Change the size of a pool."""
    airflow.call(f"pools/{pool}", {"pool": pool, "slots": slots, "include_deferred": False}, method="PATCH")


def state_of(airflow: Airflow, dag: str, run: str, task: str) -> str | None:
    """Return the state of a task."""
    state: str | None = airflow.tasks(dag, run)[task]["state"]
    return state


def asked_for(airflow: Airflow, path: str) -> Any:
    """Return the question at a path of the API; None before it is asked."""
    with contextlib.suppress(RefusedError):
        return airflow.call(path)
    return None


def process_ended(airflow: Airflow, dag: str, run: str, task: str) -> bool:
    """Whether the scheduler has seen the process of a task end well."""
    event = "Received executor event with state success for task instance TaskInstanceKey"
    return f"{event}(dag_id='{dag}', task_id='{task}', run_id='{run}'" in airflow.logged("scheduler")
