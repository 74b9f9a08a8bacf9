"""Airflow loads plugins in every process: ours import nothing heavy, and the board comes with its first request."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from plugins.model_board.mounted import MountedBoard
from tests.conftest import PROJECT

LOADING = """
import sys
from airflow.{manager} import {load}
before = set(sys.modules)
{load}()
heavy = {{"numpy", "pandas", "pyarrow", "scipy", "lightgbm", "jinja2", "fastapi", "mtl_tasks"}}
print(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} & heavy))
print(sorted(name for name in sys.modules if name in ("model_board_plugin", "run_notes")))
print(sorted(name for name in sys.modules if name.startswith("plugins.")))
"""


@pytest.mark.parametrize(
    ("manager", "load"),
    [
        ("plugins_manager", "get_fastapi_plugins"),  # servers, scheduler, DAG processor
        ("sdk.plugins_manager", "_get_plugins"),  # workers
    ],
)
def test_loading_the_plugins_imports_nothing_heavy(manager: str, load: str) -> None:
    code = LOADING.format(manager=manager, load=load)
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    heavy, loaded, parts = done.stdout.splitlines()[-3:]
    assert heavy == "[]"
    assert loaded == "['model_board_plugin', 'run_notes']"
    assert parts == "['plugins.model_board', 'plugins.model_board.mounted', 'plugins.model_board.own_dags']"


def test_the_first_requests_import_the_app_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
    from starlette.responses import PlainTextResponse
    import builtins
    builtins.imports_of_late_board = getattr(builtins, "imports_of_late_board", 0) + 1
    app = PlainTextResponse(str(builtins.imports_of_late_board))
    """
    (tmp_path / "late_board.py").write_text("\n".join(line[4:] for line in code.splitlines()), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    client = TestClient(MountedBoard("late_board"))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.get("/").text, range(8)))
    assert answers == ["1"] * 8


def test_a_board_that_cannot_be_imported_says_so_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "broken_board.py"
    module.write_text("raise RuntimeError('the secret reason')", encoding="utf-8")
    client = TestClient(MountedBoard("broken_board"))
    with caplog.at_level(logging.ERROR):
        answer = client.get("/")
    assert answer.status_code == 500
    assert "the log of Airflow's API server says why" in answer.text
    assert "secret" not in answer.text
    assert "the secret reason" in caplog.text
