"""A small store with a history for the tests of the board: what was promoted, refused, retired and forced."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import uvicorn
from fastapi.routing import APIRoute

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_runs import PastRun, read_run
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.promotion import promote, rollback
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.projects import NAME, write_log, write_scenario

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from sqlalchemy.orm import Session

RELATIVE = [{"task": "rating", "metric": "rmse", "margin": 1}]
STRICT = [{"task": "rating", "metric": "rmse", "max": 0.5}]
ORIGIN = Origin(start="backfill", user="ada", commit="ab12" * 10, local_changes=True)
HOSTILE = "<script>alert('reason')</script>"
TITLE = "Films & <script>alert('title')</script>"

ASKED = {"run": "0" * 64, "user": "1", "kind": "user", "dag_id": f"train_{NAME}", "run_id": "manual"}


def paths(scenario: str) -> list[str]:
    """Return all paths of the board's route table, filled in."""
    from plugins.model_board.app import app

    assert all(isinstance(route, APIRoute) for route in app.routes)
    return [
        route.path.format(scenario=scenario, run_key="0" * 64) for route in app.routes if isinstance(route, APIRoute)
    ]


def make_history(root: Path) -> None:
    """Promoted on the 8th, promoted and retired on the 9th, refused on the 10th, refused and forced on the 11th."""
    write_log(root)
    write_scenario(root, title=TITLE, members=["popularity", "als", "shared_tail"])
    strict = {"gate.absolute": STRICT}
    compared = {**strict, "gate.relative": RELATIVE}
    for as_of, overrides in [("08", {}), ("09", {}), ("10", strict), ("11", compared)]:
        run_once(root, f"2013-05-{as_of}", **overrides)
        if as_of == "09":
            rollback(registry(root), store(root), None, by="ada", reason="too eager", at="2013-05-09T08:00:00+00:00")
    forced = entry_of(root, "2013-05-11")
    promote(registry(root), store(root), forced.run_key, by="ada", reason=HOSTILE, at="2013-05-11T08:00:00+00:00")


def run_once(root: Path, as_of: str, **overrides: object) -> None:
    """Run the scenario for a day."""
    with contextlib.chdir(root):
        run = make_run(NAME, AsOf.parse(as_of), overrides, str(root / ".store"), origin=ORIGIN)
        run_pipeline(run, lambda stage, result: None)


def store(root: Path) -> Store:
    """The project's store."""
    return Store(str(root / ".store"))


def registry(root: Path) -> Registry:
    """The registry of its scenario."""
    return Registry(store(root), NAME)


def entry_of(root: Path, as_of: str) -> RunRecord:
    """The run of a day."""
    return next(entry for entry in registry(root).entries() if entry.as_of == as_of)


def run_of(root: Path, as_of: str) -> PastRun:
    """The same, with what was ruled on it and measured of it."""
    return read_run(store(root), NAME, entry_of(root, as_of).run_key)


@contextlib.contextmanager
def reading(root: Path) -> Iterator[TestClient]:
    """Somebody who is logged in and may read the scenario, and no other."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient

    from plugins.model_board import access
    from plugins.model_board.app import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTL_STORE", str(root / ".store"))
        patch.setattr(access, "may_read", lambda user, scenario: scenario == NAME)
        app.dependency_overrides[get_user] = lambda: "reader"
        try:
            yield TestClient(app)
        finally:
            app.dependency_overrides.clear()


@contextlib.contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve the board on a port of its own, for somebody who may read the scenario, and yield its address."""
    from plugins.model_board.app import app

    with reading(root), socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()  # a request waits until the server accepts it
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:  # a thread that is left would keep the process from ending
            server.should_exit = True
            thread.join()


def add_dag(session: Session, dag_id: str, *tags: str) -> None:
    """Let Airflow know a DAG by its name and tags."""
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel

    session.merge(DagBundleModel(name="tests"))
    session.flush()
    session.merge(DagModel(dag_id=dag_id, bundle_name="tests", tags=[DagTag(name=tag, dag_id=dag_id) for tag in tags]))
