"""The DAGs run by Airflow in this process, against the same run without it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from mtl_tasks.history import choose_run, shown_document
from mtl_tasks.pipeline import make_run, run_pipeline
from mtl_tasks.promotion import verify_runs
from mtl_tasks.registry import Registry
from mtl_tasks.run import StageResult
from mtl_tasks.sealing import StoreKey
from mtl_tasks.store import Store
from tests.conftest import PROJECT
from tests.dags.conftest import ParseDags
from tests.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

SCHEDULED = datetime(2013, 5, 11, 2, 30, tzinfo=UTC)  # an end of the schedule's intervals, in the night to AS_OF
RunDag = Callable[..., tuple[str, dict[str, str]]]
QUIET = {"learn.member_gpu": "skipped", "publish.approve": "skipped"}  # on the CPU, and without approval


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    return root


@pytest.fixture
def run_dag(project: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> RunDag:
    """Return a function that runs the DAG, and returns the states of the run and of its tasks."""
    monkeypatch.delenv("MTL_STORE", raising=False)

    def run(kind: str = "train", **conf: Any) -> tuple[str, dict[str, str]]:
        dag = parse_dags(project).dags[f"{kind}_{NAME}"]
        dag.deadline = None  # Airflow 3.3 cannot look deadlines up in `dag.test`
        for task in dag.tasks:
            task.retries = 0  # a fault fails the test at once, not after minutes of backing off
        done = dag.test(logical_date=SCHEDULED if kind == "train" else None, run_conf=conf)
        tasks = {task.rendered_map_index or task.task_id: str(task.state) for task in done.get_task_instances()}
        return str(done.state), tasks

    return run


@pytest.fixture
def run_here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, StageResult]]:
    """Return a function that runs the scenario in this process, on the DAG's store."""

    def run() -> dict[str, StageResult]:
        monkeypatch.chdir(project)
        results: dict[str, StageResult] = {}

        def keep(name: str, result: StageResult | None) -> None:
            if result is not None:
                results[name] = result

        today = pd.Timestamp(AS_OF, tz="UTC")
        run_pipeline(make_run(NAME, AS_OF, {}, ".store", today=today), keep)
        return results

    return run


def skipped(tasks: dict[str, str]) -> dict[str, str]:
    return {name: ended for name, ended in tasks.items() if ended != "success"}


def test_the_demos_run_begins_now_has_its_note_and_leaves_earlier_runs_as_they_were(
    project: Path, parse_dags: ParseDags, run_dag: RunDag
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    demo = runpy.run_path(str(PROJECT / "include/airflow/run_dag.py"))
    write_scenario(project, members=["popularity", "als"])
    before = datetime.now(UTC)
    runs = [demo["run"](parse_dags(project).dags[f"train_{NAME}"], {"as_of": AS_OF}).run_id for _ in range(2)]
    with create_session() as session:
        first, second = session.scalars(select(DagRun).where(DagRun.run_id.in_(runs))).all()
        for run in (first, second):
            assert run.note.startswith(f"{AS_OF}: promoted; promote: 1 of 1 rules passed")
            assert before <= run.start_date <= run.end_date
            assert {str(task.state) for task in run.get_task_instances(session=session)} == {"success", "skipped"}
        assert first.created_dag_version_id == second.created_dag_version_id


def test_the_dag_and_one_process_make_the_same_artefacts(
    project: Path, run_dag: RunDag, run_here: Callable[[], dict[str, StageResult]]
) -> None:
    write_scenario(project)
    state, tasks = run_dag()
    assert state == "success"
    assert skipped(tasks) == QUIET
    state, listed = run_dag("recommend")
    assert state == "success"
    assert set(listed.values()) == {"success"}
    assert {"member:popularity", "member:als", "member:independent"} < set(tasks)
    (entry,) = Registry(Store(str(project / ".store")), NAME).entries()
    results = run_here()
    assert [name for name, result in results.items() if not result.reused] == []
    assert len(results) == 14
    assert entry.as_of == AS_OF
    assert entry.promoted
    assert entry.run_key == results["publish"].summary["run_key"]
    assert entry.refs == {name: results[name].ref for name in entry.refs}


def test_a_rejected_candidate_is_reported_and_recommends_nothing(
    project: Path, run_dag: RunDag, run_here: Callable[[], dict[str, StageResult]]
) -> None:
    write_scenario(project, gate={**SCENARIO["gate"], "absolute": [{"task": "rating", "metric": "rmse", "max": 0.1}]})
    state, tasks = run_dag()
    assert state == "success"
    assert skipped(tasks) == {**QUIET, "publish.announce": "skipped"}
    results = run_here()
    assert "recommend" not in results
    assert results["report"].reused


def test_parameters_choose_members_and_fusion(project: Path, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenario(project)
    state, tasks = run_dag(members=["als", "popularity"], fusion="mean")
    assert state == "success"
    assert "member:independent" not in tasks
    monkeypatch.chdir(project)
    shown = shown_document(Store(".store"), choose_run(Store(".store"), NAME, AS_OF, None)[0])
    assert shown.scenario.fusion.method == "mean"
    assert shown.scenario.members == ("popularity", "als")
    assert shown.overrides == {"members": ["popularity", "als"], "fusion.method": "mean"}


def test_an_unknown_parameter_fails_the_run_at_its_first_task(project: Path, run_dag: RunDag) -> None:
    write_scenario(project)
    state, tasks = run_dag(as_off=AS_OF)
    assert state == "failed"
    assert tasks.pop("resolve") == "failed"
    assert set(tasks.values()) == {"upstream_failed"}


def test_with_a_key_all_that_tasks_write_is_sealed_with_it_and_none_passes_it_on(
    project: Path, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    word = "correct horse battery staple 0123"
    monkeypatch.setenv("MTL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MTL_STORE_KEY", word)
    write_scenario(project)
    state, _ = run_dag(members=["als", "popularity"])
    assert state == "success"
    key = StoreKey(word)
    sealed = [path.read_bytes() for path in (tmp_path / "store").rglob("*.json") if b'\n "seal": ' in path.read_bytes()]
    assert len(sealed) > 14
    assert all(f'"hmac-sha256:{key.id}:'.encode() in data for data in sealed)
    store = Store(str(tmp_path / "store"), key)
    entries = Registry(store, NAME).entries()
    assert verify_runs(entries, store) == {entry.run_key: [] for entry in entries}
    with create_session() as session:
        passed = [str(value) for value in session.scalars(select(XComModel.value))]
    assert passed
    written = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert not [data for data in [*passed, *capfd.readouterr()] if word in data]
    assert not [data for data in written if word.encode() in data]
