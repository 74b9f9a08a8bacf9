"""Work of shards, in a module of its own, so that workers find it."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.executor import Shard, ShardResult
from mtl_tasks.pipeline.stages.inputs import load_events

STARTS = "MTL_TEST_STARTS"  # environment variable: folder in which each start of a shard leaves a file


def count_events(run: Run, inputs: Inputs, shard: Shard) -> ShardResult:
    """Count the events of the shard's users."""
    events = load_events(run, inputs).frame
    counted = events.groupby(columns.USER, as_index=False).size()
    own = counted[counted[columns.USER].isin(shard.of(counted[columns.USER].to_numpy()))]
    _note(shard)
    return ShardResult(own.reset_index(drop=True), {"users": len(own), "allocator": os.environ.get(_TRIM)})


def die_once(run: Run, inputs: Inputs, shard: Shard) -> ShardResult:
    """As :func:`count_events`, but the first start of the first shard kills its process."""
    if shard.index == 0 and len(_note(shard)) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return count_events(run, inputs, shard)


def always_die(run: Run, inputs: Inputs, shard: Shard) -> ShardResult:
    """Kill the process at each start of the first shard."""
    if shard.index == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return count_events(run, inputs, shard)


def refuse(run: Run, inputs: Inputs, shard: Shard) -> ShardResult:
    """Fail as a stage does."""
    _note(shard)
    raise DataError(f"shard {shard.index}: these rows cannot be used")


def lose_disk(run: Run, inputs: Inputs, shard: Shard) -> ShardResult:
    """Fail as a full disk of the worker does."""
    raise OSError(errno.ENOSPC, "No space left on device")


_TRIM = "MALLOC_TRIM_THRESHOLD_"


def _note(shard: Shard) -> list[Path]:
    """Leave a file for this start of a shard, and return those of all its starts."""
    folder = Path(os.environ[STARTS])
    (folder / f"{shard.index}.{time.monotonic_ns()}").touch()
    return list(folder.glob(f"{shard.index}.*"))
