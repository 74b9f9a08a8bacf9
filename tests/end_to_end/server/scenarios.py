"""The scenarios of the server's project, one for each thing that is tried, so that no test sees another's champions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.airflow import Airflow
from tests.support.board import STRICT, TITLE
from tests.support.projects import AS_OF, NAME, SCENARIO, SHORT, write_log, write_scenario

TRAIN = f"train_{NAME}"
DAYS = [f"2013-05-{day:02d}" for day in range(7, 12)]  # the first has too little history: it fails
SHOWN = "three"  # the scenario that the board is looked at with
WOKEN, WRITTEN_LOG = "woken", "s3://shop/log"  # a scenario and the asset that starts its runs
MARKER = f"log/dt={DAYS[-2]}/_SUCCESS"  # what a run of that scenario waits for
DAILY, DAILY_LOG = "daily", "s3://shop/days"  # the same of an asset with partitions
HOSTILE = "hostile"  # stays paused: what it has to show is made in this process, or waits for ever
GATE: dict[str, Any] = {
    "absolute": [{"task": "rating", "metric": "rmse", "max": 3}],
    "relative": [{"task": "rating", "metric": "rmse", "margin": 0.5}],
    "beat_floor": False,
    "lists": [],
    "replicates": 100,
    "approval_hours": 1,
}
RECOMMEND: dict[str, Any] = {"top_k": 5, "candidates": 10, "active_days": 1}
SMALL: dict[str, Any] = {
    "members": ["popularity", "als"],
    "recommend": RECOMMEND,
    "schedule": "0 0 * * *",
    "end_date": "2013-05-10",  # the log's last day, so that the schedule starts nothing
    "gate": GATE,
}
# What is to be explained needs a boosted member; without it the purchases are predicted too badly for the second rule.
BOOSTED = {
    "title": "Ratings and purchases of films",
    "members": ["popularity", "als", "shared_tail"],
    "gate": {**GATE, "absolute": [*GATE["absolute"], {"task": "purchase", "metric": "auc", "min": 0.58}]},
}
SCENARIOS: dict[str, dict[str, Any]] = {
    NAME: {},
    "one": {"end_date": None},
    SHOWN: BOOSTED,
    "asked": {**SHORT, "gate": {**GATE, "approvers": ["admin"]}},
    "denied": SHORT,
    "ahead": {"members": ["popularity", "independent"], "factors": {**SCENARIO["factors"], "warm_start": "champion"}},
    "late": {**SHORT, "gate": {**GATE, "approval_hours": 0.003}},
    "overtaken": {**SHORT, "gate": {**GATE, "approval_hours": 0.1}},
    "killed": {},
    # Every user takes what is popular, and the factors cannot know that.
    "unpopular": {"recommend": {**RECOMMEND, "ranker": "als"}, "gate": {**GATE, "lists": [{"beat": "popularity"}]}},
    "reversed": SHORT,
    WOKEN: {
        **SHORT,
        "gate": {**GATE, "mode": "dry_run"},
        "schedule": {"asset": WRITTEN_LOG},
        "end_date": None,
        "source": {**SCENARIO["source"], "ready": {"marker": "_SUCCESS"}},
    },
    DAILY: {
        **SHORT,
        "gate": {**GATE, "mode": "dry_run"},
        "schedule": {"asset": DAILY_LOG, "partitioned": True},
        "end_date": None,
    },
    HOSTILE: {"title": TITLE, "gate": {**GATE, "absolute": STRICT}},
}
# Lists are made where a test looks at them, or for their absence. The board looks at those of its last champion only.
LISTS = f"recommend_{SHOWN}"
DAGS = [
    *(f"train_{name}" for name in SCENARIOS if name != HOSTILE),
    *(f"recommend_{name}" for name in (NAME, "unpopular")),
]

BACKFILLS = {SHOWN: "3", "one": "1"}  # the most runs at a time
REQUIRED = {"approval": "required"}
EARLY: dict[str, dict[str, str]] = {
    NAME: {},
    "unpopular": {},
    **dict.fromkeys(("asked", "denied", "late", "overtaken"), REQUIRED),
}


def write_project(project: Path) -> None:
    """Write the log and every scenario."""
    write_log(project)
    for name, sections in SCENARIOS.items():
        write_scenario(project, name, **{**SMALL, **sections})


def store(airflow: Airflow) -> Store:
    """Return the store that the server's tasks write to."""
    return Store(str(airflow.project / ".store"))


def registry(airflow: Airflow, name: str) -> Registry:
    """Return the registry of a scenario."""
    return Registry(store(airflow), name)


def entries(airflow: Airflow, name: str = NAME, store: str = ".store") -> list[RunRecord]:
    """Return the registry's entries of a scenario, in the server's store or in one beside it."""
    return Registry(Store(str(airflow.project / store)), name).entries()


def run_here(name: str, as_of: str, store: str, **overrides: Any) -> None:
    """Run the scenario in this process, which must be in the project's folder."""
    run_pipeline(make_run(name, AsOf.parse(as_of), overrides, store), lambda stage, result: None)


def runs_of(airflow: Airflow, dag: str) -> list[dict[str, Any]]:
    """Return the runs of a DAG by date."""
    found: list[dict[str, Any]] = airflow.call(f"dags/{dag}/dagRuns?order_by=logical_date")["dag_runs"]
    return found


def start_early_runs(airflow: Airflow) -> dict[str, str]:
    """Start the backfills and the runs that tests only follow, and return the ids of the runs by scenario.

    All start at once: one run after the other would leave a processor idle.
    """
    for name, active in BACKFILLS.items():
        start_backfill(airflow, name, active)
    start_reversed_backfill(airflow)
    airflow.update(WRITTEN_LOG, extra={"as_of": AS_OF})
    airflow.update(DAILY_LOG, partition_key=DAYS[-2])
    return {name: airflow.trigger(f"train_{name}", {"as_of": AS_OF, **conf}) for name, conf in EARLY.items()}


def start_backfill(airflow: Airflow, name: str, active: str) -> None:
    """Backfill the days: the board's scenario as the UI does it, the other one on the command line."""
    dag = f"train_{name}"
    if name == SHOWN:
        asked = {"dag_id": dag, "from_date": "2013-05-06T00:00:00Z", "to_date": "2013-05-10T00:00:00Z"}
        more = {"max_active_runs": int(active), "reprocess_behavior": "none", "run_backwards": False}
        airflow.call("backfills", {**asked, **more, "dag_run_conf": {}})
    else:
        airflow.command(
            "backfill", "create", "--dag-id", dag, "--from-date", "2013-05-06", "--to-date", "2013-05-10",
            "--max-active-runs", active, "--reprocess-behavior", "none",
        )  # fmt: skip


def start_reversed_backfill(airflow: Airflow) -> None:
    """Backfill two days, the later one first."""
    dates = {"from_date": "2013-05-08T00:00:00Z", "to_date": "2013-05-09T00:00:00Z", "run_backwards": True}
    asked = {"dag_id": "train_reversed", "max_active_runs": 1, "reprocess_behavior": "none"}
    airflow.call("backfills", {**asked, **dates})


def backfilled(airflow: Airflow, name: str, days: int = len(DAYS)) -> list[str]:
    """Wait for the end of a backfill, and return the states of its runs by date."""
    dag = f"train_{name}"

    def states() -> list[str]:
        """Of the backfill's runs; without ``end_date`` the schedule has a run of yesterday, too, which fails."""
        return [run["state"] for run in runs_of(airflow, dag) if run["run_type"] == "backfill"]

    airflow.until(lambda: sum(state in ("success", "failed") for state in states()) == days, dag, 900)
    return states()
