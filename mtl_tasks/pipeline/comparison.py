"""Comparison of two runs: metrics, drift, and settings that differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.evaluation.drift import compare_records, incomparable, read_record
from mtl_tasks.pipeline.changes import SettingRow, setting_rows, settings_of
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.report.labels import in_order, metric
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.drift import DriftReport
from mtl_tasks.store.documents.measurements import Measurement, TaskMeasurements


@dataclass(frozen=True)
class MetricRow:
    """A metric of both runs; ``difference`` is second minus first, signed so that positive is better."""

    task: str
    metric: str
    first: Measurement | None
    second: Measurement | None
    difference: Measurement | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        measured = {"first": self.first, "second": self.second, "difference": self.difference}
        values = {name: None if one is None else one.to_json() for name, one in measured.items()}
        return {"task": self.task, "metric": self.metric, **values}


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes
    ----------
    drift
        Drift of the second run's test rows from the first's.
    """

    first: PastRun
    second: PastRun
    metrics: list[MetricRow]
    settings: list[SettingRow]
    drift: DriftReport

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "metrics": [row.to_json() for row in self.metrics],
            "settings": [row.to_json() for row in self.settings],
            "drift": self.drift.to_json(),
        }


def compare_runs(store: Store, first: PastRun, second: PastRun) -> Comparison:
    """Compare two runs.

    Each run was measured on its own test rows, so the interval of a difference is that of two independent values: it is
    too wide if the rows are the same.
    """
    return Comparison(
        first,
        second,
        list(_metric_rows(first.metrics, second.metrics)),
        list(setting_rows(settings_of(first.entry), settings_of(second.entry))),
        _compare_rows(store, first, second),
    )


def _metric_rows(first: TaskMeasurements, second: TaskMeasurements) -> Iterator[MetricRow]:
    for task in [*first, *(name for name in second if name not in first)]:
        mine, other = first.get(task, {}), second.get(task, {})
        for name in in_order({*mine, *other}):
            a, b = mine.get(name), other.get(name)
            yield MetricRow(task, name, a, b, _difference(name, a, b))


def _difference(name: str, first: Measurement | None, second: Measurement | None) -> Measurement | None:
    if first is None or second is None or first.value is None or second.value is None:
        return None
    sign = metric(name).better or 1
    gain = sign * (second.value - first.value)
    if first.half_width is None or second.half_width is None:
        return Measurement(value=gain, low=None, high=None)
    half = math.hypot(first.half_width, second.half_width)
    return Measurement(value=gain, low=gain - half, high=gain + half)


def _compare_rows(store: Store, first: PastRun, second: PastRun) -> DriftReport:
    records = []
    for run in (first, second):
        try:
            record = read_record(store.open(run.entry.refs["evaluate"]))
        except ArtifactError as error:
            return incomparable(str(error))
        if record is None:
            return incomparable(f"the run of {run.entry.as_of} was made before distributions were recorded")
        records.append(record)
    return compare_records(*records)
