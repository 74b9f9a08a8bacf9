"""Regret of fusion methods on the test windows of the finished runs of a store; no model is trained."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from mtl_tasks.core import columns
from mtl_tasks.metrics.catalog import compute, improvement, primary
from mtl_tasks.models.calibration import MAPS, calibrate, clustered_mean, fit_calibration, sigmoid, significant
from mtl_tasks.models.pooling import (
    SHRINKAGES,
    PoolRows,
    choose_shrinkage,
    eligible_members,
    equal_weights,
    shrunken_weights,
    simplex_weights,
)
from mtl_tasks.scenario import BOOSTED, Scenario, parse_scenario
from mtl_tasks.store.artifacts import Artifact, Store
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import key_from

Values = NDArray[np.float64]
PENALTIES: Final = (np.inf, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # relative to the curvature of the loss
BAGS: Final = 20
STEPS: Final = 10  # of a greedy selection
HALVES: Final = 4  # random halves of the blend users of each run
UNIT: Final = 1e-4  # of AUC or RMSE


@dataclass(frozen=True)
class Pool:
    """Weights (members,) and an offset, which together give a score."""

    weights: Values
    offset: float = 0.0

    def score(self, rows: PoolRows) -> Values:
        """Return values or log-odds, float64 (n,)."""
        return np.asarray(rows.inputs @ self.weights + self.offset)


Method = Callable[[PoolRows], Pool]


@dataclass(frozen=True)
class Case:
    """A task of a finished run: the labeled rows of blend and of test."""

    run: str
    scenario: str
    task: str
    blend: PoolRows
    test: PoolRows

    @property
    def metric(self) -> str:
        """The primary metric of the task."""
        return primary(self.blend.kind)

    def value(self, pool: Pool) -> float:
        """Return the metric of a pool on test."""
        return compute(self.metric, self.test.label, pool.score(self.test))

    def best_member(self) -> float:
        """Return the metric of the member that is the best on test."""
        values = [self.value(Pool(one)) for one in np.eye(len(self.test.members))]
        return min(values) if self.blend.kind == "regression" else max(values)


def best_single(rows: PoolRows) -> Pool:
    """The member with the least loss."""
    losses = [rows.row_losses(score).mean() for score in rows.inputs.T]
    return Pool(np.eye(len(rows.members))[int(np.argmin(losses))])


def boosted_mean(rows: PoolRows) -> Pool:
    """Equal weights of the boosted members; of all where none is."""
    boosted = np.array([name in BOOSTED for name in rows.members])
    return Pool(equal_weights(boosted if boosted.any() else ~boosted))


def boosted_unless_single(rows: PoolRows) -> Pool:
    """The mean of the boosted members unless a single member beats it significantly."""
    mean, single = boosted_mean(rows), best_single(rows)
    gain = rows.row_losses(mean.score(rows)) - rows.row_losses(single.score(rows))
    return single if significant(gain, rows.users) else mean


def single_unless_mixture(rows: PoolRows) -> Pool:
    """The rule of releases before 0.2: the best member unless the mean or fitted weights beat it significantly."""
    single = best_single(rows)
    held = {"mean": rows.inputs.mean(axis=1), "weighted": rows.held_out_scores(simplex_weights)}
    losses = {name: rows.row_losses(score) for name, score in held.items()}
    name = min(losses, key=lambda one: losses[one].mean())
    if not significant(rows.row_losses(single.score(rows)) - losses[name], rows.users):
        return single
    return Pool(simplex_weights(rows)) if name == "weighted" else _mean(rows)


def shrunken(rows: PoolRows) -> Pool:
    """The method ``auto``."""
    return Pool(shrunken_weights(rows, choose_shrinkage(rows).chosen))


def least_loss_shrinkage(rows: PoolRows) -> Pool:
    """Shrinkage by the least cross-fitted loss, without the rule of one standard error."""
    losses = choose_shrinkage(rows).losses
    return Pool(shrunken_weights(rows, min(SHRINKAGES, key=lambda share: losses[share].mean())))


def penalized(rows: PoolRows, *, simplex: bool) -> Pool:
    """Weights with a quadratic penalty on the distance from equal weights of the eligible members.

    Parameters
    ----------
    simplex
        Whether weights sum to 1; else they are non-negative, with a free scale and an offset (binary).
    """
    held = {one: rows.row_losses(rows.held_out_scores(partial(_penalized, one, simplex))) for one in PENALTIES}
    least = min(PENALTIES, key=lambda one: held[one].mean())
    for penalty in PENALTIES:
        mean, error = clustered_mean(held[penalty] - held[least], rows.users)
        if mean <= error:
            return Pool(_penalized(penalty, simplex, rows))
    raise AssertionError("the least loss is within one standard error of itself")


def log_linear(rows: PoolRows) -> Pool:
    """Non-negative weights with a free scale and offset."""
    return Pool(*_stacked(rows, 0.0, equal_weights(np.ones(len(rows.members), dtype=bool)), offset=True))


def bagged_greedy(rows: PoolRows) -> Pool:
    """Greedy selection with replacement on bootstrap draws of users (Caruana et al. 2004)."""
    rng = np.random.default_rng(0)
    ids, code = np.unique(rows.users, return_inverse=True)
    total = np.zeros(len(rows.members))
    for _ in range(BAGS):
        total += _greedy(rows, np.bincount(rng.integers(0, len(ids), len(ids)), minlength=len(ids))[code])
    return Pool(total / total.sum())


def _greedy(rows: PoolRows, counts: NDArray[np.int64]) -> Values:
    chosen, score = np.zeros(len(rows.members)), np.zeros(len(rows.label))
    for step in range(1, STEPS + 1):
        losses = [counts @ rows.row_losses((score + one) / step) for one in rows.inputs.T]
        best = int(np.argmin(losses))
        chosen[best] += 1
        score += rows.inputs[:, best]
    return chosen


def _mean(rows: PoolRows) -> Pool:
    return Pool(equal_weights(np.ones(len(rows.members), dtype=bool)))


def _penalized(penalty: float, simplex: bool, rows: PoolRows) -> Values:
    equal = equal_weights(eligible_members(rows))
    if np.isinf(penalty):
        return equal
    spread = float(np.mean((rows.inputs - rows.inputs.mean(axis=1, keepdims=True)) ** 2))
    rate = rows.label.mean()
    scale = spread if rows.kind == "regression" else spread * rate * (1 - rate)
    if simplex:
        return _penalized_simplex(rows, penalty * scale, equal)
    return _stacked(rows, penalty * scale, equal, offset=rows.kind != "regression")[0]


def _penalized_simplex(rows: PoolRows, penalty: float, center: Values) -> Values:
    def loss(weights: Values) -> tuple[float, Values]:
        score, apart = rows.inputs @ weights, weights - center
        slope = rows.inputs.T @ rows.slopes(score) / len(rows.label) + 2 * penalty * apart
        return float(rows.row_losses(score).mean() + penalty * apart @ apart), slope

    found = minimize(
        loss,
        center,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(center),
        constraints=[{"type": "eq", "fun": lambda weights: weights.sum() - 1}],
        options={"ftol": 1e-10, "maxiter": 200},
    )
    return np.asarray(np.clip(found.x, 0, 1) / np.clip(found.x, 0, 1).sum())


def _stacked(rows: PoolRows, penalty: float, center: Values, *, offset: bool) -> tuple[Values, float]:
    def loss(free: Values) -> tuple[float, Values]:
        apart = free[:-1] - center
        score = rows.inputs @ free[:-1] + free[-1]
        slopes = rows.slopes(score) / len(rows.label)
        gradient = np.append(rows.inputs.T @ slopes + 2 * penalty * apart, slopes.sum() if offset else 0.0)
        return float(rows.row_losses(score).mean() + penalty * apart @ apart), gradient

    bounds = [(0.0, None)] * len(center) + [(None, None)]
    found = minimize(loss, np.append(center, 0.0), jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:-1], float(found.x[-1])


METHODS: Final[dict[str, Method]] = {
    "best": best_single,
    "mean": _mean,
    "fitted": lambda rows: Pool(simplex_weights(rows)),
    "former": single_unless_mixture,
    "boost": boosted_unless_single,
    "elig": lambda rows: Pool(equal_weights(eligible_members(rows))),
    "auto": shrunken,
    "least": least_loss_shrinkage,
    "pen": partial(penalized, simplex=True),
    "loglin": log_linear,
    "ridge": partial(penalized, simplex=False),
    "greedy": bagged_greedy,
}
QUICK: Final = ("best", "mean", "fitted", "former", "boost", "elig", "auto", "least")  # fitted on halves too
LEGEND: Final = (
    "best: the best member on blend; mean: of all members; fitted: on the simplex; former: `auto` of earlier releases; "
    "boost: mean of the boosted members unless a member is significantly better; elig: mean of the eligible; "
    "auto: shrinkage by the rule of one standard error; least: by the least loss; pen: simplex, quadratic penalty; "
    "loglin: free scale; ridge: free scale, penalty; greedy: bagged selection"
)


def main(store: str, console: Console) -> None:
    """Compare the methods on every task of the finished runs."""
    cases = list(read_cases(Store(store, key_from(os.environ))))
    if not cases:
        console.print(f"{store}: no finished run; make one with include/bin/mtl run")
        return
    compare(cases, console)


def compare(cases: list[Case], console: Console) -> None:
    """Print the regrets of every method, and what calibration does."""
    values = [{name: case.value(fit(case.blend)) for name, fit in METHODS.items()} for case in cases]
    best = [case.best_member() for case in cases]
    mean = [case.value(boosted_mean(case.blend)) for case in cases]
    console.print(LEGEND)
    console.print(_regrets("fusion less the best member in hindsight", cases, values, best))
    console.print(_regrets("fusion less the mean of the boosted members", cases, values, mean))
    halves = [_mean_value(case) for case in cases]
    title = f"fitted on halves of the blend users ({HALVES} draws), less the best member in hindsight"
    console.print(_regrets(title, cases, halves, best))
    console.print(_calibrations(cases))


def read_cases(store: Store) -> Iterator[Case]:
    """Yield the tasks of all finished runs, by scenario and date."""
    for name in sorted(folder.parent.name for folder in store.root.glob("*/registry")):
        for entry in Registry(store, name).entries():
            yield from cases_of(store, entry)


def cases_of(store: Store, entry: RunRecord) -> Iterator[Case]:
    """Yield the tasks of a finished run; none if it was pruned."""
    scenario = parse_scenario(entry.scenario_document, where="the registry")
    inputs = store.open(entry.refs["fuse"]).manifest["inputs"]
    folders = {
        stage: store.folder(scenario.name, entry.as_of, stage.replace(":", "-"), inputs[stage]) for stage in inputs
    }
    found = {stage: made for stage, folder in folders.items() if (made := store.find(folder)) is not None}
    if len(found) < len(inputs):
        return  # pruned
    members = {stage.removeprefix("member:"): made for stage, made in found.items() if stage.startswith("member:")}
    yield from tasks_of(scenario, entry.as_of, found["split"], members)


def tasks_of(scenario: Scenario, as_of: str, split: Artifact, members: Mapping[str, Artifact]) -> Iterator[Case]:
    """Yield the tasks of a run, from its rows and its members' predictions of blend and test."""
    rows = split.frame("rows")
    frames = {window: {name: made.frame(window) for name, made in members.items()} for window in ("blend", "test")}
    for task, settings in scenario.tasks.items():
        both = (_rows(rows, window, made, task, settings.kind) for window, made in frames.items())
        yield Case(f"{scenario.name} {as_of}", scenario.name, task, *both)


