"""The lines that `make up` and `make demo` show for tasks and runs that end."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import AIRFLOW_HOME, PROJECT

MEMBER = "/api/v2/dags/train_movies/dagRuns/manual__2026/taskInstances/learn.member/1"
LOG = """
[2026-11-29T19:30:37] TaskInstance Finished: dag_id=train_movies, task_id=learn.members_gpu, run_id=manual__2026, \
map_index=-1, ti_id=019, run_start_date=2026, run_end_date=2026, run_duration=1.2, state=skipped, executor=Local, \
executor_state=success, try_number=1
something else
[2026-11-29T19:30:38] TaskInstance Finished: dag_id=train_movies, task_id=learn.member, run_id=manual__2026, \
map_index=1, ti_id=019, run_duration=1.2, state=success, executor=Local, executor_state=success, try_number=1
[2026-11-29T19:30:39] DagRun Finished: dag_id=train_movies, logical_date=None, run_id=manual__2026, \
run_start_date=2026, run_end_date=2026, run_duration=9.1, state=failed, run_type=manual
"""


class Api(BaseHTTPRequestHandler):
    """Answers as Airflow's API server does."""

    def do_GET(self) -> None:
        if self.path == "/api/v2/monitor/health":
            self.answer({"metadatabase": {"status": "healthy"}})
        elif self.headers["Authorization"] == "Bearer token" and self.path == MEMBER:
            self.answer({"rendered_map_index": "member:independent"})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if (self.path, body) == ("/auth/token", {"username": "admin", "password": "secret"}):
            self.answer({"access_token": "token"})
        else:
            self.send_error(401)

    def answer(self, document: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def airflow() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "passwords.json").write_text('{"admin": "secret"}')
    return {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json")}


def progress(**environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", "source include/airflow/scheduler_progress.sh; show_progress"]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=PROJECT, env=environment, input=LOG, capture_output=True, text=True, check=True)


def test_progress_names_the_run_the_member_and_the_state_of_the_task(airflow: str, settings: dict[str, str]) -> None:
    done = progress(**settings, AIRFLOW__API__PORT=airflow.rpartition(":")[2])
    assert done.stdout.splitlines() == [
        "  train_movies manual__2026  learn.members_gpu: skipped",
        "  train_movies manual__2026  learn.member[independent]: success",
        "  train_movies manual__2026: failed",
    ]
    assert done.stderr == ""


def test_a_member_that_the_api_does_not_name_has_its_number(settings: dict[str, str]) -> None:
    done = progress(**settings, AIRFLOW__API__PORT="9")
    assert "  train_movies manual__2026  learn.member[1]: success" in done.stdout.splitlines()
    assert done.stderr.startswith("warning: the API does not name learn.member[1]: ")


def places(address: str) -> list[str]:
    shown = json.dumps({"scenario": "movies", "run_key": "ab12", "report": ".store/report.html"})
    command = [sys.executable, "include/airflow/places.py", address]
    done = subprocess.run(command, cwd=PROJECT, input=shown, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_demo_ends_with_the_report_and_the_page_on_the_board_if_airflow_answers(airflow: str) -> None:
    page = f"{airflow}/plugin/models/model-board/scenarios/movies/runs/ab12"
    assert places(airflow) == [f"Model board: {page}"]
    (without,) = places("http://127.0.0.1:9")
    assert without.startswith("Model board: make up starts Airflow")
    summary, last = (PROJECT / "include/airflow/demo.sh").read_text().splitlines()[-2:]
    assert summary == 'include/bin/mtl show movies --as-of "$as_of"'  # it ends with the address of the report
    assert "include/airflow/places.py" in last


def test_the_airflow_command_prints_no_warning(airflow_database: None) -> None:
    lines = (PROJECT / "include/airflow/env.sh").read_text().splitlines()
    assert 'airflow() { .venv/bin/python -m airflow "$@"; }' in lines  # what include/bin/airflow calls
    home = f"AIRFLOW_HOME={shlex.quote(AIRFLOW_HOME)}"  # the command's own is that of the project
    script = f"source include/airflow/env.sh; export {home}; airflow dags unpause none -y"
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("No paused DAGs were found", "")
