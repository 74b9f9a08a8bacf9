"""The board's JSON documents, which the pages and the API share."""

from __future__ import annotations

from typing import Any

from mtl_tasks.pipeline.past_runs import History, PastRun, read_card, read_history, read_run
from mtl_tasks.store.artifacts import Store

Json = dict[str, Any]


def find(store: Store, scenario: str, run_key: str) -> PastRun:
    """Return a run of a scenario; see :func:`mtl_tasks.pipeline.past_runs.read_run`."""
    return read_run(store, scenario, run_key)


def summarize(store: Store, scenario: str) -> Json:
    """Return the summary of a scenario: its title, the number of runs, the newest one and today's champion."""
    history = read_history(store, scenario)
    newest = history.runs[-1] if history.runs else None
    champion = history.champion
    return {
        "scenario": scenario,
        "title": title_of(history),
        "runs": len(history.runs),
        "newest": None if newest is None else newest.to_json(),
        "champion": None if champion is None else champion.to_json(),
        "problem": history.problems[0] if history.problems else None,
    }


def title_of(history: History) -> str:
    """Return the scenario's title, from the newest run."""
    return str(history.runs[-1].entry.scenario_document["title"]) if history.runs else history.scenario


def show_history(store: Store, scenario: str) -> Json:
    """Return all runs of a scenario, and the facts about today's champion."""
    history = read_history(store, scenario)
    champion = history.champion
    return {**history.to_json(), "card": None if champion is None else read_card(store, champion)}


def evidence(store: Store, run: PastRun) -> Json:
    """Return all evidence of a run, with the state of its artifacts."""
    from mtl_tasks.pipeline.past_runs import list_artifacts, past_document

    document = past_document(store, run)
    return {
        **run.to_json(),
        "verdict": document.verdict,
        "drift": document.drift,
        "fusion": document.fusion,
        "evaluation": document.evaluation,
        "validation": document.validation,
        "windows": document.resolve["windows"],
        "stages": document.stages,
        "artifacts": list_artifacts(store, run.entry),
    }


def comparison(store: Store, scenario: str, first: str, second: str) -> Json:
    """Return two runs side by side; see :func:`mtl_tasks.pipeline.comparison.compare_runs`."""
    from mtl_tasks.pipeline.comparison import compare_rows, compare_runs

    runs = find(store, scenario, first), find(store, scenario, second)
    compared = compare_runs(*runs) | {"drift": compare_rows(store, *runs)}
    return {"first": runs[0].to_json(), "second": runs[1].to_json(), **compared}
