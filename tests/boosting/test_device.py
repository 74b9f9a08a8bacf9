"""A device is tried before it is used: a missing one is refused by the name of its setting, or replaced aloud.

OpenCL is tested without a GPU through PoCL, a driver that runs on the processor (Debian's `pocl-opencl-icd`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_tasks.boosting import device
from mtl_tasks.errors import ConfigError
from mtl_tasks.members import member_class
from mtl_tasks.metrics import compute
from mtl_tasks.scenario import MemberKind
from tests.conftest import PROJECT
from tests.members.contract import draw_table, member_scenario

ASK = "import sys; from mtl_tasks.boosting.device import resolve_device; print(resolve_device(sys.argv[1]))"
LOAD = """
import sys
from pathlib import Path
import numpy as np
from mtl_tasks.members import member_class
from tests.members.contract import draw_table, member_scenario
kind, folder = sys.argv[1], Path(sys.argv[2])
files = {path.name: path.read_bytes() for path in folder.iterdir()}
member = member_class(kind).load(files, member_scenario(device="gpu", patience=30))
np.savez(folder / "predicted.npz", **member.predict(draw_table(2000, 3).features))
"""


@pytest.fixture(scope="module")
def opencl() -> device.Probed:
    """What OpenCL calls its device; skips where there is none."""
    found = device.probe("gpu")
    if found.problem is not None:
        pytest.skip(f"no OpenCL device: {found.problem}")
    return found


@pytest.fixture(scope="module")
def no_cuda() -> None:
    if device.probe("cuda").problem is None:
        pytest.skip("CUDA works here")


def run_without_opencl(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose OpenCL loader finds no driver, whatever this machine has."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OCL_ICD_VENDORS": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_cpu_is_taken_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert device.resolve_device("cpu") == "cpu"
    assert not caplog.records


def test_opencl_that_is_not_there_is_refused_with_the_remedy() -> None:
    asked = run_without_opencl(ASK, "gpu")
    assert asked.returncode != 0
    refusal = asked.stderr.strip().splitlines()[-1]  # the last line of the traceback: the whole message is one line
    reason = "boosting.device: 'gpu' was asked for but LightGBM cannot use it here (No OpenCL device found)"
    assert f"ConfigError: {reason}: install an OpenCL driver for the GPU" in refusal
    assert refusal.endswith("set boosting.device to 'auto' or 'cpu'")


def test_cuda_that_is_not_there_is_refused_with_the_remedy(no_cuda: None) -> None:
    reason = r"'cuda' was asked for but LightGBM cannot use it here \(CUDA Tree Learner was not enabled in this build\)"
    with pytest.raises(ConfigError, match=rf"boosting.device: {reason}.*cmake.define.USE_CUDA=ON lightgbm==\d") as told:
        device.resolve_device("cuda")
    assert "\n" not in str(told.value)


def test_auto_without_any_takes_the_cpu_and_says_why(no_cuda: None) -> None:
    asked = run_without_opencl(ASK, "auto")
    assert asked.stdout == "cpu\n"
    (warning,) = asked.stderr.splitlines()
    assert "'auto': trees grow on the CPU (cuda: CUDA Tree Learner was not enabled" in warning
    assert "gpu: No OpenCL device found" in warning


def test_auto_passes_over_an_opencl_device_that_is_the_processor(
    opencl: device.Probed, no_cuda: None, caplog: pytest.LogCaptureFixture
) -> None:
    if opencl.drawback is None:
        pytest.skip(f"OpenCL has a GPU: {opencl.name}")
    device._automatic.cache_clear()
    assert device.resolve_device("auto") == "cpu"
    assert f"gpu: OpenCL device {opencl.name!r} is the processor, where device 'cpu' is faster" in caplog.text
    assert device.resolve_device("gpu") == "gpu"


@pytest.mark.parametrize(
    ("name", "on_cpu"),
    [
        ("pthread-skylake-avx512-AMD EPYC", True),
        ("cpu-haswell-Intel(R) Core(TM) i7-4770", True),
        ("Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", True),
        ("NVIDIA H100 80GB HBM3", False),
        ("Intel(R) UHD Graphics 630", False),
        ("gfx90a:sramecc+:xnack-", False),
    ],
)
def test_a_device_is_known_as_the_processor_by_its_name(name: str, on_cpu: bool) -> None:
    assert (device.Probed(name=name).drawback is not None) == on_cpu


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import time; time.sleep(60)", "a model of 256 rows was not trained within 1 s"),
        ("import os; os.abort()", "its process ended with status -6"),
        ("import sys; sys.exit('first\\n  last  ')", "last"),
    ],
)
def test_a_trial_that_hangs_or_dies_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    path = tmp_path / "probe.py"
    path.write_text(program)
    monkeypatch.setattr(device, "PROBE", path)
    monkeypatch.setattr(device, "TIME_LIMIT", 1)
    assert device.probe.__wrapped__("gpu") == device.Probed(problem)


@pytest.mark.parametrize("kind", ["independent", "cascade", "shared", "shared_tail"])
def test_trees_grown_with_opencl_agree_with_the_cpu_and_need_no_opencl_later(
    opencl: device.Probed, kind: MemberKind, tmp_path: Path
) -> None:
    train, tune, unseen = draw_table(2000, 1), draw_table(500, 2), draw_table(2000, 3)
    cpu, gpu = (
        member_class(kind).fit(train, tune, member_scenario(device=name, patience=30)) for name in ("cpu", "gpu")
    )
    assert gpu.describe()["device"] == "gpu"
    ours, theirs = cpu.predict(unseen.features), gpu.predict(unseen.features)
    for task in ours:
        label = unseen.labels[task].astype(np.float64)
        seen, metric = ~np.isnan(label), "rmse" if task == "rating" else "auc"
        measured = [compute(metric, label[seen], made[task][seen]) for made in (ours, theirs)]
        assert abs(measured[0] - measured[1]) < 1e-3, task
        # Sums differ in the last digits, and once in a while two splits of equal gain change places.
        assert np.abs(ours[task] - theirs[task]).mean() < 1e-3, task
    for name, data in gpu.files().items():
        (tmp_path / name).write_bytes(data)
    loaded = run_without_opencl(LOAD, kind, str(tmp_path))
    assert loaded.returncode == 0, loaded.stderr
    with np.load(tmp_path / "predicted.npz") as predicted:
        assert all(np.array_equal(predicted[task], theirs[task]) for task in theirs)
