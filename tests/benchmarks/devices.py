"""Costs of boosted members on the CPU and on a GPU, each fit in its own process, and the agreement of their models.

LightGBM's wheel has OpenCL and a build of one's own has CUDA: run the bench with either, the table shows both. What was
measured before is kept in ``.bench/device.json``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Table as Rows
from mtl_tasks.models import member_class
from mtl_tasks.models.boosting.device import probe, resolve_device
from mtl_tasks.pipeline.engine import code_version, measured
from mtl_tasks.scenario import MemberKind
from tests.benchmarks.problems import benchmark_scenario, binary, regression

FOLDER: Final = pathlib.Path(".bench/device")
RESULTS: Final = pathlib.Path(".bench/device.json")
KINDS: Final[tuple[MemberKind, ...]] = ("independent", "cascade", "shared", "shared_tail")
COLUMNS: Final = 100
LEVELS: Final = (20, 200)  # of the columns that name kinds
RATED: Final = 0.3  # share of the rows with a rating
HELD: Final = 50_000  # rows of tune, and of test
MISSING_EVERY: Final = 20  # rows: a twentieth of a column's values is missing
ROWS_A_USER: Final = 20
METRICS: Final = {"purchase": "auc", "rating": "rmse"}
EVERY: Final = 0.1  # seconds between two looks at the GPU's memory


@dataclass(frozen=True)
class Options:
    """Options of the benchmark; ``devices`` as ``cpu:THREADS``, ``gpu`` or ``cuda``, none for all of this machine."""

    rows: list[int]
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    devices: list[str] = field(default_factory=list)
    rounds: int = 50
    fresh: bool = False


def main(options: Options, console: Console) -> None:
    """Measure what is missing, print the tables."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    devices = options.devices or _found(console)
    for rows in options.rows:
        for kind in options.kinds:
            for device in devices:
                key = f"{rows} {kind} {device} {options.rounds}"
                if options.fresh or known.get(key, {}).get("code") != code_version():
                    known[key] = _measure(rows, kind, device, options.rounds)
                    console.print(f"{rows:,} rows, {kind}, {device}: {known[key]['seconds']:.1f} s")
                    RESULTS.parent.mkdir(exist_ok=True)
                    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    made = {key: result for key, result in known.items() if result["code"] == code_version()}
    for part in _tables(options, made):
        console.print(part)
    console.print(f"{os.cpu_count()} cores, {_gpu_name() or 'no NVIDIA GPU'}. Written to {RESULTS}")


def _found(console: Console) -> list[str]:
    """The devices of this machine; a line says why one is left out."""
    devices = [f"cpu:{threads}" for threads in sorted({2, os.cpu_count() or 1})]
    for name in ("gpu", "cuda"):
        if (why := probe(name).drawback) is None:
            devices.append(name)
        else:
            console.print(f"left out: {name}: {why}")
    return devices


def _measure(rows: int, kind: str, device: str, rounds: int) -> dict[str, Any]:
    _drawn(rows)
    arguments = [str(rows), kind, device, str(rounds)]
    with _gpu_memory(device) as peak:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.devices", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**made, "gpu_mb": peak.get("mb"), "code": code_version()}


def _drawn(rows: int) -> pathlib.Path:
    """Draw the rows once for all fits: normal columns, two that name kinds, labels that follow from some of them."""
    folder = FOLDER / str(rows)
    if (folder / "ready").exists():
        return folder
    shutil.rmtree(FOLDER, ignore_errors=True)  # of another number of rows: gigabytes
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    count = rows + 2 * HELD
    values = rng.standard_normal((COLUMNS, count), dtype=np.float32)
    level_effects = [rng.standard_normal(levels).astype(np.float32) / 2 for levels in LEVELS]
    signal = np.zeros((2, count), dtype=np.float32)
    for place, (levels, effects) in enumerate(zip(LEVELS, level_effects, strict=True)):
        values[place] = rng.integers(0, levels, count)
        signal += effects[values[place].astype(np.intp)]
    for place in range(2, 14):  # half of them say something of both tasks
        followed = signal if place < 8 else signal[place % 2]
        followed += np.tanh(values[place] * values[place + 20]) / 2
    for place in range(len(LEVELS), COLUMNS):
        values[place, place % MISSING_EVERY :: MISSING_EVERY] = np.nan
    purchase = (rng.random(count, dtype=np.float32) < expit(signal[0] - 3)).astype(np.float32)
    rating = signal[1] + rng.standard_normal(count, dtype=np.float32)
    rating[: rows + HELD][rng.random(rows + HELD) >= RATED] = np.nan
    for name, array in (("values", values), ("purchase", purchase), ("rating", rating)):
        np.save(folder / f"{name}.npy", array)
    (folder / "ready").touch()
    return folder


