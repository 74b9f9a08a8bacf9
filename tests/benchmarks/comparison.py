"""Comparison of the fits of one problem: metrics, gains with their standard errors, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from mtl_tasks.metrics.bootstrap import UserBootstrap
from mtl_tasks.metrics.catalog import Prepared, compute, improvement, primary
from mtl_tasks.models.calibration import logit, sigmoid
from tests.benchmarks.catalog import EQUAL_SIZE, METHODS, REFERENCE
from tests.benchmarks.problems import Problem

Floats = NDArray[np.float64]
REPLICATES: Final = 200
FEW_POSITIVES: Final = 200
BEST: Final = "the truth"


@dataclass(frozen=True)
class Trial:
    """One fit: what it cost, and what it predicts on test."""

    facts: dict[str, Any]
    predictions: dict[str, Floats]


Trials = Mapping[tuple[str, int, int], Trial]  # by method, draw and seed


def compare(problems: Mapping[int, Problem], methods: list[str], trials: Trials) -> dict[str, Any]:
    """Return quality by task and method, and cost by method, of the methods with all of their fits."""
    there = [
        method for method in methods if all((*part, seed) in trials for part in parts_of(method) for seed in problems)
    ]
    tasks = next(iter(problems.values())).scenario.tasks
    return {
        "seeds": list(problems),
        "tasks": {task: _quality(task, problems, there, trials) for task in tasks},
        "costs": {method: _cost(method, problems, trials) for method in there},
    }


def parts_of(method: str) -> tuple[tuple[str, int], ...]:
    """The fits that a method is made of."""
    return METHODS[method].parts or ((method, 0),)


def _quality(task: str, problems: Mapping[int, Problem], methods: list[str], trials: Trials) -> dict[str, Any]:
    kind = next(iter(problems.values())).scenario.tasks[task].kind
    metric = primary(kind)
    values: dict[str, list[float]] = {}
    spreads: dict[str, list[Floats]] = {}
    positives = []
    for seed, problem in problems.items():
        test = problem.rows("test")
        label = problem.labels[task][test].astype(np.float64)
        seen = np.isfinite(label)
        label = label[seen]
        positives.append(int((label == 1).sum()) if kind == "binary" else len(label))
        scores = {method: _mean(method, task, kind, seed, trials)[seen] for method in methods}
        if task in problem.truth:
            values.setdefault(BEST, []).append(compute(metric, label, problem.truth[task][test][seen]))
        prepared = {method: Prepared(metric, label, score) for method, score in scores.items()}
        draws = UserBootstrap(problem.users[test][seen], REPLICATES, seed=7).replicate(prepared)
        for method, score in scores.items():
            values.setdefault(method, []).append(compute(metric, label, score))
            spreads.setdefault(method, []).append(draws[method])
    return {
        "metric": metric,
        "test_positives" if kind == "binary" else "test_rows": positives,
        "too_few": kind == "binary" and min(positives) < FEW_POSITIVES,
        "truth": _average(values.pop(BEST)) if BEST in values else None,
        "methods": {method: _judged(method, metric, values, spreads, trials, task, problems) for method in methods},
    }


def _mean(method: str, task: str, kind: str, seed: int, trials: Trials) -> Floats:
    scores = [trials[(*part, seed)].predictions[task].astype(np.float64) for part in parts_of(method)]
    if kind == "regression" or len(scores) == 1:
        return np.asarray(np.mean(scores, axis=0))
    return sigmoid(np.mean([logit(score) for score in scores], axis=0))


def _judged(
    method: str,
    metric: str,
    values: Mapping[str, list[float]],
    spreads: Mapping[str, list[Floats]],
    trials: Trials,
    task: str,
    problems: Mapping[int, Problem],
) -> dict[str, Any]:
    judged: dict[str, Any] = {"value": _average(values[method]), "values": values[method]}
    for name, other in (("gain", REFERENCE), ("over_equal_size", EQUAL_SIZE.get(method))):
        if other in values and other != method:
            judged[name] = _gain(method, other, metric, values, spreads)
    if not METHODS[method].parts:
        judged["rounds"] = [trials[method, 0, seed].facts["rounds"].get(task) for seed in problems]
    return judged


def _gain(
    method: str, other: str, metric: str, values: Mapping[str, list[float]], spreads: Mapping[str, list[Floats]]
) -> dict[str, float]:
    """Mean improvement over the seeds; its standard error from draws of users that all seeds and methods share."""
    gains = [improvement(metric, mine, its) for mine, its in zip(values[method], values[other], strict=True)]
    sign = improvement(metric, 1.0, 0.0)
    drawn = sign * np.mean([mine - its for mine, its in zip(spreads[method], spreads[other], strict=True)], axis=0)
    return {"value": _average(gains), "se": float(np.nanstd(drawn, ddof=1))}


def _cost(method: str, problems: Mapping[int, Problem], trials: Trials) -> dict[str, float]:
    """Mean over the seeds; the fits of a mean add up, its peak is the largest of them."""

    def over_parts(what: str, measure: str, take: Any) -> float:
        return _average(
            [take(trials[(*part, seed)].facts[what][measure] for part in parts_of(method)) for seed in problems]
        )

    return {
        "fits": len(parts_of(method)),
        "fit_cpu_seconds": over_parts("fit", "cpu_seconds", sum),
        "fit_wall_seconds": over_parts("fit", "seconds", sum),
        "peak_mb": over_parts("fit", "peak_rss_mb", max),
        "predict_cpu_seconds": over_parts("predict", "cpu_seconds", sum),
    }


def quality_table(name: str, made: Mapping[str, Any], notes: list[str]) -> Table:
    """One row a task and method."""
    table = Table(
        title=f"{name}: test metric, gain (positive is better) ± its user-clustered standard error",
        caption="\n".join([f"Mean over seeds {made['seeds']}.", *notes]),
    )
    for column in ("task", "method", "value", "gain over independent", "over equal size", "rounds"):
        table.add_column(column, justify="left" if column in ("task", "method") else "right", no_wrap=True)
    for task, quality in made["tasks"].items():
        heads = [f"{task}, {quality['metric']}"]
        if quality["too_few"]:
            heads += [f"{min(quality['test_positives'])} positives:", "too few to rank"]
        rows = [
            (method, _number(judged["value"]), _gained(judged, "gain"), _gained(judged, "over_equal_size"),
             _mean_rounds(judged.get("rounds")))
            for method, judged in quality["methods"].items()
        ]  # fmt: skip
        if quality["truth"] is not None:
            rows.append((BEST, _number(quality["truth"]), "", "", ""))
        for number, row in enumerate(rows):
            table.add_row(heads[number] if number < len(heads) else "", *row, end_section=number == len(rows) - 1)
    return table


def cost_table(name: str, made: Mapping[str, Any], threads: int) -> Table:
    """One row a method."""
    table = Table(
        title=f"{name}: cost of all tasks, {threads} thread(s) a fit",
        caption="CPU and wall seconds of fitting all tasks, without loading data; CPU seconds of predicting test.\n"
        "Peak: resident memory of the process while it fits, the data it learns from included.",
    )
    columns = ("method", "fits", "CPU s", "× independent", "wall s", "peak MiB", "predict, CPU s")
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    reference = made["costs"].get(REFERENCE, {}).get("fit_cpu_seconds")
    for method, cost in made["costs"].items():
        ratio = f"{cost['fit_cpu_seconds'] / reference:.2f}" if reference else "–"
        table.add_row(
            method,
            str(cost["fits"]),
            f"{cost['fit_cpu_seconds']:.1f}",
            ratio,
            f"{cost['fit_wall_seconds']:.1f}",
            f"{cost['peak_mb']:.0f}",
            f"{cost['predict_cpu_seconds']:.2f}",
        )
    return table


def _gained(judged: Mapping[str, Any], name: str) -> str:
    gain = judged.get(name)
    return "" if gain is None else f"{gain['value']:+.4f} ± {gain['se']:.4f}"


def _mean_rounds(rounds: list[Any] | None) -> str:
    counts = [np.mean(entry) for entry in rounds or [] if entry is not None]
    return f"{np.mean(counts):.0f}" if counts else "–"


def _number(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "–"


def _average(values: list[float]) -> float:
    return float(np.mean(values))
