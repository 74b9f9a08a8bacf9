"""Numerical libraries are told how their threads wait, whoever started the process.

GCC's OpenMP shows when it is loaded how often a thread that waits looks again before it sleeps: what counts is that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_tasks.core.process import SETTINGS, settle_threads
from tests.conftest import PROJECT
from tests.support.projects import AS_OF, NAME, write_log, write_scenario

RUN_DAG = f"""
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from dags import scenario_files
scenario_files.ROOT = Path.cwd()
dag = DagBag(dag_folder=sys.argv[1]).dags["train_{NAME}"]
dag.deadline = None  # Airflow 3.3 cannot look deadlines up in `dag.test`
assert "OPENBLAS_NUM_THREADS" not in os.environ, "parsing a DAG file sets nothing"
done = dag.test(logical_date=datetime(2013, 5, 11, 2, 30, tzinfo=UTC))
print(done.state, os.environ["OPENBLAS_NUM_THREADS"])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP")


def run_python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing said of threads, but that OpenMP is to show what it was told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_"))}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done


def spins(done: subprocess.CompletedProcess[str]) -> set[int]:
    return {int(count) for count in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    write_scenario(root, members=["popularity"])
    return root


@pytest.fixture(scope="module")
def run_by_command(project: Path) -> subprocess.CompletedProcess[str]:
    return run_python(project, "-m", "mtl_tasks", "run", NAME, "--as-of", AS_OF)


def test_left_alone_threads_spin(tmp_path: Path) -> None:
    assert min(spins(run_python(tmp_path, "-c", "import lightgbm"))) > 1000


def test_stages_of_the_command_line_see_threads_that_sleep(run_by_command: subprocess.CompletedProcess[str]) -> None:
    assert spins(run_by_command) == {0}


def test_stages_of_an_airflow_task_see_threads_that_sleep(
    project: Path, run_by_command: subprocess.CompletedProcess[str], airflow_database: None
) -> None:
    done = run_python(project, "-c", RUN_DAG, str(PROJECT / "dags"))  # reuses what the command has made
    assert spins(done) == {0}
    assert done.stdout.splitlines()[-1] == "success 1"


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    settle_threads()
    assert {name: os.environ[name] for name in SETTINGS} == {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "1"}
