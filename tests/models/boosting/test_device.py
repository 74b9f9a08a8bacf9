"""A device is tried before it is used: a missing one is refused by the name of its setting, or replaced aloud.

OpenCL is tested without a GPU through PoCL, a driver that runs on the processor (Debian's `pocl-opencl-icd`). What
needs CUDA is skipped without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Member, Table, member_class
from mtl_tasks.models.boosting import device, leaves
from mtl_tasks.scenario import MemberKind
from tests.conftest import PROJECT
from tests.contracts.member import draw_table, member_scenario

KINDS: tuple[MemberKind, ...] = ("independent", "cascade", "shared", "shared_tail")
ASK = "import sys; from mtl_tasks.models.boosting.device import resolve_device; print(resolve_device(sys.argv[1]))"
FAIL = """
import os
from mtl_tasks.models.boosting.device import resolve_device
from mtl_tasks.core.errors import DeviceError
from mtl_tasks.models import member_class
from tests.contracts.member import draw_table, member_scenario
assert resolve_device("gpu") == "gpu"
os.environ["OCL_ICD_VENDORS"] = "/nonexistent"  # the trial had a process of its own: here the driver is not loaded yet
for kind in ("independent", "cascade", "shared", "shared_tail"):
    try:
        member_class(kind).fit(draw_table(500, 1), draw_table(200, 2), member_scenario(device="gpu"))
    except DeviceError as error:
        print(error)
"""
LOAD = """
import sys
from pathlib import Path
import numpy as np
from mtl_tasks.models import member_class
from tests.contracts.member import draw_table, member_scenario
kind, folder = sys.argv[1], Path(sys.argv[2])
files = {path.name: path.read_bytes() for path in folder.iterdir()}
member = member_class(kind).load(files, member_scenario(device=sys.argv[3], patience=30))
np.savez(folder / "predicted.npz", **member.predict(draw_table(2000, 3).features))
"""


@pytest.fixture(scope="module")
def opencl() -> device.Probed:
    """The device that OpenCL reports; skips where there is none."""
    found = device.probe("gpu")
    if found.problem is not None:
        pytest.skip(f"no OpenCL device: {found.problem}")
    return found


@pytest.fixture(scope="module", params=["gpu", "cuda"])
def accelerator(request: pytest.FixtureRequest) -> str:
    """``gpu`` (OpenCL) and ``cuda``, each where it works."""
    found = device.probe(request.param)
    if found.problem is not None:
        pytest.skip(f"no {request.param}: {found.problem}")
    return str(request.param)


@pytest.fixture(scope="module")
def no_cuda() -> None:
    if device.probe("cuda").problem is None:
        pytest.skip("CUDA works here")


def run_without_device(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that finds neither an OpenCL driver nor a CUDA device, whatever this machine has."""
    hidden = {"OCL_ICD_VENDORS": "/nonexistent", "OCL_ICD_FILENAMES": "", "CUDA_VISIBLE_DEVICES": ""}
    known = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **hidden, "PYTHONPATH": os.pathsep.join(known)}
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


@pytest.mark.faults(27)
def test_opencl_that_is_not_there_is_refused_with_the_remedy() -> None:
    asked = run_without_device(ASK, "gpu")
    if "GPU Tree Learner was not enabled" in asked.stderr:
        pytest.skip("this build of LightGBM has no OpenCL")
    assert asked.returncode != 0
    refusal = asked.stderr.strip().splitlines()[-1]  # the last line of the traceback: the whole message is one line
    reason = "boosting.device: 'gpu' was requested, but LightGBM cannot use it here (No OpenCL device found)"
    assert f"ConfigError: {reason}: install an OpenCL driver for the GPU" in refusal
    assert refusal.endswith("set boosting.device to 'auto' or 'cpu'")


@pytest.mark.faults(27)
def test_cuda_that_is_not_there_is_refused_with_the_remedy(no_cuda: None) -> None:
    reason = (
        r"'cuda' was requested, but LightGBM cannot use it here \(CUDA Tree Learner was not enabled in this build\)"
    )
    with pytest.raises(ConfigError, match=rf"boosting.device: {reason}.*include/bin/lightgbm-cuda.sh") as told:
        device.resolve_device("cuda")
    assert "\n" not in str(told.value)


@pytest.mark.faults(27)
def test_auto_without_any_takes_the_cpu_and_says_why(no_cuda: None) -> None:
    asked = run_without_device(ASK, "auto")
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
    assert f"gpu: OpenCL device {opencl.name!r} is the processor, for which device 'cpu' is faster" in caplog.text
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


@pytest.mark.faults(27)
@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import time; time.sleep(60)", "a small model was not trained within 1 s"),
        ("import os; os.abort()", "its process ended with status -6"),
        (
            "import os; os.write(2, b'terminate called\\n  what():  no driver\\n\\n'); os.abort()",
            "its process ended with status -6: no driver",
        ),
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


