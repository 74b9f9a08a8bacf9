"""Work of shards, in a module of its own, so that workers find it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError
from mtl_tasks.pipeline.executor import Shard, ShardResult, ShardWork

STARTS = "MTL_TEST_STARTS"  # environment variable: folder in which each start of a shard leaves a file
VICTIM = "victim"  # file of a shard's work: the id of the process to kill
_TRIM = "MALLOC_TRIM_THRESHOLD_"


class CountEvents(ShardWork):
    """Counts the events of the shard's users."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        counted = self.log.frame.groupby(columns.USER, as_index=False).size()
        own = counted[counted[columns.USER].isin(tables["users"][columns.USER])]
        note_start(shard)
        document = {"users": len(own), "allocator": os.environ.get(_TRIM)}
        return ShardResult({"counts": own.reset_index(drop=True)}, document)


class DieOnce(CountEvents):
    """As :class:`CountEvents`, but the first start of the first shard kills its process."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        if shard.index == 0 and len(note_start(shard)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(shard, tables)


class AlwaysDie(CountEvents):
    """Kills the process at each start of the first shard."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        if shard.index == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(shard, tables)


class KillAnother(CountEvents):
    """Kills the process that a file names, and never ends by itself."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        os.kill(int(self.files[VICTIM]), signal.SIGKILL)
        signal.pause()
        raise AssertionError("the process that runs this is killed")


class Refuse(CountEvents):
    """Fails as a stage does."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        note_start(shard)
        raise DataError(f"shard {shard.index}: these rows cannot be used")


class LoseDisk(CountEvents):
    """Fails as a full disk of the worker does."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        raise OSError(errno.ENOSPC, "No space left on device")


def note_start(shard: Shard) -> list[Path]:
    """Leave a file for this start of a shard, and return those of all its starts."""
    folder = Path(os.environ[STARTS])
    (folder / f"{shard.index}.{time.monotonic_ns()}").touch()
    return list(folder.glob(f"{shard.index}.*"))
