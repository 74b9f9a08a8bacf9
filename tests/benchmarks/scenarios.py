"""The table of all scenarios in include/docs/results.md, from the newest run of each in a store; nothing is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from mtl_tasks.core.columns import ITEM, USER
from mtl_tasks.metrics.catalog import primary
from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.output import make_table

HEADINGS = (
    *("scenario", "as of", "rows", "users", "items", "task", "metric"),
    *("popularity (floor)", "als", "independent", "cascade", "shared", "shared_tail", "fusion", "verdict", "CPU s"),
)
_MEMBERS = HEADINGS[7:-2]


@dataclass(frozen=True)
class Finished:
    """The newest run of a scenario."""

    scenario: Scenario
    entry: RunRecord
    artifacts: dict[str, Artifact]
    store: Store

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all stages up to the verdict, whenever they ran."""
        return float(sum(artifact.manifest["usage"]["cpu_seconds"] for artifact in self.artifacts.values()))


def main(store: str, console: Console) -> None:
    """Print the table."""
    console.print(table(Store(store, key_from(os.environ))))


def table(store: Store) -> Table:
    """Return a row a task of every scenario that has a verdict in the store."""
    names = sorted(folder.parent.name for folder in store.root.glob("*/registry"))
    rows = [cells for name in names for cells in _rows(newest(store, name))]
    return make_table(HEADINGS, ("rows", "users", "items", *_MEMBERS, "CPU s"), rows)


def newest(store: Store, name: str) -> Finished:
    """Open the last run that was entered for the latest day."""
    entry = Registry(store, name).entries()[-1]
    scenario = parse_scenario(entry.scenario_document, where=f"the registry of {name}")
    verdict = store.open(entry.refs["gate"])
    artifacts = {"gate": verdict, "resolve": store.open(entry.refs["resolve"])}
    for stage, key in verdict.manifest["inputs"].items():
        artifacts[stage] = _open(store, scenario.name, entry, stage, key)
    return Finished(scenario, entry, artifacts, store)


def _open(store: Store, name: str, entry: RunRecord, stage: str, key: str) -> Artifact:
    ref: Ref | None = entry.refs.get(stage)
    if ref is not None:
        return store.open(ref)
    found = store.find(store.folder(name, entry.as_of, stage.replace(":", "-"), key))
    assert found is not None, f"{name} as of {entry.as_of}: {stage} is not in the store any more"
    return found


def _rows(run: Finished) -> list[tuple[str, ...]]:
    events = read_events(run.store, run.artifacts["validate"], [USER, ITEM])
    sizes = [len(events), events[USER].nunique(), events[ITEM].nunique()]
    first = [run.entry.as_of, *(f"{size:,}" for size in sizes)]
    verdict = [run.entry.decision, f"{run.cpu_seconds:,.0f}"]
    rows = []
    for task, evaluation in run.artifacts["evaluate"].json("evaluation")["tasks"].items():
        metric = primary(evaluation["kind"])
        shown = {"fusion": evaluation["fusion"], **evaluation["members"]}
        values = [_value(shown.get(name.partition(" ")[0]), metric) for name in _MEMBERS]
        arrow = "↑" if metric == "auc" else "↓"
        about = [run.scenario.name, *first] if not rows else [""] * (1 + len(first))
        rows.append((*about, task, f"{metric.upper()} {arrow}", *values, *(verdict if not rows else ["", ""])))
    return rows


def _value(metrics: dict[str, Any] | None, metric: str) -> str:
    found = None if metrics is None else metrics[metric]["value"]
    return "–" if found is None else f"{found:.4f}"
