"""The frontier of smaller models of finished runs, in include/docs/results.md; nothing is written to their store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from mtl_tasks.metrics.catalog import CATALOG
from mtl_tasks.pipeline.compress import find_frontier
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.output import make_table

SCENARIOS: Final = ("social", "ecommerce")
BUDGET: Final = 0.25
HEADINGS: Final = ("scenario", "model", "cost", "trees", "CPU s / million rows", "task", "metric")
WINDOWS: Final = ("blend", "test")


def main(store: str, console: Console) -> None:
    """Print the table."""
    opened = Store(store, key_from(os.environ))
    gains = [f"{window} − teacher" for window in WINDOWS]
    rows: list[tuple[str, ...]] = []
    for scenario in SCENARIOS:
        teacher = _newest(opened, scenario)
        if teacher is not None:
            console.print(f"{scenario} …")
            rows += table(find_frontier(opened, teacher, BUDGET).to_json())
    console.print(make_table([*HEADINGS, *gains], [*HEADINGS[2:5], *gains], rows))


def _newest(store: Store, scenario: str) -> RunRecord | None:
    """Return the newest promoted run that is no compressed one; None if there is none."""
    runs = Registry(store, scenario).standing()
    return next((run for run in reversed(runs) if _teacher(run) is None), None)


def _teacher(run: RunRecord) -> str | None:
    section: dict[str, Any] = run.scenario_document.get("compression", {})
    return section.get("teacher")


def table(frontier: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each task of each point, cheapest first; a task's values are those of the teacher below."""
    rows: list[tuple[str, ...]] = []
    for point in frontier["points"]:
        name = f"**{point['name']}**" if point["name"] == frontier["chosen"] else point["name"]
        spent = (f"{point['ratio']:.3f}", f"{point['trees']:,}", f"{point['cpu_seconds_per_million']:.0f}")
        about = (name, *spent)
        for task in point["tasks"]["blend"]:
            found = [point["tasks"].get(window, {}).get(task) for window in WINDOWS]
            title = frontier["scenario"] if not rows else ""
            metric = CATALOG[point["tasks"]["blend"][task]["metric"]].heading
            shown = [_shown(one, point["name"]) for one in found]
            rows.append((title, *about, task, metric, *shown))
            about = ("",) * len(about)
    return rows


def _shown(found: Mapping[str, Any] | None, name: str) -> str:
    """Return a cell; a candidate that is not chosen has no metric on test."""
    if found is None:
        return ""
    return _value(found) if name == "teacher" else _gain(found["gain"])


def _value(found: Mapping[str, Any]) -> str:
    return "–" if found["value"] is None else f"{found['value']:.4f}"


def _gain(gain: Mapping[str, Any]) -> str:
    if gain["value"] is None or gain["low"] is None:
        return "–"
    return f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]".replace("-", "−")