def _tables_of(rows: int) -> Iterator[Rows]:
    """Train, tune and test."""
    folder = FOLDER / str(rows)
    values, purchase, rating = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("values", *METRICS))
    for start, end in ((0, rows), (rows, rows + HELD), (rows + HELD, rows + 2 * HELD)):
        part: NDArray[np.float32] = np.array(values[:, start:end])
        features = pd.DataFrame(part.T, columns=[f"column_{number}" for number in range(COLUMNS)])
        for place, levels in enumerate(LEVELS):
            codes = part[place].astype(np.int16)
            features[f"column_{place}"] = pd.Categorical.from_codes(codes, categories=[str(n) for n in range(levels)])
        labels = {"purchase": np.array(purchase[start:end]), "rating": np.array(rating[start:end])}
        yield Rows(features, labels, users=np.arange(start, end) // ROWS_A_USER)


def fit(rows: int, kind: MemberKind, device: str, rounds: int) -> dict[str, Any]:
    """Fit one member in this process; what it took, and its metrics on test."""
    name, _, threads = device.partition(":")
    scenario = benchmark_scenario(
        "devices",
        "Devices",
        {"purchase": binary("bought"), "rating": regression("rating", -20, 20)},
        learning_rate=0.1,
        rounds=rounds,
        patience=rounds,
        device=name,
        threads=int(threads or os.cpu_count() or 1),
        shared={"checkpoints": [0.5]},
    )
    train, tune, test = _tables_of(rows)
    started = time.monotonic()
    resolve_device(name)  # once a process, and not what growing takes
    tried = time.monotonic() - started
    with measured() as usage:
        member = member_class(kind).fit(train, tune, scenario)
    predicted = member.predict(test.features)
    metrics = {task: compute(metric, test.labels[task], predicted[task]) for task, metric in METRICS.items()}
    return {**usage, "tried": round(tried, 1), **metrics}


@contextlib.contextmanager
def _gpu_memory(device: str) -> Iterator[dict[str, float]]:
    """Fill a dict with the most MiB that the GPU held over what it held before; it stays empty without one."""
    peak: dict[str, float] = {}
    done = threading.Event()
    # A look takes processor time, which a fit on all cores would be charged for.
    used = None if device.startswith("cpu") else _gpu_used()
    before = used() if used else 0.0

    def watch() -> None:
        while used and not done.wait(EVERY):
            peak["mb"] = max(peak.get("mb", 0.0), used() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def _gpu_used() -> Callable[[], float] | None:
    """Return a function that reads the first GPU's memory in use, in MiB, from NVIDIA's library; None without it."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
        return None

    def used() -> float:
        nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
        return float(memory.used) / 1024**2

    return used


def _gpu_name() -> str | None:
    """Return the first GPU's name as the driver's tool reports it; None without a GPU."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return None
    command = [path, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or None if done.returncode == 0 else None


def _tables(options: Options, made: dict[str, dict[str, Any]]) -> Iterator[Table | str]:
    """Seconds, then metrics, by rows and member; a column a device that anything is known of."""
    asked = {(rows, kind): f"{rows} {kind}" for rows in options.rows for kind in options.kinds}
    devices = [
        device
        for device in sorted({key.split()[2] for key in made}, key=_order)
        if any(f"{start} {device} {options.rounds}" in made for start in asked.values())
    ]
    about = f"{COLUMNS} columns, two tasks, {options.rounds} rounds"
    seconds = Table("rows", "member", *devices)
    metrics = Table("rows", "member", "metric", *devices)
    for (rows, kind), start in asked.items():
        results = [made.get(f"{start} {device} {options.rounds}") for device in devices]
        seconds.add_row(f"{rows:,}", kind, *(_seconds(result) for result in results))
        for task, metric in METRICS.items():
            cells = ("–" if result is None else f"{result[task]:.5f}" for result in results)
            metrics.add_row(f"{rows:,}", kind, f"{task}, {metric}", *cells)
    yield f"Seconds of a fit (MiB of the GPU): {about}"
    yield seconds
    yield "On test"
    yield metrics


def _order(device: str) -> tuple[int, int]:
    name, _, threads = device.partition(":")
    return ("cpu", "gpu", "cuda").index(name), int(threads or 0)


def _seconds(result: dict[str, Any] | None) -> str:
    if result is None:
        return "–"
    on_gpu = result["gpu_mb"] if result["device"] != "cpu" else None
    return f"{result['seconds']:.1f}" + (f" ({on_gpu:,.0f})" if on_gpu else "")


if __name__ == "__main__":
    rows_argument, kind_argument, device_argument, rounds_argument = sys.argv[1:]
    told = fit(int(rows_argument), kind_argument, device_argument, int(rounds_argument))  # type: ignore[arg-type]
    print(json.dumps({**told, "device": device_argument.partition(":")[0]}))
