"""Queues and pools of the tasks: a queue selects the machine, a pool counts its threads or GPUs.

Set-up creates the pools (`include/airflow/env.sh`, the compose file). A slot of `cpu_heavy` is a thread, one of `gpu`
a device. A task that asks for more slots than its pool has never starts.
"""

from typing import Any

from mtl_tasks.core.stages import STAGES
from mtl_tasks.scenario import Scenario

CPU_POOL, GPU_POOL = "cpu_heavy", "gpu"
CPU_QUEUE, GPU_QUEUE = "default", "gpu"


def on_cpu(threads: int = 1) -> dict[str, Any]:
    """Return the pool and queue for work on CPUs."""
    return {"pool": CPU_POOL, "pool_slots": threads, "queue": CPU_QUEUE}


def on_gpu() -> dict[str, Any]:
    """Return the pool and queue for work on a GPU."""
    return {"pool": GPU_POOL, "pool_slots": 1, "queue": GPU_QUEUE}


def for_stage(name: str, scenario: Scenario) -> dict[str, Any]:
    """Return the pool and queue of a stage's task; none for work that takes no slot. Members choose their own."""
    if name == "factors" and scenario.factors.device == "gpu":
        return on_gpu()
    return on_cpu() if STAGES[name].heavy else {}