def _rows(rows: Any, window: str, members: dict[str, Any], task: str, kind: str) -> PoolRows:
    part = rows[rows[columns.WINDOW] == window]
    label = part[columns.label(task)].to_numpy().astype(np.float64)
    seen = ~np.isnan(label)
    made = {name: frame[columns.prediction(task)].to_numpy()[seen] for name, frame in members.items()}
    return PoolRows.of(made, label[seen], part[columns.USER].to_numpy()[seen], kind)


def _mean_value(case: Case) -> dict[str, float]:
    """Return each method's metric on test, averaged over fits on random halves of the blend users."""
    values = defaultdict(list)
    users = np.unique(case.blend.users)
    for draw in range(HALVES):
        half = np.random.default_rng(draw).permutation(users)[: len(users) // 2]
        part = case.blend.where(np.isin(case.blend.users, half))
        for name in QUICK:
            values[name].append(case.value(METHODS[name](part)))
    return {name: float(np.mean(each)) for name, each in values.items()}


def _regrets(title: str, cases: list[Case], values: list[dict[str, float]], reference: list[float]) -> Table:
    """Return a column a task of a run, a row a method; positive is better."""
    gains = {name: _gains(cases, [made[name] for made in values], reference) for name in values[0]}
    table = Table(box=SIMPLE, title=f"{title}, in units of .0001 of AUC or RMSE; positive is better")
    table.add_column("run and task", no_wrap=True)
    for name in gains:
        table.add_column(name, justify="right")
    for number, case in enumerate(cases):
        table.add_row(f"{case.run} {case.task}", *(f"{gain[number]:+.1f}" for gain in gains.values()))
    table.add_section()
    for metric in sorted({case.metric for case in cases}):
        mine = np.array([case.metric == metric for case in cases])
        table.add_row(f"average, {metric.upper()}", *(f"{gain[mine].mean():+.1f}" for gain in gains.values()))
    worst = {name: _worst_task(cases, gain) for name, gain in gains.items()}
    table.add_row("worst task, mean of its runs", *(f"{value:+.1f}" for value in worst.values()))
    return table


def _gains(cases: list[Case], values: list[float], reference: list[float]) -> Values:
    pairs = zip(cases, values, reference, strict=True)
    return np.array([improvement(case.metric, value, compared) for case, value, compared in pairs]) / UNIT


def _worst_task(cases: list[Case], gains: Values) -> float:
    """Return the least gain of a scenario's task, averaged over its runs."""
    by_task = defaultdict(list)
    for case, gain in zip(cases, gains, strict=True):
        by_task[case.scenario, case.task].append(gain)
    return min(float(np.mean(each)) for each in by_task.values())


def _calibrations(cases: list[Case]) -> Table:
    """Return the log loss on test of `auto` without a map, with the kept one, and with that of least loss."""
    table = Table(title="log loss on test by calibration map")
    for heading in ("run and task", "none", "kept", "least loss on blend", "map kept", "gain on blend"):
        table.add_column(heading, justify="left" if heading in ("run and task", "map kept") else "right", no_wrap=True)
    for case in cases:
        if case.blend.kind == "binary":
            table.add_row(f"{case.run} {case.task}", *_calibration(case))
    return table


def _calibration(case: Case) -> tuple[str, ...]:
    pool = shrunken(case.blend)
    blend, test = (sigmoid(pool.score(rows)) for rows in (case.blend, case.test))
    kept = fit_calibration(case.blend.label, blend, case.blend.users)
    least = min(kept["log_loss"], key=lambda kind: kept["log_loss"][kind])
    made = (test, calibrate(kept, test), calibrate(MAPS[least](case.blend.label, blend), test))
    gain = kept["gains"]["platt"]
    losses = (f"{compute('log_loss', case.test.label, one):.5f}" for one in made)
    return (*losses, kept["kind"], f"{gain['gain']:.5f} ± {gain['se']:.5f}")
