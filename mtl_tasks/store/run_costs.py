"""Time and memory of past runs by stage, for planning the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import median
from typing import Any, Final

from mtl_tasks.core.documents import validate
from mtl_tasks.core.stages import stage_position
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.documents.data import ShardedUsage, Usage
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.safe_files import FileStatus

RUNS: Final = 5
KEPT_USAGES: Final = 4096  # of stages; about 1 kB each


@dataclass(frozen=True)
class Cost:
    """Time and memory of a stage.

    Attributes
    ----------
    seconds
        Wall time, the median over the runs.
    peak_mb
        Peak memory of its process in MiB, the maximum over the runs.
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class PastCosts:
    """Time and memory of the newest runs.

    Attributes
    ----------
    stages
        By name, in run order.
    """

    runs: int
    stages: dict[str, Cost]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return asdict(self)

    def line(self) -> str:
        """Return the total over all stages as a sentence."""
        if not self.stages:
            return "no run yet."
        seconds = sum(cost.seconds for cost in self.stages.values())
        peak = max(cost.peak_mb for cost in self.stages.values())
        newest = "newest run" if self.runs == 1 else f"newest {self.runs} runs"
        return f"the {newest} took {coarse_time(seconds)} in all stages, and at most {_memory(peak)}."

    def rows(self) -> list[tuple[str, str, str]]:
        """Return stage, time and memory as text."""
        return [(name, coarse_time(cost.seconds), _memory(cost.peak_mb)) for name, cost in self.stages.items()]


def read_costs(store: Store, scenario: str, usages_of: Callable[[Store, RunRecord], Mapping[str, Usage]]) -> PastCosts:
    """Return the costs of the newest runs of a scenario, at most ``RUNS`` of them.

    Parameters
    ----------
    usages_of
        Returns the usage of each stage of a run, such as :func:`stage_usages`.

    Raises
    ------
    ArtifactError
        If a record or a manifest is damaged.
    """
    usages = [usages_of(store, entry) for entry in newest_runs(store, scenario)]
    known = sorted({stage for usage in usages for stage in usage}, key=lambda stage: (stage_position(stage), stage))
    stages = {stage: _cost([usage[stage] for usage in usages if stage in usage]) for stage in known}
    return PastCosts(len(usages), stages)


def newest_runs(store: Store, scenario: str) -> list[RunRecord]:
    """Return the records of the newest runs, at most ``RUNS``."""
    return Registry(store, scenario).entries()[-RUNS:]


@dataclass(frozen=True)
class RunCost:
    """Time and memory of one run.

    Attributes
    ----------
    seconds, cpu_seconds
        Wall and CPU time by stage, in run order. An artifact that several runs share is counted in each of them.
    peak_mb
        The largest peak memory of a stage's process in MiB; None if no stage's usage is left.
    pruned
        Names of the stages whose artifact, and with it the usage, is not in the store any more.
    """

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    peak_mb: float | None
    pruned: tuple[str, ...]

    @property
    def longest(self) -> list[str]:
        """Names of the stages, the longest wall time first."""
        return sorted(self.seconds, key=lambda stage: -self.seconds[stage])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {**asdict(self), "pruned": list(self.pruned)}


def read_cost(store: Store, entry: RunRecord) -> RunCost:
    """Return what a run has cost.

    Raises
    ------
    ArtifactError
        If a manifest is damaged.
    """
    usages = stage_usages(store, entry)
    known = [stage for stage in entry.stages if stage in usages]
    return RunCost(
        seconds={stage: usages[stage].seconds for stage in known},
        cpu_seconds={stage: usages[stage].cpu_seconds for stage in known},
        peak_mb=max((usage.peak_rss_mb for usage in usages.values()), default=None),
        pruned=tuple(stage for stage in entry.stages if stage not in usages),
    )


def stage_usages(store: Store, entry: RunRecord) -> dict[str, ShardedUsage]:
    """Return the usage of each stage whose artifact still exists; old ones may have been pruned."""
    there = {stage: store.manifest_status(ref) for stage, ref in entry.refs.items()}
    found = {stage: _usage(store, entry.refs[stage], status) for stage, status in there.items() if status is not None}
    return {stage: usage for stage, usage in found.items() if usage is not None}


@lru_cache(maxsize=KEPT_USAGES)
def _usage(store: Store, ref: Ref, seen: FileStatus) -> ShardedUsage | None:
    """Return a stage's usage, read again only after its manifest has changed; None if it was removed just now."""
    artifact = store.look_up(ref)
    return None if artifact is None else usage_of(artifact)


def usage_of(artifact: Artifact) -> ShardedUsage:
    """Return what a stage's artifact took to make."""
    return validate(ShardedUsage, artifact.manifest["usage"], f"{artifact.folder}: usage")


def _cost(usages: Sequence[Usage]) -> Cost:
    return Cost(median(usage.seconds for usage in usages), max(usage.peak_rss_mb for usage in usages))


def coarse_time(seconds: float) -> str:
    """Format a duration as coarsely as planning needs.

    >>> coarse_time(0.42), coarse_time(7.26), coarse_time(49), coarse_time(131), coarse_time(4200)
    ('under 1 s', '7 s', '50 s', '2 min', '70 min')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{round(seconds) if seconds < 10 else round(seconds, -1):.0f} s"
    return f"{round(seconds / 60):.0f} min"


def _memory(mebibytes: float) -> str:
    """Format an amount of memory, rounded to 100 MiB.

    >>> _memory(312.4), _memory(1433.0)
    ('300 MiB', '1.4 GiB')
    """
    return f"{round(mebibytes, -2):.0f} MiB" if mebibytes < 950 else f"{mebibytes / 1024:.1f} GiB"
