"""Writes the outcome of a run into its note, where the list of runs shows it. Airflow calls this when a run has ended.

The scheduler does so while it holds the run's database session, in which the note is saved with the run's new state.
`dag.test` has let go of the run by then; its thread's session holds it once more.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from plugins.model_board.own_dags import is_own

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

AUTHOR: Final = "run_notes"  # whom Airflow records as the author of a note that only this module wrote
LONGEST: Final = 1000  # characters; Airflow's column takes no more, and an error here would hold up the scheduler
BELOW: Final = "\n\nOutcome: "  # what follows it in a person's note is this module's

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Note the verdict, which the task `report` has left."""
    session = _session(dag_run)
    if session is None:
        return
    for _, verdict in _left(session, dag_run, "note", ["report"])[:1]:
        _write(session, dag_run, verdict)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Note which tasks have failed, and the fault of the first, which `dags/alerts.py` has left."""
    session = _session(dag_run)
    if session is None:
        return
    failed = sorted({ti.task_id for ti in dag_run.get_task_instances(session=session) if ti.state == "failed"})
    faults = _left(session, dag_run, "fault", failed) if failed else []
    why = [f"{task}: {fault}" for task, fault in faults[-1:]]
    log_says = "the end of its log says the next step" if why else "the end of its log says why, and the next step"
    _write(session, dag_run, "; ".join([f"failed: {', '.join(failed) or msg}", *why, log_says]))


def _session(dag_run: DagRun) -> Session | None:
    """Return the session that holds one of our runs, or else the thread's own, which the caller commits."""
    from airflow import settings
    from sqlalchemy.orm import object_session

    session = object_session(dag_run) or settings.Session()  # type: ignore[misc] # set when Airflow starts
    return session if is_own(session, dag_run.dag_id) else None


def _left(session: Session, dag_run: DagRun, key: str, tasks: list[str]) -> list[tuple[str, str]]:
    """Return what tasks of a run have left under a key, each with the task's id, the newest first."""
    from airflow.models.xcom import XComModel

    left = XComModel.get_many(run_id=dag_run.run_id, key=key, dag_ids=dag_run.dag_id, task_ids=tasks)
    rows: Iterable[XComModel] = session.scalars(left)
    return [(row.task_id, str(XComModel.deserialize_value(row))) for row in rows]


def _write(session: Session, ended: DagRun, text: str) -> None:
    """Write a note, below what a person wrote."""
    dag_run = session.get(type(ended), ended.id)  # the run itself where the session holds it
    if dag_run is None:
        return
    note = dag_run.dag_run_note
    if note is None:
        dag_run.note = (_clipped(text, LONGEST), AUTHOR)
    elif note.user_id == AUTHOR:
        note.content = _clipped(text, LONGEST)
    else:
        own = (note.content or "").partition(BELOW)[0]
        room = LONGEST - len(own) - len(BELOW)
        if room > 0:
            note.content = f"{own}{BELOW}{_clipped(text, room)}"
        else:
            log.warning("%s, run %s: its note has no room for: %s", dag_run.dag_id, dag_run.run_id, text)


def _clipped(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


class RunNotes(AirflowPlugin):
    """Registers this module as a listener."""

    name = "run_notes"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - Airflow reads it from the class
