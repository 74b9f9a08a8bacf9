"""Airflow's side of the registry's runs: which DAG run made which, and when the next one starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.store.artifacts import Store

PUBLISH = "publish.publish"
GATE = "decide.gate"
MOST_LINKS: Final = 1000  # DAG runs that are looked through for the runs of a page, newest first


@dataclass(frozen=True)
class DagStatus:
    """Airflow's view of a scenario's training DAG.

    Attributes
    ----------
    next_run
        When the next run starts; None if none is scheduled.
    paused
        None if Airflow does not know the DAG.
    newest
        State of the DAG run that was created last.
    """

    next_run: datetime | None = None
    paused: bool | None = None
    newest: str | None = None

    @property
    def words(self) -> str:
        """When the next run starts, in words."""
        if self.paused is None:
            return "no DAG in Airflow"
        if self.next_run is None:
            return "not scheduled"
        return f"{'paused; else ' if self.paused else ''}{self.next_run:%Y-%m-%d %H:%M} UTC"


def run_state(session: Session, dag_id: str, run_id: str) -> str | None:
    """Return the state of a DAG run; None if there is none."""
    return session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def status_of(session: Session, dag_id: str) -> DagStatus:
    """Return Airflow's view of a DAG."""
    dag = session.get(DagModel, dag_id)
    if dag is None:
        return DagStatus()
    newest = session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(1))
    return DagStatus(dag.next_dagrun_create_after, dag.is_paused, newest)


def links_by_gate(session: Session, dag_id: str) -> dict[str, str]:
    """Return the page of the DAG run behind each verdict, within Airflow's UI, by the key of the verdict's artifact.

    A run that was made by the command line has none, and neither has one whose result is not that of a stage. Of
    several DAG runs that reused a verdict the newest counts.
    """
    links: dict[str, str] = {}
    for key, link in _newest_links(session, dag_id):
        links.setdefault(key, link)
    return links


def link_of_gate(session: Session, dag_id: str, gate_key: str) -> str | None:
    """Return the page of the DAG run behind one verdict, as :func:`links_by_gate` does; None without one."""
    return next((link for key, link in _newest_links(session, dag_id) if key == gate_key), None)


def _newest_links(session: Session, dag_id: str) -> Iterator[tuple[str, str]]:
    left = (
        select(XComModel)
        .where(XComModel.dag_id == dag_id, XComModel.task_id == GATE, XComModel.key == "return_value")
        .order_by(XComModel.timestamp.desc())
        .limit(MOST_LINKS)
    )
    for row in session.scalars(left):
        try:
            result = StageResult.from_json(XComModel.deserialize_value(row))
        except ArtifactError:  # of another release: its run has no link, and the others keep theirs
            continue
        yield result.ref.key, f"/dags/{dag_id}/runs/{quote(row.run_id, safe='')}"


def published_key(session: Session, store: Store, dag_id: str, run_id: str) -> str | None:
    """Return the key of the run that a DAG run has recorded in the registry; None before it has.

    Raises
    ------
    ArtifactError
        If what the task returned is not the result of a stage, or its artifact is missing.
    """
    left = XComModel.get_many(run_id=run_id, key="return_value", dag_ids=dag_id, task_ids=PUBLISH, limit=1)
    row = session.scalar(left)
    if row is None:
        return None
    result = StageResult.from_json(XComModel.deserialize_value(row))
    key: str = store.open(result.ref).summary["run_key"]
    return key
