"""The lines that `make up` and `make demo` show for tasks and runs that end."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.conftest import PROJECT

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


def test_progress_names_the_run_and_the_state_of_the_task() -> None:
    command = ["bash", "-c", "source include/airflow/scheduler_progress.sh; show_progress"]
    done = subprocess.run(command, cwd=PROJECT, input=LOG, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "  train_movies manual__2026  learn.members_gpu: skipped",
        "  train_movies manual__2026  learn.member[1]: success",
        "  train_movies manual__2026: failed",
    ]


class Health(BaseHTTPRequestHandler):
    """Answers as Airflow's API server does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"metadatabase": {"status": "healthy"}}).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def places(address: str) -> list[str]:
    shown = json.dumps({"scenario": "movies", "run_key": "ab12", "report": ".store/report.html"})
    command = [sys.executable, "include/airflow/places.py", address]
    done = subprocess.run(command, cwd=PROJECT, input=shown, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def airflow() -> str:
    server = HTTPServer(("127.0.0.1", 0), Health)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def test_the_demo_ends_with_the_report_and_the_page_on_the_board_if_airflow_answers(airflow: str) -> None:
    page = f"{airflow}/plugin/models/model-board/scenarios/movies/runs/ab12"
    assert places(airflow) == ["Report: .store/report.html", f"Model board: {page}"]
    assert places("http://127.0.0.1:9")[1].startswith("Model board: make up starts Airflow")
