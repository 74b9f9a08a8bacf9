"""Process settings: threads of OpenMP and OpenBLAS, free memory of the allocator, and whether numba is there."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import Final, Literal

# OpenMP and OpenBLAS read these once, when they are loaded.
SETTINGS: Final = {
    # Threads that spin while they wait make two runs on one machine up to twenty times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Stages limit BLAS to one thread anyway; this saves every process the start of the others.
    "OPENBLAS_NUM_THREADS": "1",
}


def settle_threads() -> None:
    """Set the variables that the environment leaves unset; call it before numpy, LightGBM and the like are imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def release_free_memory() -> None:
    """Return the C library's free memory to the system; a no-op where it has no ``malloc_trim``.

    LightGBM frees its bins in many small pieces, whose space glibc keeps, while numpy asks the system for large arrays:
    after a fit on 4.4 million rows of 126 columns, 1.6 GB were kept and added to the memory of the refit.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def bulk_scorer() -> Literal["numba", "numpy"]:
    """Return what scores many rows by trees here; the scores are equal."""
    return "numpy" if importlib.util.find_spec("numba") is None else "numba"
