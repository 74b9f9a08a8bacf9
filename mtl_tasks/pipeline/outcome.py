"""After the verdict: approval, champion event, recommendations and their delivery, run note.

The argument ``key`` is the key that seals the store's documents.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError, GateError
from mtl_tasks.integrations.targets import Delivery
from mtl_tasks.pipeline.delivery import deliver_recommendations
from mtl_tasks.pipeline.documents import ChampionEvent, RecommendSpec, RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.pipeline.past_documents import earlier_results, rebuild_run
from mtl_tasks.pipeline.stages import build_stages, find_record
from mtl_tasks.pipeline.tracking import track_run
from mtl_tasks.scenario import Gate, load_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.champions import Choice, choose_champion, lists_fault
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.reading import read_document
from mtl_tasks.store.promotion import record_approval, why_undecided
from mtl_tasks.store.registry import AWAITING, PROMOTE, Registry, RunRecord, Snapshot
from mtl_tasks.store.sealing import StoreKey

_SHOWN: Final = ("resolve", "split", "evaluate")  # on the page with the recommendations, beside their inputs
log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """Result of an approval answer: a sentence, and whether the run is promoted now."""

    message: str
    promoted: bool


def awaits_approval(run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> bool:
    """Whether the run still awaits approval after the stage ``publish``."""
    entry, snapshot = _entry(run_spec.open(key), upstream)
    if snapshot.obstacle(entry) is not None:
        raise ArtifactError(f"whether to ask for approval is unknown: {why_undecided(entry, snapshot)}")
    return snapshot.standing_of(entry) == AWAITING


def approvers(run_spec: RunSpec) -> list[str]:
    """Return the ids of the users who may approve or refuse the run; empty if anybody may."""
    return list(run_spec.open().scenario.gate.approvers)


def record_answer(
    run_spec: RunSpec,
    upstream: UpstreamResults,
    *,
    approved: bool,
    by: str | None,
    at: str,
    key: StoreKey | None = None,
    user_id: str | None = None,
) -> Answer:
    """Record the approval answer and who gave it (None: nobody did in time), unless the run was decided before.

    Parameters
    ----------
    by, user_id
        The user's name, and the id that ``gate.approvers`` lists; by default the name.

    Raises
    ------
    GateError
        If the user is not an approver.
    """
    run = run_spec.open(key)
    if by is not None:
        _require_approver(run.scenario.gate, user_id or by)
    judged = _entry(run, upstream)[0].run_key
    reason = "answered in Airflow" if by is not None else "no answer in time"
    registry = Registry(run.store, run.scenario.name)
    answer, snapshot = record_approval(registry, judged, approved=approved, by=by or "nobody", reason=reason, at=at)
    entry, rulings = snapshot.get(judged), snapshot.rulings(judged)
    promoted = entry in snapshot.standing
    if answer in rulings:
        return Answer(answer.sentence(entry, rulings), promoted)
    decided = rulings[-1].sentence(entry, rulings) if rulings else snapshot.standing_of(entry)
    ignored = "the answer approve" if answer.action == PROMOTE else "the answer reject"
    about = f"run {entry.run_key[:12]} as of {entry.as_of}"
    message = f"{ignored} by {answer.by} at {at} ({reason}) is ignored: {about} was decided before it, {decided}"
    log.warning("%s", message)
    return Answer(message, promoted)


def _require_approver(gate: Gate, user: str) -> None:
    if gate.approvers and user not in gate.approvers:
        raise GateError(
            f"the answer of user {user!r} is not recorded: gate.approvers names {', '.join(gate.approvers)}; clear "
            "this task to ask again"
        )


def champion_event(run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> ChampionEvent | None:
    """Return the event of a run that is today's champion: its key, verdict, metrics and references.

    None if it is not the champion: it was rejected or not approved, or a newer run is promoted, as in a backfill.
    """
    run = run_spec.open(key)
    entry, snapshot = _entry(run, upstream)
    if entry not in snapshot.standing or snapshot.champion() != entry:
        return None
    evaluation = read_document(run.store.open(entry.refs["evaluate"]), "evaluation", Evaluation)
    metrics = {
        task: {name: measured.value for name, measured in measurements.items()}
        for task, measurements in evaluation.metrics.items()
    }
    return ChampionEvent(
        run_key=entry.run_key,
        as_of=AsOf.parse(entry.as_of),
        verdict=run.store.open(entry.refs["gate"]).summary["verdict"],
        standing=snapshot.standing_of(entry),
        metrics=metrics,
        refs=entry.refs,
    )


def prepare_recommend(
    scenario_name: str, run_key: Any, store: str, key: StoreKey | None = None
) -> RecommendSpec | None:
    """Return the starting point of the stage `recommend` for a promoted run, by default today's champion.

    If an artifact of today's champion is damaged, the newest earlier champion that can make recommendations is used.

    Parameters
    ----------
    run_key
        The key of a run, or a unique prefix; None for the champion. It is checked, as a scheduler accepts any value.

    Returns
    -------
    RecommendSpec or None
        None if the run is no longer promoted.

    Raises
    ------
    ConfigError
        If no run is promoted, or ``run_key`` is not text.
    ArtifactError
        If there is no such run, or an artifact that its recommendations are made from is missing or damaged.
    """
    if not isinstance(run_key, str | None):
        raise ConfigError(f"run configuration: run: must be the key of a run, or null (got {reprlib.repr(run_key)})")
    opened = Store(store, key)
    snapshot = Registry(opened, load_scenario(scenario_name).name).read()
    if run_key is None:
        choice = choose_champion(snapshot, None, lambda entry: lists_fault(entry, opened))
    else:
        choice = Choice(snapshot.get(run_key))
    entry = choice.entry
    if entry is None:
        raise ConfigError(f"{scenario_name}: no run is promoted yet: run train_{scenario_name} first")
    if entry not in snapshot.standing:
        standing = snapshot.standing_of(entry)
        log.warning("run %s as of %s is not promoted (any more): %s", entry.run_key[:12], entry.as_of, standing)
        return None
    fault = lists_fault(entry, opened)
    if fault is not None:
        raise ArtifactError(f"run {entry.run_key[:12]} as of {entry.as_of} cannot make recommendations: {fault}")
    run = rebuild_run(opened, entry)
    results = earlier_results(entry, opened, build_stages(run.scenario)["recommend"].needs, _SHOWN)
    warnings = tuple(f"warning: {sentence}" for sentence in choice.passed_over)
    run_spec = RunSpec.of(run).model_copy(update={"warnings": warnings})
    return RecommendSpec(run_spec=run_spec, results=tuple(results.values()))


def deliver_lists(
    run_spec: RunSpec, upstream: UpstreamResults, environment: Mapping[str, str], key: StoreKey | None = None
) -> list[Delivery]:
    """Write the recommendations to the targets that the scenario file names now; nothing for an earlier champion."""
    run = run_spec.open(key)
    return deliver_recommendations(run, upstream, load_scenario(run.scenario.name), environment)


def track(
    run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None, *, backfill: bool | None = None
) -> str | None:
    """Write the run to the servers that the scenario file names now; see :mod:`mtl_tasks.pipeline.tracking`."""
    run = run_spec.open(key)
    return track_run(run, upstream["gate"].ref, load_scenario(run.scenario.name), backfill=backfill)


def run_note(run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> str:
    """Return the outcome of a run in one line, with the number of its lists if they were made."""
    run = run_spec.open(key)
    entry, snapshot = _entry(run, upstream)
    verdict = run.store.open(entry.refs["gate"]).summary["verdict"]
    rulings = snapshot.rulings(entry.run_key)
    ruled = f" ({rulings[-1].sentence(entry, rulings)})" if rulings else ""
    line = f"{run.as_of}: {snapshot.standing_of(entry)}{ruled}; {verdict}"
    return "; ".join([line, *_lists_made(run, upstream), *run_spec.warnings])


def _lists_made(run: Run, upstream: UpstreamResults) -> list[str]:
    made = upstream.get("recommend")
    if made is None:
        return []
    users = run.store.open(made.ref).summary["users"]
    return [f"{users:,} lists with {made.ref.rows:,} recommendations"]


def _entry(run: Run, upstream: UpstreamResults) -> tuple[RunRecord, Snapshot]:
    snapshot = Registry(run.store, run.scenario.name).read()
    return find_record(run, upstream["gate"].ref, snapshot), snapshot
