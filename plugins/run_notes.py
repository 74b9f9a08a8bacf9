"""Writes what became of a run into its note, where the list of runs shows it. Airflow calls this when a run has ended.

The scheduler does so while it holds the run's database session, in which the note is saved with the run's new state.
`dag.test` has let go of the run by then; its thread's session holds it once more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

OURS = ("train_", "recommend_")


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Note the verdict, which the task `report` has left."""
    if not dag_run.dag_id.startswith(OURS):
        return
    from airflow.models.xcom import XComModel

    session = _session(dag_run)
    left = XComModel.get_many(run_id=dag_run.run_id, key="note", dag_ids=dag_run.dag_id, task_ids="report", limit=1)
    row = session.scalar(left)
    if row is not None:
        _note(session, dag_run, str(XComModel.deserialize_value(row)))


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Note what has failed."""
    if not dag_run.dag_id.startswith(OURS):
        return
    session = _session(dag_run)
    failed = sorted({ti.task_id for ti in dag_run.get_task_instances(session=session) if ti.state == "failed"})
    _note(session, dag_run, f"failed: {', '.join(failed)}; the end of its log says why, and the next step")


def _session(dag_run: DagRun) -> Session:
    """Return the session that holds the run, or else the thread's own, which the caller commits."""
    from airflow import settings
    from sqlalchemy.orm import object_session

    return object_session(dag_run) or settings.Session()


def _note(session: Session, dag_run: DagRun, note: str) -> None:
    held = session.get(type(dag_run), dag_run.id)  # the run itself where the session holds it
    if held is not None:
        held.note = note


class RunNotes(AirflowPlugin):
    """Registers this module as a listener."""

    name = "run_notes"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - Airflow reads it from the class
