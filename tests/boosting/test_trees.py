"""A device that is not there is refused by the name of its setting, or replaced aloud."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mtl_tasks.boosting import trees
from tests.conftest import PROJECT

ASK = "import sys; from mtl_tasks.boosting.trees import resolve_device; print(resolve_device(sys.argv[1]))"


def ask_without_gpu(device: str) -> subprocess.CompletedProcess[str]:
    """Resolve a device in a process whose OpenCL loader finds no driver, whatever this machine has."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OCL_ICD_VENDORS": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-c", ASK, device], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_cpu_is_taken_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert trees.resolve_device("cpu") == "cpu"
    assert not caplog.records


def test_a_gpu_that_is_not_there_is_refused() -> None:
    asked = ask_without_gpu("gpu")
    assert asked.returncode != 0
    refusal = asked.stderr.strip().splitlines()[-1]  # the last line of the traceback: the whole message is one line
    assert "ConfigError: boosting.device: 'gpu' was asked for but LightGBM cannot use it here" in refusal
    assert "set boosting.device to 'auto' or 'cpu'" in refusal


def test_auto_falls_back_and_says_so() -> None:
    asked = ask_without_gpu("auto")
    assert asked.stdout.strip().splitlines()[-1] == "cpu"
    assert "trees grow on the CPU" in asked.stderr
