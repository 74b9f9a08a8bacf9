"""The tuning DAG run by Airflow in this process: mapped trials, a result, and the run's note."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_tasks.pipeline.tuning.result import read_result
from mtl_tasks.store.artifacts import Store
from tests.dags.conftest import ParseDags
from tests.support.projects import AS_OF, write_log, write_scenario

NAME = "tuned"


def test_the_dag_runs_a_study_and_notes_its_result(
    tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch, airflow_database: None
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    monkeypatch.delenv("MTL_STORE", raising=False)
    write_log(tmp_path)
    write_scenario(tmp_path, NAME, members=["popularity", "independent"], tuning={"space": {}})
    dag = parse_dags(tmp_path).dags[f"tune_{NAME}"]
    for task in dag.tasks:
        task.retries = 0
    done = dag.test(run_conf={"as_of": [AS_OF], "trials": 2, "workers": 2})
    states = {task.rendered_map_index or task.task_id: str(task.state) for task in done.get_task_instances()}
    assert str(done.state) == "success"
    assert states == dict.fromkeys(("prepare", "list_workers", "worker 0", "worker 1", "conclude"), "success")
    (folder,) = Store(str(tmp_path / ".store")).inside(NAME, "tuning").iterdir()
    result = read_result(folder)
    assert result.trials.complete + result.trials.pruned == 2
    with create_session() as session:
        (run,) = session.scalars(select(DagRun).where(DagRun.run_id == done.run_id)).all()
        assert run.note.startswith(f"2 trials as of {AS_OF}: {result.conclusion}")
