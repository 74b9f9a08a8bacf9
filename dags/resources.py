"""Where tasks run: the queue of the machine that has what they need, and the pool that counts its threads.

Set-up creates the pools (`include/airflow/env.sh`, the compose file). A slot of `cpu_heavy` is a thread, one of `gpu`
is a device. A task that asks for more slots than its pool has is never started.
"""

from typing import Any

from mtl_tasks.scenario import Scenario

CPU_POOL, GPU_POOL = "cpu_heavy", "gpu"
CPU_QUEUE, GPU_QUEUE = "default", "gpu"


def on_cpu(threads: int = 1) -> dict[str, Any]:
    """Return where work on the processor goes."""
    return {"pool": CPU_POOL, "pool_slots": threads, "queue": CPU_QUEUE}


def on_gpu() -> dict[str, Any]:
    """Return where work on a GPU goes."""
    return {"pool": GPU_POOL, "pool_slots": 1, "queue": GPU_QUEUE}


def for_factors(scenario: Scenario) -> dict[str, Any]:
    """Return where the scenario's factors are fitted."""
    return on_gpu() if scenario.factors.device == "gpu" else on_cpu()