def test_a_trial_loads_arrow_before_lightgbm_as_a_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LightGBM with a C++ library of its own was seen to die in every fit, after trials in the other order."""
    (tmp_path / "lightgbm.py").write_text("import sys; sys.exit('Arrow is ' + str(sys.modules.get('pyarrow')))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    problem = device.probe.__wrapped__("gpu").problem
    assert problem.startswith("Arrow is <module 'pyarrow'")


@pytest.mark.faults(27)
def test_a_gpu_that_fails_at_work_is_an_error_and_not_a_silent_run_on_the_cpu(opencl: device.Probed) -> None:
    known = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", FAIL],
        env={**os.environ, "PYTHONPATH": known},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("boosting.device: ")]
    assert len(told) == len(KINDS), done.stdout
    reason = "boosting.device: 'gpu' failed while trees grew (No OpenCL device found): free its memory"
    assert all(line.startswith(reason) and line.endswith("set boosting.device to 'cpu'") for line in told)


def draw_kinds(count: int, seed: int) -> Table:
    """The contract's rows with columns that name kinds, and many that are rarely not 0 and never two at a time."""
    table, rng = draw_table(count, seed), np.random.default_rng(seed)
    for levels in (5, 33, 200):
        drawn = rng.integers(0, levels, count)
        table.labels["rating"][drawn % 2 == 0] += 1
        table.features[f"kind_{levels}"] = pd.Series(drawn.astype(str)).astype("category")
    filled = rng.integers(0, 12, count)
    for place in range(10):  # LightGBM makes one column of them, of more bins than OpenCL takes
        table.features[f"rare_{place}"] = np.where(filled == place, rng.integers(1, 100, count), 0).astype(np.float32)
    return table


def assert_agree(ours: Member, theirs: Member, unseen: Table, within: float = 1e-3) -> None:
    """Metrics, and predictions but for a few rows, are the same within a tolerance."""
    made = [member.predict(unseen.features) for member in (ours, theirs)]
    for task in made[0]:
        label = unseen.labels[task].astype(np.float64)
        seen, metric = ~np.isnan(label), "rmse" if task == "rating" else "auc"
        measured = [compute(metric, label[seen], predicted[task][seen]) for predicted in made]
        assert measured[0] == pytest.approx(measured[1], abs=within), task
        # Sums differ in the last digits, and once in a while two splits of equal gain change places.
        assert np.abs(made[0][task] - made[1][task]).mean() < 10 * within, task


@pytest.mark.faults(28)
@pytest.mark.parametrize("kind", KINDS)
def test_trees_grown_on_a_device_agree_with_the_cpu_and_need_no_device_later(
    accelerator: str, kind: MemberKind, tmp_path: Path
) -> None:
    train, tune, unseen = draw_table(2000, 1), draw_table(500, 2), draw_table(2000, 3)
    cpu, gpu = (
        member_class(kind).fit(train, tune, member_scenario(device=name, patience=30)) for name in ("cpu", accelerator)
    )
    assert gpu.describe()["device"] == accelerator
    assert_agree(cpu, gpu, unseen)
    theirs = gpu.predict(unseen.features)
    for name, data in gpu.files().items():
        (tmp_path / name).write_bytes(data)
    loaded = run_without_device(LOAD, kind, str(tmp_path), accelerator)
    assert loaded.returncode == 0, loaded.stderr
    with np.load(tmp_path / "predicted.npz") as predicted:
        assert all(np.array_equal(predicted[task], theirs[task]) for task in theirs)


@pytest.mark.faults(28)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_kinds_and_bundled_ones_are_split_on_a_device_as_on_the_cpu(
    accelerator: str, kind: MemberKind
) -> None:
    tables = draw_kinds(6000, 1), draw_kinds(2000, 2)
    cpu, gpu = (
        member_class(kind).fit(*tables, member_scenario(device=name, patience=30)) for name in ("cpu", accelerator)
    )
    within = 0.02 if accelerator == "cuda" else 1e-3  # CUDA groups the levels of a column by rules of its own
    assert_agree(cpu, gpu, draw_kinds(2000, 3), within)
    again = [member.refit(draw_kinds(8000, 4)) for member in (cpu, gpu)]
    assert_agree(*again, draw_kinds(2000, 3), within)


def test_where_leaves_cannot_be_told_apart_a_device_grows_another_tree(
    accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, tune, unseen = draw_table(2000, 1), draw_table(500, 2), draw_table(2000, 3)
    plain = member_class("shared").fit(train, tune, member_scenario(device=accelerator))
    monkeypatch.setattr(leaves, "GAP", 1e-2)  # of this size some trees have a smaller one, and most do not
    strict = member_class("shared").fit(train, tune, member_scenario(device=accelerator))
    for task in ("like", "purchase"):
        label = unseen.labels[task].astype(np.float64)
        auc = [compute("auc", label, member.predict(unseen.features)[task]) for member in (plain, strict)]
        assert auc[1] == pytest.approx(auc[0], abs=0.02)
