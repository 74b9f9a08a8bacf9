"""Comparison of two runs: metrics, drift, and settings that differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.evaluation.drift import compare, read_record
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.report.labels import in_order, metric
from mtl_tasks.scenario import with_new_names
from mtl_tasks.store.artifacts import Store

Json = dict[str, Any]


def compare_runs(first: PastRun, second: PastRun) -> Json:
    """Return ``metrics``, a row for each task's metric, and ``settings``, a row for each setting that differs.

    The difference is second minus first, signed so that positive is better. Each run was measured on its own test rows,
    so the interval is that of two independent values: it is too wide if the rows are the same.
    """
    return {
        "metrics": list(_metric_rows(first.metrics, second.metrics)),
        "settings": list(_setting_rows(*(_settings(run) for run in (first, second)))),
    }


def _settings(run: PastRun) -> Json:
    """Return the scenario document of a run, with former names of keys replaced."""
    return with_new_names(run.entry.scenario_document, f"run {run.entry.run_key[:12]}")[0]


def _metric_rows(first: Json, second: Json) -> Iterator[Json]:
    for task in [*first, *(name for name in second if name not in first)]:
        mine, other = first.get(task, {}), second.get(task, {})
        for name in in_order({*mine, *other}):
            a, b = mine.get(name), other.get(name)
            yield {"task": task, "metric": name, "first": a, "second": b, "difference": _difference(name, a, b)}


def _difference(name: str, first: Json | None, second: Json | None) -> Json | None:
    if first is None or second is None or first["value"] is None or second["value"] is None:
        return None
    sign = metric(name).better or 1
    gain = sign * (second["value"] - first["value"])
    ends = [part[end] for part in (first, second) for end in ("low", "high")]
    if any(end is None for end in ends):
        return {"value": gain, "low": None, "high": None}
    half = math.hypot((first["high"] - first["low"]) / 2, (second["high"] - second["low"]) / 2)
    return {"value": gain, "low": gain - half, "high": gain + half}


def compare_rows(store: Store, first: PastRun, second: PastRun) -> Json:
    """Return the drift of the second run's test rows from the first's.

    See :func:`mtl_tasks.evaluation.drift.compare`; ``problem`` says why they cannot be compared.
    """
    records = []
    for run in (first, second):
        try:
            record = read_record(store.open(run.entry.refs["evaluate"]))
        except ArtifactError as error:
            return {"problem": str(error), "shifts": [], "unmatched": []}
        if record is None:
            problem = f"the run of {run.entry.as_of} was made before distributions were recorded"
            return {"problem": problem, "shifts": [], "unmatched": []}
        records.append(record)
    return {"problem": None, **compare(*records)}


def _setting_rows(first: Json, second: Json) -> Iterator[Json]:
    mine, other = dict(_flat(first)), dict(_flat(second))
    for name in sorted({*mine, *other}):
        if mine.get(name) != other.get(name):
            yield {"setting": name, "first": mine.get(name), "second": other.get(name)}


def _flat(document: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
