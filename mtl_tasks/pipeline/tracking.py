"""Finished runs and the champion, written to the servers that the section `tracking` of a scenario names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtl_tasks.core.errors import MtlError
from mtl_tasks.pipeline.engine import code_version
from mtl_tasks.pipeline.origin import find_commit, read_origin
from mtl_tasks.pipeline.past_documents import find_page, made_at
from mtl_tasks.pipeline.stages import find_record
from mtl_tasks.store.documents import read_document, read_part
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.training import MemberDescription
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.registry import QUARANTINED, Registry, RunRecord, Snapshot

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from mtl_tasks.integrations.mlflow_runs import TrackedRun
    from mtl_tasks.pipeline.engine import Run
    from mtl_tasks.scenario import MlflowTarget, Scenario
    from mtl_tasks.store.artifacts import Artifact, Ref, Store

PAGE_FILE: Final = "report.html"
log = logging.getLogger(__name__)


def track_run(run: Run, gate: Ref, targets: Scenario, *, backfill: bool | None = None) -> str | None:
    """Write a run with a verdict to the servers, and point the alias of the registered model to today's champion.

    Parameters
    ----------
    gate
        The run's verdict.
    targets
        The scenario as it is now: that of an earlier run may name other servers.
    backfill
        Whether it is a run of a backfill; None leaves what is recorded.

    Returns
    -------
    str or None
        A fault with its remedy, which is logged as a warning; None without one.
    """
    if targets.tracking is None or targets.tracking.mlflow is None:
        return None
    target = targets.tracking.mlflow

    def write() -> None:
        snapshot = Registry(run.store, run.scenario.name).read()
        _write(run.store, targets, target, snapshot, [find_record(run, gate, snapshot)], backfill)

    return _attempt(write, "clear the task `track`, or run it again")


def track_decisions(store: Store, targets: Scenario, run_keys: Sequence[str]) -> str | None:
    """Update the status of some runs on the servers, and point the alias to today's champion.

    Returns
    -------
    str or None
        As :func:`track_run`.
    """
    if targets.tracking is None or targets.tracking.mlflow is None:
        return None
    target = targets.tracking.mlflow

    def write() -> None:
        snapshot = Registry(store, targets.name).read()
        _write(store, targets, target, snapshot, [snapshot.get(key) for key in run_keys], None)

    return _attempt(write, f"trigger recommend_{targets.name}")


def _attempt(write: Callable[[], None], again: str) -> str | None:
    try:
        write()
    except MtlError as error:
        fault = f"{error}; the run is not affected. To track it, {again}"
    except Exception as error:  # whatever a client raises must not fail the run
        log.debug("tracking failed", exc_info=True)
        fault = f"tracking: the run is not tracked ({type(error).__name__}) and not affected. To track it, {again}"
    else:
        return None
    log.warning("%s", fault)
    return fault


def _write(
    store: Store,
    scenario: Scenario,
    target: MlflowTarget,
    snapshot: Snapshot,
    entries: Sequence[RunRecord],
    backfill: bool | None,
) -> None:
    from mtl_tasks.integrations.mlflow_runs import mark_run, write_run
    from mtl_tasks.integrations.mlflow_session import connected

    experiment = target.experiment or scenario.name
    with connected(target, scenario.file) as client:
        ids = {
            entry.run_key: write_run(client, experiment, _tracked(store, entry, snapshot, backfill))
            for entry in entries
        }
        for record in snapshot.quarantined:
            if record.run is not None and snapshot.lacks_verdict(record):
                mark_run(client, experiment, record.run[1], QUARANTINED)
        champion = snapshot.champion()
        if champion is not None and champion.run_key not in ids:  # it may be of a time before the section was set
            ids[champion.run_key] = write_run(client, experiment, _tracked(store, champion, snapshot))
        _point(client, target.model or scenario.name, store, champion, ids)


def _point(client: MlflowClient, name: str, store: Store, champion: RunRecord | None, ids: dict[str, str]) -> None:
    from mtl_tasks.integrations.mlflow_models import StoredRun, move_alias, remove_alias

    if champion is None:
        remove_alias(client, name)
        return
    address = str(store.root)
    where = address if "://" in address else str(Path(address).resolve())
    stored = StoredRun(champion.scenario_name, champion.run_key, champion.as_of, where)
    move_alias(client, name, stored, ids[champion.run_key])


def _tracked(store: Store, entry: RunRecord, snapshot: Snapshot, backfill: bool | None = None) -> TrackedRun:
    from mtl_tasks.integrations.mlflow_runs import TrackedRun

    gate, page = store.open(entry.refs["gate"]), find_page(store, entry)
    members = {
        stage.removeprefix("member:"): read_part(store.open(ref), "describe", MemberDescription)
        for stage, ref in entry.refs.items()
        if stage.startswith("member:")
    }
    return TrackedRun(
        entry=entry,
        status=snapshot.standing_of(entry),
        evaluation=read_document(store.open(entry.refs["evaluate"]), "evaluation", Evaluation),
        verdict=read_document(gate, "verdict", Verdict),
        members=members,
        at=made_at(gate),
        page=None if page is None else page.read(PAGE_FILE).decode(),
        backfill=backfill,
        commit=_commit_of(entry, gate),
    )


def _commit_of(entry: RunRecord, gate: Artifact) -> str | None:
    """Return the commit that a run noted; for a run of an earlier release, the commit now if its code is the same."""
    origin = read_origin(gate)
    if origin is not None:
        return origin.commit
    commit = find_commit() if entry.code == code_version() else None
    return None if commit is None else commit.name
