"""The note of a run says what became of it: of our runs only, and a person's note stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from tests.support import board

OURS, FOREIGN = "train_notes", "train_theirs"


@pytest.fixture(scope="module")
def plugin(airflow_database: None) -> ModuleType:
    """The listener as Airflow has loaded it."""
    import sys

    from airflow.plugins_manager import ensure_plugins_loaded
    from airflow.utils.session import create_session

    ensure_plugins_loaded()
    with create_session() as session:
        board.add_dag(session, OURS, "training", "multi-task")
        board.add_dag(session, FOREIGN)
    return sys.modules["run_notes"]


@pytest.fixture
def session(plugin: ModuleType) -> Iterator[Any]:
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session
        session.rollback()


def run_of(session: Any, dag_id: str, note: str | None = None) -> Any:
    """A run that has failed, by hand and with a note as a person may give it."""
    from airflow.models.dagrun import DagRun

    made = DagRun(
        dag_id=dag_id,
        run_id=f"manual_{uuid4()}",
        run_type="manual",
        state="failed",
        run_after=datetime.now(UTC),
        note=note,
    )
    session.add(made)
    session.flush()
    return made


def test_a_run_of_ours_that_failed_has_a_note(plugin: ModuleType, session: Any) -> None:
    run = run_of(session, OURS)
    plugin.on_dag_run_failed(run, "all_tasks_deadlocked")
    assert run.note == "failed: all_tasks_deadlocked"


def left(session: Any, run: Any, key: str, task: str, value: str) -> None:
    """Leave what a task of a run leaves in Airflow's database; the row of the task itself is not looked at."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import text

    session.execute(text("PRAGMA defer_foreign_keys = ON"))  # until the end of the transaction, which is undone
    about = {"dag_run_id": run.id, "dag_id": run.dag_id, "run_id": run.run_id, "map_index": -1}
    session.add(XComModel(**about, task_id=task, key=key, value=value, timestamp=datetime.now(UTC)))
    session.flush()


def test_a_run_of_ours_that_succeeded_has_its_verdict(plugin: ModuleType, session: Any) -> None:
    run = run_of(session, OURS)
    plugin.on_dag_run_success(run, "success")
    assert run.note is None  # it was set to success by hand
    left(session, run, "note", "report", "2013-05-11: promoted")
    plugin.on_dag_run_success(run, "success")
    assert run.note == "2013-05-11: promoted"


def test_a_run_of_others_is_left_alone_whatever_its_dag_is_called(plugin: ModuleType, session: Any) -> None:
    for dag_id in (FOREIGN, "train_unknown"):
        run = run_of(session, dag_id, note="theirs")
        plugin.on_dag_run_failed(run, "task_failure")
        assert run.note == "theirs"


def test_a_persons_note_stays_and_the_outcome_stands_below_it(plugin: ModuleType, session: Any) -> None:
    run = run_of(session, OURS, note="for the demo")
    plugin.on_dag_run_failed(run, "first")
    plugin.on_dag_run_failed(run, "second")  # cleared, and ended again
    assert run.note == "for the demo\n\nOutcome: failed: second"


def test_our_own_note_is_written_again_and_stays_once_a_person_has_changed_it(plugin: ModuleType, session: Any) -> None:
    run = run_of(session, OURS)
    plugin.on_dag_run_failed(run, "first")
    plugin.on_dag_run_failed(run, "second")
    assert run.note == "failed: second"
    run.dag_run_note.content, run.dag_run_note.user_id = "seen", "ada"  # as the API does it
    plugin.on_dag_run_failed(run, "third")
    assert run.note == "seen\n\nOutcome: failed: third"


@pytest.mark.parametrize("length", [0, 900, 990, 1000])
def test_a_note_is_never_longer_than_airflow_can_store(plugin: ModuleType, session: Any, length: int) -> None:
    own = "x" * length
    run = run_of(session, OURS, note=own or None)
    plugin.on_dag_run_failed(run, "y" * 2000)
    assert run.note.startswith(own)
    assert len(run.note) <= 1000
    assert run.note.endswith("…") == (length < 980)
