"""The board's JSON documents, which the pages and the API share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.past_documents import read_card
from mtl_tasks.pipeline.past_runs import History, PastRun, read_history, read_run
from mtl_tasks.report.labels import in_order
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.record_times import record_times
from mtl_tasks.store.run_costs import RunCost, read_cost
from plugins.model_board.dag_runs import DagStatus
from plugins.model_board.run_table import Choice, Column, choose_rows
from plugins.model_board.timeline import spark

if TYPE_CHECKING:
    from mtl_tasks.pipeline.comparison import Comparison

COSTED_RUNS: Final = 20  # each takes a read of the store for each stage
EVERYTHING: Final = Choice(ascending=True, show=sys.maxsize)  # runs, oldest as_of first


@dataclass(frozen=True)
class ScenarioSummary:
    """A scenario with its newest run and today's champion.

    Attributes
    ----------
    runs
        Their number.
    age
        Days from the champion's as_of to today.
    primary
        The primary metric of the first task.
    trend
        Drawing of the primary metric of the newest runs, and its words; see :func:`plugins.model_board.timeline.spark`.
    status
        Airflow's view of the training DAG.
    problem
        Why some or all of it cannot be read.
    """

    scenario: str
    title: str
    runs: int = 0
    newest: PastRun | None = None
    champion: PastRun | None = None
    age: int | None = None
    primary: Column | None = None
    trend: tuple[str, str] | None = None
    status: DagStatus = DagStatus()  # noqa: RUF009 - immutable
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "runs": self.runs,
            "newest": None if self.newest is None else self.newest.to_json(),
            "champion": None if self.champion is None else self.champion.to_json(),
            "champion_age_days": self.age,
            "primary_metric": None if self.primary is None else self.primary.name,
            "trend": None if self.trend is None else self.trend[1],
            "newest_dag_run": self.status.newest,
            "next_run": None if self.status.next_run is None else self.status.next_run.isoformat(),
            "paused": self.status.paused,
            "problem": self.problem,
        }


def find(store: Store, scenario: str, run_key: str) -> PastRun:
    """Return a run of a scenario; see :func:`mtl_tasks.pipeline.past_runs.read_run`."""
    return read_run(store, scenario, run_key)


def summarize(store: Store, scenario: str, status: DagStatus, today: date) -> ScenarioSummary:
    """Return the summary of a scenario."""
    history = read_history(store, scenario)
    newest, champion = history.runs[-1] if history.runs else None, history.champion
    primary = None if newest is None else _primary_metric(newest)
    return ScenarioSummary(
        scenario,
        title_of(history),
        len(history.runs),
        newest,
        champion,
        None if champion is None else (today - date.fromisoformat(champion.entry.as_of)).days,
        primary,
        None if primary is None else spark(history, primary),
        status,
        history.problems[0] if history.problems else None,
    )


def _primary_metric(run: PastRun) -> Column | None:
    return next((Column(task, in_order(values)[0]) for task, values in run.metrics.items() if values), None)


def title_of(history: History) -> str:
    """Return the scenario's title, from the newest run."""
    return str(history.runs[-1].entry.scenario_document["title"]) if history.runs else history.scenario


def show_history(store: Store, scenario: str, links: Mapping[str, str]) -> dict[str, Any]:
    """Return all runs of a scenario, with the time and the DAG run of each, and the facts about today's champion."""
    history = read_history(store, scenario)
    champion, table = history.champion, choose_rows(history, EVERYTHING, record_times(store, scenario), links)
    rows = [
        {
            **row.run.to_json(),
            "recorded": None if row.recorded is None else row.recorded.isoformat(timespec="seconds"),
            "dag_run": row.link,
        }
        for row in table.rows
    ]
    return {
        **history.to_json(),
        "runs": rows,
        "card": None if champion is None else asdict(read_card(store, champion)),
    }


@dataclass(frozen=True)
class CostRow:
    """A run with what it has cost, or the reason why that cannot be read."""

    run: PastRun
    cost: RunCost | None
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "run_key": self.run.entry.run_key,
            "as_of": self.run.entry.as_of,
            "standing": self.run.standing,
            "cost": None if self.cost is None else self.cost.to_json(),
            "problem": self.problem,
        }


def cost_rows(store: Store, history: History) -> list[CostRow]:
    """Return what each of the newest ``COSTED_RUNS`` runs has cost, the newest first."""
    return [_cost_row(store, run) for run in history.runs[: -COSTED_RUNS - 1 : -1]]


def _cost_row(store: Store, run: PastRun) -> CostRow:
    try:
        return CostRow(run, read_cost(store, run.entry), None)
    except ArtifactError as error:
        return CostRow(run, None, str(error))


def evidence(store: Store, run: PastRun) -> dict[str, Any]:
    """Return all evidence of a run, with the state of its artifacts."""
    from mtl_tasks.pipeline.artifact_states import list_artifacts
    from mtl_tasks.pipeline.past_documents import past_document

    document = past_document(store, run)
    return {
        **run.to_json(),
        "verdict": document.verdict.to_json(),
        "drift": None if document.drift is None else document.drift.to_json(),
        "fusion": {task: fusion.to_json() for task, fusion in document.fusion.items()},
        "evaluation": document.evaluation.to_json(),
        "validation": document.validation.to_json(),
        "windows": dict(document.windows),
        **document.made_json(),
        "stages": [stage.to_json() for stage in document.stages],
        "artifacts": [asdict(artifact) for artifact in list_artifacts(store, run.entry)],
    }


def comparison(store: Store, scenario: str, run_keys: Sequence[str]) -> Comparison:
    """Return runs side by side; see :func:`mtl_tasks.pipeline.comparison.compare_runs`."""
    from mtl_tasks.pipeline.comparison import compare_runs

    return compare_runs(store, [find(store, scenario, run_key) for run_key in run_keys])
