"""Gain from a warm start on the films, by the age of the earlier model."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from mtl_tasks.metrics.bootstrap import UserBootstrap
from mtl_tasks.metrics.catalog import Prepared, compute, improvement, primary
from mtl_tasks.models import member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.pipeline.engine import measured
from tests.benchmarks.films import REFERENCE_DATE
from tests.benchmarks.movies import movies
from tests.benchmarks.problems import Problem
from tests.benchmarks.trial import changed

EARLIER: Final = {"1 day": "2013-09-01", "1 week": "2013-08-26", "7 weeks": "2013-07-15"}
KINDS: Final = ("independent", "shared")
SCRATCH: Final = "from scratch"
REPLICATES: Final = 200
RESULTS: Final = pathlib.Path(".bench/transfer.json")


def main(store: str, threads: int, console: Console) -> None:
    """Fit every kind from scratch and from each earlier day, print the table, write the JSON."""
    late = movies(store=store)
    document: dict[str, Any] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        made = {SCRATCH: _fit(kind, late, threads, None)}
        for gap, day in EARLIER.items():
            console.print(f"{kind}, from {gap} before …")
            earlier, _ = _fit(kind, movies(day, store), threads, None)
            made[gap] = _fit(kind, late, threads, earlier)
        predictions = {how: member.predict(late.table("test").features) for how, (member, _) in made.items()}
        for how, (member, usage) in made.items():
            document[kind][how] = {
                "cpu_seconds": usage["cpu_seconds"],
                "new_rounds": {
                    task: trees.own_rounds(0) + trees.shared[0] for task, trees in member.learned.trees.items()
                },
                "tasks": {task: _judged(task, how, late, predictions) for task in late.scenario.tasks},
            }
    console.print(_table(document))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"Written to {RESULTS}")


def _fit(
    kind: str, problem: Problem, threads: int, earlier: BoostedMember | None
) -> tuple[BoostedMember, dict[str, float]]:
    cls = member_class(kind)  # type: ignore[arg-type]
    assert issubclass(cls, BoostedMember)
    scenario = changed(problem.scenario, {"boosting.threads": threads})
    with measured() as usage:
        member = cls.fit(problem.table("train"), problem.table("tune"), scenario, earlier)
    return member, usage


def _new_rounds(member: BoostedMember) -> dict[str, int]:
    return {task: trees.rounds[0] - trees.inherited[0] for task, trees in member.learned.trees.items()}


def _judged(task: str, how: str, problem: Problem, predictions: dict[str, Any]) -> dict[str, float]:
    """Value on test, and what it is better by than from scratch, with its user-clustered standard error."""
    test = problem.rows("test")
    label = problem.labels[task][test].astype(np.float64)
    seen = np.isfinite(label)
    metric = primary(problem.scenario.tasks[task].kind)
    scores = {name: predictions[name][task][seen] for name in (how, SCRATCH)}
    prepared = {name: Prepared(metric, label[seen], score) for name, score in scores.items()}
    draws = UserBootstrap(problem.users[test][seen], REPLICATES, seed=7).replicate(prepared)
    value, plain = (compute(metric, label[seen], scores[name]) for name in (how, SCRATCH))
    assert value is not None
    assert plain is not None
    spread = float(np.nanstd(draws[how] - draws[SCRATCH], ddof=1))
    return {"value": value, "gain": improvement(metric, value, plain), "se": spread}


def _table(document: dict[str, Any]) -> Table:
    table = Table(
        title=f"Films as of {REFERENCE_DATE}: trees warm-started from a model that many days older",
        caption="Test metric (RMSE, AUC); gain over from scratch, positive is better, ± its standard error.",
    )
    for name in ("member", "grown", "new rounds", "CPU s", "rating", "gain", "purchase", "gain "):
        table.add_column(name, justify="left" if name in ("member", "grown") else "right", no_wrap=True)
    for kind, ways in document.items():
        for how, made in ways.items():
            cells = []
            for task in ("rating", "purchase"):
                judged = made["tasks"][task]
                gain = "" if how == SCRATCH else f"{judged['gain']:+.4f} ± {judged['se']:.4f}"
                cells += [f"{judged['value']:.4f}", gain]
            rounds = " ".join(f"{task} {count}" for task, count in made["new_rounds"].items())
            table.add_row(kind, how, rounds, f"{made['cpu_seconds']:.1f}", *cells)
    return table
