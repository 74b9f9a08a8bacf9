"""Numbers about a run that a monitoring system collects: of a stage, and of a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.pipeline.stages import find_record
from mtl_tasks.store.registry import Registry, Snapshot
from mtl_tasks.store.sealing import StoreKey


class Measure(NamedTuple):
    """A number.

    Attributes
    ----------
    kind
        ``counter`` adds the value to what was counted before; ``gauge`` replaces it.
    tags
        What it is about, the scenario first.
    """

    kind: Literal["counter", "gauge"]
    name: str
    value: float
    tags: dict[str, str]


def stage_measures(scenario: str, result: StageResult) -> Iterator[Measure]:
    """Yield the numbers of a finished stage: rows, and if it was made now, quarantined rows, seconds and peak MiB."""
    tags = {"scenario": scenario, "stage": result.stage.replace(":", "_")}
    yield Measure("gauge", "stage_rows", result.ref.rows, tags)
    if "quarantined" in result.summary:
        yield Measure("gauge", "quarantined_rows", result.summary["quarantined"], {"scenario": scenario})
    if not result.reused:
        yield Measure("gauge", "stage_seconds", result.seconds, tags)
        yield Measure("gauge", "stage_peak_mib", result.peak_rss_mb, tags)


def verdict_measures(run_spec: RunSpec, upstream: UpstreamResults, key: StoreKey | None = None) -> Iterator[Measure]:
    """Yield the numbers of a run with a verdict: its decision, its metrics, and the age of today's champion.

    The gauges are those of the newest day with a run: a backfill of earlier days is counted and changes none of them.

    Parameters
    ----------
    upstream
        Results of the run, that of the stage ``gate`` among them.
    key
        The key that seals the store's documents.

    Raises
    ------
    MtlError
        If the registry cannot be read, or has no record of the run.
    """
    run = run_spec.open(key)
    scenario = run.scenario.name
    snapshot = Registry(run.store, scenario).read()
    entry = find_record(run, upstream["gate"].ref, snapshot)
    made = PastRun(entry, tuple(snapshot.rulings(entry.run_key)), snapshot.standing_of(entry), run.store)
    yield Measure("counter", "verdicts", 1, {"scenario": scenario, "standing": made.standing.replace(" ", "_")})
    if any(other.as_of > entry.as_of for other in snapshot.entries):
        return
    for task, metrics in made.metrics.items():
        for name, measured in metrics.items():
            if measured.value is not None:
                yield Measure("gauge", "metric", measured.value, {"scenario": scenario, "task": task, "metric": name})
    yield from _champion_age(scenario, run.as_of, snapshot)


def _champion_age(scenario: str, as_of: AsOf, snapshot: Snapshot) -> Iterator[Measure]:
    champion = snapshot.champion()
    if champion is not None:
        age = as_of.day - AsOf.parse(champion.as_of).day
        yield Measure("gauge", "champion_age_days", age, {"scenario": scenario})
