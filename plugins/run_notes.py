"""A listener that writes the outcome of a run into its note, which the list of runs shows. Airflow calls it at the end.

The scheduler does so while it holds the run's database session, which saves the note with the run's new state.
`dag.test` has released the run by then, so the session of its thread loads it again.
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

AUTHOR: Final = "run_notes"  # the author that Airflow records for a note written by this module alone
LONGEST: Final = 1000  # characters; Airflow's column holds no more, and an error here would hold up the scheduler
BELOW: Final = "\n\nOutcome: "  # in a user's note, this module owns what follows it

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Note the outcome, which the task `report`, or `conclude` of a study, has pushed."""
    session = _session(dag_run)
    if session is None:
        return
    for _, outcome in _left(session, dag_run, "note", ["report", "conclude"])[:1]:
        _write(session, dag_run, outcome)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Note the failed tasks, and the first fault with its next step, which `dags/alerts.py` has pushed."""
    from dags.alerts import UNSAID  # it imports the package, which every process of Airflow would pay for

    session = _session(dag_run)
    if session is None:
        return
    failed = sorted({ti.task_id for ti in dag_run.get_task_instances(session=session) if ti.state == "failed"})
    faults = _left(session, dag_run, "fault", failed) if failed else []
    why = [f"{task}: {fault}" for task, fault in faults[-1:]] or ([UNSAID] if failed else [])
    _write(session, dag_run, "; ".join([f"failed: {', '.join(failed) or msg}", *why]))


def _session(dag_run: DagRun) -> Session | None:
    """Return the session that holds the run, else the thread's own, which the caller commits; None if not our DAG."""
    from airflow import settings
    from sqlalchemy.orm import object_session

    session = object_session(dag_run) or settings.Session()  # type: ignore[misc] # set when Airflow starts
    return session if is_own(session, dag_run.dag_id) else None


def _left(session: Session, dag_run: DagRun, key: str, tasks: list[str]) -> list[tuple[str, str]]:
    """Return the values that tasks of a run have pushed under a key, each with the task's id, newest first."""
    from airflow.models.xcom import XComModel

    left = XComModel.get_many(run_id=dag_run.run_id, key=key, dag_ids=dag_run.dag_id, task_ids=tasks)
    rows: Iterable[XComModel] = session.scalars(left)
    return [(row.task_id, str(XComModel.deserialize_value(row))) for row in rows]


def _write(session: Session, ended: DagRun, text: str) -> None:
    """Write the note, below any text that a user wrote."""
    dag_run = session.get(type(ended), ended.id)  # the run itself if the session holds it
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
