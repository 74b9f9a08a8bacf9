"""A real MLflow server, in the environment that ``make mlflow-server`` makes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator

from tests.conftest import PROJECT
from tests.support.databases import free_port

PROGRAM = PROJECT / ".mlflow/bin/mlflow"


@contextlib.contextmanager
def tracking_server() -> Iterator[str]:
    """Run a server with a database of its own within the block, and yield its URI."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [PROGRAM, "server", "--backend-store-uri", f"sqlite:///{folder}/runs.db", "--workers", "1"]
        command += ["--artifacts-destination", f"{folder}/artifacts", "--port", str(port)]
        settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONPATH": ""}
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=10).close()  # noqa: S310
        except OSError:
            continue
        return
    raise AssertionError("the MLflow server has ended")
