"""The device that trees grow on: the scenario's choice, tested by training on it."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from mtl_tasks.core.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)

PROBE: Final = Path(__file__).with_name("probe.py")
TIME_LIMIT: Final = 120  # seconds; the first kernels that an OpenCL driver compiles can take 30
NAMED = re.compile(r"Using GPU Device: (.+), Vendor:")
THROWN = re.compile(r"what\(\):(.+)")
ON_CPU = re.compile(r"^(pthread|cpu|basic)\b|\bCPU\b")  # names of the CPU in PoCL and Intel's driver

# Parameters of each device in addition to the scenario's settings.
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    # Reproducible to the bit; otherwise a timing may select column-wise histograms.
    "cpu": {"deterministic": True, "force_row_wise": True},
    # Predictions after many rounds differ by 2e-9 from the CPU's; in single precision, the default, by 1e-1.
    "gpu": {"gpu_use_dp": True},
    # After 60 rounds without sampling, predictions equal the CPU's in double precision; in single they are 4e-10 off.
    "cuda": {"gpu_use_dp": True},
}


@dataclass(frozen=True)
class Probed:
    """Result of a trial on a device.

    Attributes
    ----------
    problem
        Why LightGBM cannot train there, or None.
    name
        The OpenCL driver's name of the device, or None.
    """

    problem: str | None = None
    name: str | None = None

    @property
    def drawback(self) -> str | None:
        """Why ``auto`` skips the device, or None."""
        if self.problem is None and self.name is not None and ON_CPU.search(self.name):
            return f"OpenCL device {self.name!r} is the processor, for which device 'cpu' is faster"
        return self.problem


def resolve_device(asked: str) -> str:
    """Return ``cpu``, ``gpu`` (OpenCL) or ``cuda`` for LightGBM.

    Parameters
    ----------
    asked
        One of these, or ``auto``: CUDA if it works, else OpenCL on a GPU, else, with a warning, the CPU.

    Raises
    ------
    ConfigError
        If ``gpu`` or ``cuda`` is requested and cannot train here.
    """
    if asked == "cpu":
        return asked
    if asked == "auto":
        return _automatic()
    problem = probe(asked).problem
    if problem is not None:
        raise ConfigError(
            f"boosting.device: {asked!r} was requested, but LightGBM cannot use it here ({problem}): "
            f"{_remedy(asked)}, or set boosting.device to 'auto' or 'cpu'"
        )
    return asked


@contextmanager
def at_work(device: str) -> Iterator[None]:
    """Report a device that fails while trees grow, such as for lack of memory; there is no silent fallback to the CPU.

    Raises
    ------
    DeviceError
        If LightGBM fails on ``gpu`` or ``cuda``.
    """
    from lightgbm.basic import LightGBMError

    try:
        yield
    except LightGBMError as error:
        if device == "cpu":
            raise
        said = str(error).partition("\n")[0].rstrip(".")
        raise DeviceError(
            f"boosting.device: {device!r} failed while trees grew ({said}): free its memory, run fewer tasks on it, "
            "or set boosting.device to 'cpu'"
        ) from error


@cache
def probe(device: str) -> Probed:
    """Train a small model on ``gpu`` or ``cuda`` and check its scores, once per process."""
    # Without -P this folder would be searched before the standard library.
    command = [sys.executable, "-P", str(PROBE), device]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, and a device that the scenario has checked
            command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return Probed(f"a small model was not trained within {TIME_LIMIT} s")
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("\n")[2].strip()
        return Probed(said if done.returncode > 0 and said else _ended(done.returncode, done.stderr))
    named = NAMED.search(done.stdout)
    return Probed(name=named[1] if named else None)


def _ended(status: int, stderr: str) -> str:
    """Describe how a trial ended, with the C++ error if there is one: with CUDA, that of a missing driver."""
    thrown = THROWN.search(stderr)
    return f"its process ended with status {status}" + (f": {thrown[1].strip()}" if thrown else "")


@cache
def _automatic() -> str:
    drawbacks = []
    for device in ("cuda", "gpu"):
        drawback = probe(device).drawback
        if drawback is None:
            return device
        drawbacks.append(f"{device}: {drawback}")
    log.warning("boosting.device 'auto': trees grow on the CPU (%s)", "; ".join(drawbacks))
    return "cpu"


def _remedy(device: str) -> str:
    if device == "gpu":
        return (
            "install an OpenCL driver for the GPU (for NVIDIA, the driver's libnvidia-opencl.so.1, named by a file in "
            "/etc/OpenCL/vendors)"
        )
    return (
        "LightGBM's wheel on PyPI has no CUDA, and what its source builds has faults: include/bin/lightgbm-cuda.sh of "
        "this project builds it with these fixed, on a machine with the CUDA toolkit and NCCL"
    )
