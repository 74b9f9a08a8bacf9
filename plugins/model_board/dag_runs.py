"""Mapping from a DAG run to the registry's run, through the result of the task `publish`."""

from __future__ import annotations

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from mtl_tasks.store.artifacts import Ref, Store

PUBLISH = "publish.publish"


def run_state(session: Session, dag_id: str, run_id: str) -> str | None:
    """Return the state of a DAG run; None if there is none."""
    return session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def published_key(session: Session, store: Store, dag_id: str, run_id: str) -> str | None:
    """Return the key of the run that a DAG run has recorded in the registry; None before it has.

    Raises
    ------
    ArtifactError
        If the artifact of its stage `publish` is missing.
    """
    left = XComModel.get_many(run_id=run_id, key="return_value", dag_ids=dag_id, task_ids=PUBLISH, limit=1)
    row = session.scalar(left)
    if row is None:
        return None
    result = XComModel.deserialize_value(row)
    key: str = store.open(Ref.from_json(result["ref"])).summary["run_key"]
    return key
