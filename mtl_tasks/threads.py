"""How the threads of numerical libraries wait and multiply: told before the first of them is loaded."""

from __future__ import annotations

import os
from typing import Final

# OpenMP and OpenBLAS read these once, when they are loaded.
SETTINGS: Final = {
    # Threads that spin while they wait make two runs on one machine up to twenty times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Stages limit BLAS to one thread anyway; this way it starts no others, which every process would pay for.
    "OPENBLAS_NUM_THREADS": "1",
}


def settle_threads() -> None:
    """Set what the environment leaves open; call it before numpy, LightGBM and the like are imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
