"""Checks for whether a DAG is the project's: other DAGs may have names like those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dags.tags import Tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def is_own(session: Session, dag_id: str) -> bool:
    """Whether a DAG carries the project's tag."""
    from airflow.models.dag import DagTag

    return session.get(DagTag, {"name": Tag.MULTI_TASK.value, "dag_id": dag_id}) is not None


def is_foreign(session: Session, dag_id: str) -> bool:
    """Whether Airflow knows a DAG of that name that is not the project's."""
    from airflow.models.dag import DagModel

    return not is_own(session, dag_id) and session.get(DagModel, dag_id) is not None
