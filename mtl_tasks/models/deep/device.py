"""JAX: whether it is there, and the device that a network is trained on."""

from __future__ import annotations

import logging
from typing import Any, Final

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.extras import require_package

# Compiler options by device. On a CPU sums are in the order of one thread: equal bytes with any number of cores.
OPTIONS: Final[dict[str, dict[str, Any]]] = {"cpu": {"xla_cpu_multi_thread_eigen": False}, "gpu": {}}

log = logging.getLogger(__name__)


def check_installed() -> None:
    """Raise :class:`ConfigError` if JAX is missing."""
    require_package("jax", "deep", "members: 'deep' is trained with JAX", "leave the member out")


def resolve_device(asked: str) -> str:
    """Return ``cpu`` or ``gpu``; ``auto`` takes a GPU if JAX has one, else the CPU.

    Raises
    ------
    ConfigError
        If JAX is missing, or has no GPU and one is requested.
    """
    check_installed()
    if asked == "cpu":
        return asked
    problem = _gpu_problem()
    if problem is None:
        return "gpu"
    if asked == "gpu":
        raise ConfigError(
            f"deep.device: 'gpu' was requested, but JAX has none here ({problem}): install JAX for the GPU, such as "
            "jax[cuda13], or set deep.device to 'auto' or 'cpu'"
        )
    log.warning("deep.device 'auto': networks are trained on the CPU (%s)", problem)
    return "cpu"


def jax_device(name: str) -> Any:
    """Return JAX's first device of a kind, ``cpu`` or ``gpu``."""
    import jax

    return jax.devices(name)[0]


def _gpu_problem() -> str | None:
    import jax

    try:
        jax.devices("gpu")
    except RuntimeError as error:
        return str(error).partition("\n")[0].rstrip(".")
    return None
