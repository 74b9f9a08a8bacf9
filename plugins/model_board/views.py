"""The board's JSON documents, which the pages and the API share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mtl_tasks.pipeline.past_documents import read_card
from mtl_tasks.pipeline.past_runs import History, PastRun, read_history, read_run
from mtl_tasks.store.artifacts import Store

if TYPE_CHECKING:
    from mtl_tasks.pipeline.comparison import Comparison


@dataclass(frozen=True)
class ScenarioSummary:
    """A scenario with its newest run and today's champion.

    Attributes
    ----------
    runs
        Their number.
    problem
        Why some or all of it cannot be read.
    """

    scenario: str
    title: str
    runs: int = 0
    newest: PastRun | None = None
    champion: PastRun | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "runs": self.runs,
            "newest": None if self.newest is None else self.newest.to_json(),
            "champion": None if self.champion is None else self.champion.to_json(),
            "problem": self.problem,
        }


def find(store: Store, scenario: str, run_key: str) -> PastRun:
    """Return a run of a scenario; see :func:`mtl_tasks.pipeline.past_runs.read_run`."""
    return read_run(store, scenario, run_key)


def summarize(store: Store, scenario: str) -> ScenarioSummary:
    """Return the summary of a scenario."""
    history = read_history(store, scenario)
    return ScenarioSummary(
        scenario,
        title_of(history),
        len(history.runs),
        history.runs[-1] if history.runs else None,
        history.champion,
        history.problems[0] if history.problems else None,
    )


def title_of(history: History) -> str:
    """Return the scenario's title, from the newest run."""
    return str(history.runs[-1].entry.scenario_document["title"]) if history.runs else history.scenario


def show_history(store: Store, scenario: str) -> dict[str, Any]:
    """Return all runs of a scenario, and the facts about today's champion."""
    history = read_history(store, scenario)
    champion = history.champion
    return {**history.to_json(), "card": None if champion is None else asdict(read_card(store, champion))}


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
        "stages": [stage.to_json() for stage in document.stages],
        "artifacts": [asdict(artifact) for artifact in list_artifacts(store, run.entry)],
    }


def comparison(store: Store, scenario: str, first: str, second: str) -> Comparison:
    """Return two runs side by side; see :func:`mtl_tasks.pipeline.comparison.compare_runs`."""
    from mtl_tasks.pipeline.comparison import compare_runs

    return compare_runs(store, find(store, scenario, first), find(store, scenario, second))
