"""Estimates of the time and memory of a run on a cluster, from what earlier runs took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, NamedTuple

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.stages import stage_position
from mtl_tasks.pipeline.past_documents import run_usages
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.data import ShardedUsage
from mtl_tasks.store.run_costs import newest_runs

MEASURED: Final = "measured"
_SAME: Final = 0.05  # relative difference of rows below which a run counts as one of the same size
_GIB: Final = 1024


@dataclass(frozen=True)
class StageEstimate:
    """Time and memory of a stage.

    Attributes
    ----------
    minutes
        Wall time.
    process_gib
        Peak memory of the stage's own process, in GiB.
    worker_gib
        Peak memory of each worker, in GiB; None for a stage without shards.
    basis
        ``measured``, or what was assumed, as a phrase.
    """

    minutes: float
    process_gib: float
    worker_gib: float | None
    basis: str


@dataclass(frozen=True)
class RunEstimate:
    """Time and memory of a run.

    Attributes
    ----------
    rows
        Of the validated log, for which the estimate is.
    workers
        Processes that shards run on.
    runs
        Number of earlier runs that it is made from.
    stages
        By name, in the order of a run.
    """

    rows: int
    workers: int
    runs: int
    stages: dict[str, StageEstimate]

    @property
    def minutes(self) -> float:
        """Wall time of all stages one after the other."""
        return sum(stage.minutes for stage in self.stages.values())

    @property
    def largest_gib(self) -> float:
        """Largest memory of a stage with all of its workers, in GiB."""
        return max(one.process_gib + (one.worker_gib or 0.0) * self.workers for one in self.stages.values())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {**asdict(self), "minutes": self.minutes, "largest_gib": self.largest_gib}


def estimate_run(store: Store, scenario: str, workers: int, rows: int | None = None) -> RunEstimate:
    """Estimate what a run takes from the newest runs of a scenario.

    Time, and the memory above that of the run's smallest stage, are taken as proportional to the rows of the log. The
    work of shards is divided among the workers, but for what each of them repeats.

    Parameters
    ----------
    rows
        Rows of the validated log; None: those of the newest run.

    Raises
    ------
    ArtifactError
        If there is no run yet, or a record or a manifest is damaged.
    """
    known = [
        (entry.refs["validate"].rows, run_usages(store, entry))
        for entry in newest_runs(store, scenario)
        if "validate" in entry.refs and entry.refs["validate"].rows
    ]
    if not known:
        raise ArtifactError(
            f"{scenario}: no run to estimate from: make one first, of fewer days of the log if need be, and give the "
            "rows of the larger log with --rows"
        )
    wanted = rows or known[-1][0]
    names = sorted({name for _, usages in known for name in usages}, key=lambda name: (stage_position(name), name))
    stages = {
        name: _stage([_Known.of(wanted / count, usages, name) for count, usages in known if name in usages], workers)
        for name in names
    }
    return RunEstimate(wanted, workers, len(known), stages)


class _Known(NamedTuple):
    """Usage of a stage in an earlier run.

    Attributes
    ----------
    scale
        Factor from the run's rows to those wanted.
    least_mb
        Peak memory of the run's smallest stage in MiB: that of the libraries, whatever the log.
    """

    scale: float
    least_mb: float
    usage: ShardedUsage

    @classmethod
    def of(cls, scale: float, usages: Mapping[str, ShardedUsage], name: str) -> _Known:
        return cls(scale, min(usage.peak_rss_mb for usage in usages.values()), usages[name])

    @property
    def same_rows(self) -> bool:
        return abs(self.scale - 1) <= _SAME

    def memory(self, measured_mb: float) -> float:
        """Return the memory, in MiB, of a process that had a measured one."""
        return self.least_mb + max(measured_mb - self.least_mb, 0.0) * self.scale


def _stage(known: list[_Known], workers: int) -> StageEstimate:
    """Return the estimate of a stage; runs of the same size on as many workers take precedence."""
    like = [one for one in known if one.same_rows and one.usage.shards in (0, workers)]
    known = like or known
    peaks = [one.memory(one.usage.shard_peak_mb) for one in known if one.usage.shard_peak_mb is not None]
    process = max(one.memory(one.usage.peak_rss_mb) for one in known)
    sharded = any(one.usage.shards for one in known)
    return StageEstimate(
        minutes=median(one.scale * _seconds(one.usage, workers) for one in known) / 60,
        process_gib=process / _GIB,
        worker_gib=max(peaks, default=process) / _GIB if sharded and workers > 1 else None,
        basis=MEASURED if like else _basis(known[-1], workers),
    )


def _seconds(usage: ShardedUsage, workers: int) -> float:
    """Return the time of a stage on a number of workers, on its own rows."""
    if usage.shards in (0, workers):
        return usage.seconds
    alone = usage.seconds - usage.sharded_seconds
    divided = usage.shard_seconds - usage.common_seconds
    return alone + usage.common_seconds / usage.shards + divided / workers


def _basis(newest: _Known, workers: int) -> str:
    """Say what was assumed, in the terms of the newest run."""
    usage = newest.usage
    said = [] if newest.same_rows else [f"rows x {newest.scale:.3g}"]
    if usage.shards not in (0, workers):
        common = usage.common_seconds / usage.shard_seconds if usage.shard_seconds else 0.0
        said.append(f"{usage.shards} -> {workers} workers, {common:.0%} of a shard's time repeated")
        if workers > 1 and usage.shard_peak_mb is None:
            said.append("a worker's memory taken as that of one process")
    return "extrapolated: " + "; ".join(said)
