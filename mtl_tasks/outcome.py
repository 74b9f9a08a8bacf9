"""What becomes of a run that a scheduler made: the question for approval, the announcement, the lists, the note.

The argument ``key`` is what the store's documents are sealed with.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_tasks.errors import ConfigError
from mtl_tasks.gate import verdict_line
from mtl_tasks.handover import result_to_json, results_of, run_from_json, run_to_json
from mtl_tasks.history import earlier_results, rebuild_run
from mtl_tasks.promotion import settle
from mtl_tasks.registry import Entry, Registry, Ruling, standing_of
from mtl_tasks.run import Run
from mtl_tasks.scenario import load_scenario
from mtl_tasks.sealing import StoreKey
from mtl_tasks.stages import run_key
from mtl_tasks.store import Store

Json = dict[str, Any]
log = logging.getLogger(__name__)


def tell_verdict(asked: Mapping[str, Any], handed: Sequence[Any], key: StoreKey | None = None) -> str:
    """Return the verdict of the stage ``gate`` as a Markdown table, for somebody who is to approve it."""
    run = run_from_json(asked, key)
    verdict = run.store.open(results_of(run, handed)["gate"].ref).json("verdict")
    head = f"{verdict_line(verdict)}\n\n| | rule | value | limit | interval | rows |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_table_row(rule) for rule in verdict["rules"]), "", *verdict["reasons"]])


def awaits_approval(asked: Mapping[str, Any], handed: Sequence[Any], key: StoreKey | None = None) -> bool:
    """Whether the stage ``publish`` left a run that somebody has yet to approve, or to refuse."""
    run = run_from_json(asked, key)
    entry, rulings = _entry(run, handed)
    return standing_of(entry, rulings) == "awaits approval"


def record_answer(
    asked: Mapping[str, Any],
    handed: Sequence[Any],
    *,
    approved: bool,
    by: str | None,
    at: str,
    key: StoreKey | None = None,
) -> str:
    """Record who answered the question for approval, nobody (None) being a no, and return it in words."""
    run = run_from_json(asked, key)
    entry, rulings = _entry(run, handed)
    reason = "answered in Airflow" if by is not None else "no answer in time"
    registry = Registry(run.store, run.scenario.name)
    answer = settle(registry, entry.run_key, approved=approved, by=by or "nobody", reason=reason, at=at)
    return answer.sentence(entry, [*rulings, answer])


def announcement(asked: Mapping[str, Any], handed: Sequence[Any], key: StoreKey | None = None) -> Json | None:
    """Return what the world is told if the run is today's champion: its key, verdict, metrics and references.

    None if it is not: it was rejected or not approved, or a newer run is promoted, as in a backfill.
    """
    run = run_from_json(asked, key)
    entry, rulings = _entry(run, handed)
    if Registry(run.store, run.scenario.name).champion() != entry:
        return None
    evaluation = run.store.open(entry.refs["evaluate"]).json("evaluation")
    metrics = {
        task: {metric: measured["value"] for metric, measured in part["fusion"].items()}
        for task, part in evaluation["tasks"].items()
    }
    return {
        "run_key": entry.run_key,
        "as_of": entry.as_of,
        "verdict": run.store.open(entry.refs["gate"]).summary["verdict"],
        "standing": standing_of(entry, rulings),
        "metrics": metrics,
        "refs": {stage: ref.to_json() for stage, ref in entry.refs.items()},
    }


def ask_lists(scenario_name: str, run_key: Any, store: str, key: StoreKey | None = None) -> Json | None:
    """Return what making the lists of a promoted run starts from, by default of today's champion.

    Parameters
    ----------
    run_key
        The key of a run, or enough of its beginning; None for the champion. Checked, as a scheduler takes any value.

    Returns
    -------
    dict or None
        ``asked`` as :func:`ask_run` returns it, and ``results``, those of the run's stages; None if the run has been
        retired since.

    Raises
    ------
    ConfigError
        If no run is promoted, or ``run_key`` is no text.
    ArtifactError
        If there is no such run, or an artefact of it is gone.
    """
    if not isinstance(run_key, str | None):
        raise ConfigError(f"run configuration: run: must be the key of a run, or null (got {reprlib.repr(run_key)})")
    opened = Store(store, key)
    registry = Registry(opened, load_scenario(scenario_name).name)
    entry = registry.champion() if run_key is None else registry.get(run_key)
    if entry is None:
        raise ConfigError(f"{scenario_name}: no run is promoted yet: run train_{scenario_name} first")
    if entry not in registry.standing():
        log.warning("run %s as of %s is not promoted (any more)", entry.run_key[:12], entry.as_of)
        return None
    results = [result_to_json(result) for result in earlier_results(entry, opened).values()]
    return {"asked": run_to_json(rebuild_run(opened, entry)), "results": results}


def run_note(asked: Mapping[str, Any], handed: Sequence[Any], key: StoreKey | None = None) -> str:
    """Return what became of a run in one line."""
    run = run_from_json(asked, key)
    entry, rulings = _entry(run, handed)
    verdict = run.store.open(entry.refs["gate"]).summary["verdict"]
    ruled = f" ({rulings[-1].sentence(entry, rulings)})" if rulings else ""
    return f"{run.as_of_name}: {standing_of(entry, rulings)}{ruled}; {verdict}"


def _entry(run: Run, handed: Sequence[Any]) -> tuple[Entry, list[Ruling]]:
    registry = Registry(run.store, run.scenario.name)
    key = run_key(run, results_of(run, handed)["gate"].ref)
    return registry.get(key), registry.rulings(key)


def _table_row(rule: Mapping[str, Any]) -> str:
    value = "–" if rule["value"] is None else f"{rule['value']:.4f}"
    interval = "–" if rule["low"] is None else f"{rule['low']:.4f} to {rule['high']:.4f}"
    mark = "✓" if rule["passed"] else "✗"
    return f"| {mark} | {rule['rule']} | {value} | {rule['limit']:g} | {interval} | {rule['rows']:,} |"
