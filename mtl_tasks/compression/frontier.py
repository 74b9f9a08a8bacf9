"""The frontier of cost against quality: candidates judged on blend, the choice within a budget, its report on test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.compression.cost import Cost, model_cost
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.metrics.bootstrap import UserBootstrap, interval
from mtl_tasks.metrics.catalog import Prepared, compute, improvement, primary, row_loss
from mtl_tasks.models import Member, Predictions
from mtl_tasks.models.fusion import fit_fusion, fuse, held_out_fusion
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.training import TaskFusion

Values = NDArray[np.float64]
TEACHER: Final = "teacher"
REPLICATES: Final = 200


@dataclass(frozen=True)
class Rows:
    """Rows of a window.

    Attributes
    ----------
    users
        (n,) id of each row's user.
    labels
        Task to float64 (n,); NaN where not observed.
    """

    users: NDArray[Any]
    labels: Mapping[str, Values]


@dataclass(frozen=True)
class Part:
    """A member of a candidate.

    Attributes
    ----------
    member
        As refitted.
    blend
        Its predictions of the window, from before the refit.
    test
        Returns its predictions of the window; it is called for the chosen candidate and the teacher only.
    """

    member: Member
    blend: Predictions
    test: Callable[[], Predictions]


@dataclass(frozen=True)
class Point:
    """A candidate on the frontier.

    Attributes
    ----------
    settings
        Dotted keys of the scenario, with the values that make the candidate a run.
    fusions
        By task, fitted on blend.
    held_out
        Task to float64 (n,): fused predictions of blend, each by weights and a calibration fitted on other users; NaN
        where the label is not observed.
    excess
        Mean over the tasks of the loss of :attr:`held_out` relative to the teacher's, less 1. Losses are squared
        errors and log losses.
    influence
        float64 (users,): each user's part in the error of :attr:`excess`.
    """

    name: str
    settings: Mapping[str, Any]
    parts: Mapping[str, Part]
    fusions: Mapping[str, TaskFusion]
    cost: Cost
    held_out: Mapping[str, Values]
    excess: float = 0.0
    influence: Values = field(default_factory=lambda: np.zeros(0))

    def fused(self, window: str, task: str, kind: str) -> Values:
        """Return the fused predictions of a window, float64 (n,); those of ``blend`` are :attr:`held_out`."""
        if window == "blend":
            return self.held_out[task]
        return fuse(self.fusions[task], {name: part.test()[task] for name, part in self.parts.items()}, kind)


@dataclass(frozen=True)
class Comparison:
    """A metric of a point on a window.

    Attributes
    ----------
    value
        None if it cannot be computed.
    gain
        The improvement over the teacher, with its interval.
    """

    metric: str
    value: float | None
    gain: Measurement

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {"metric": self.metric, "value": self.value, "gain": self.gain.to_json()}


@dataclass(frozen=True)
class Judge:
    """Judges candidates on blend against the teacher.

    Attributes
    ----------
    teacher
        The finished run, with its own fusion.
    """

    scenario: Scenario
    blend: Rows
    teacher: Point

    def point(self, name: str, settings: Mapping[str, Any], parts: Mapping[str, Part]) -> Point:
        """Return the point of a candidate, with weights and calibration fitted again on blend."""
        fusions = {}
        for task, rule in self.scenario.tasks.items():
            label = self.blend.labels[task]
            seen = ~np.isnan(label)
            made = {one: part.blend[task][seen] for one, part in parts.items()}
            method = self.scenario.fusion.method
            fusions[task] = fit_fusion(made, label[seen], self.blend.users[seen], rule.kind, method)
        members = {one: part.member for one, part in parts.items()}
        cost = model_cost(members, {task: fusion.to_json() for task, fusion in fusions.items()})
        fused = held_out(self.scenario, self.blend, parts, fusions)
        excess, influence = self._excess(fused)
        return Point(name, settings, parts, fusions, cost, fused, excess, influence)

    def ratio(self, point: Point) -> float:
        """Return the cost as a share of the teacher's."""
        return point.cost.operations / self.teacher.cost.operations

    def _excess(self, fused: Mapping[str, Values]) -> tuple[float, Values]:
        ids, code = np.unique(self.blend.users, return_inverse=True)
        influence, excess = np.zeros(len(ids)), []
        for task, rule in self.scenario.tasks.items():
            label = self.blend.labels[task]
            seen = ~np.isnan(label)
            losses = [
                row_loss("rmse" if rule.kind == "regression" else "log_loss", label[seen], one[seen])
                for one in (fused[task], self.teacher.held_out[task])
            ]
            base = float(losses[1].mean())
            relative = (losses[0] - losses[1]) / base
            excess.append(float(relative.mean()))
            influence += np.bincount(code[seen], relative - excess[-1], len(ids)) / int(seen.sum())
        return float(np.mean(excess)), influence / len(excess)


def held_out(
    scenario: Scenario, blend: Rows, parts: Mapping[str, Part], fusions: Mapping[str, TaskFusion]
) -> dict[str, Values]:
    """Return :attr:`Point.held_out` of some members with their fusions."""
    found = {}
    for task, rule in scenario.tasks.items():
        label = blend.labels[task]
        seen = ~np.isnan(label)
        made = {name: part.blend[task][seen] for name, part in parts.items()}
        found[task] = np.full(len(label), np.nan)
        found[task][seen] = held_out_fusion(fusions[task], made, label[seen], blend.users[seen], rule.kind)
    return found


def choose(points: Sequence[Point], judge: Judge, budget: float) -> Point:
    """Return the cheapest point within a budget whose loss on blend is within one standard error of the least there.

    The standard error is that of the difference between the two, clustered by user.

    Raises
    ------
    ConfigError
        If no point costs so little.
    """
    within = [point for point in points if judge.ratio(point) <= budget]
    if not within:
        least = min(judge.ratio(point) for point in points)
        raise ConfigError(
            f"--budget {budget:g}: no smaller model of {judge.scenario.name} costs so little: the cheapest takes "
            f"{least:.4f} of its teacher's operations: give at least --budget {np.ceil(least * 1e4) / 1e4:g}"
        )
    best = min(within, key=lambda point: point.excess)
    near = [point for point in within if point.excess - best.excess <= _error(point, best)]
    return min(near, key=lambda point: point.cost.operations)


def _error(one: Point, other: Point) -> float:
    return float(np.sqrt(np.sum((one.influence - other.influence) ** 2)))


def compare(points: Sequence[Point], judge: Judge, rows: Rows, window: str) -> dict[str, dict[str, Comparison]]:
    """Return each point's primary metric of each task on a window, paired with the teacher's.

    Parameters
    ----------
    rows
        Of the window.
    window
        ``blend`` or ``test``.

    Returns
    -------
    dict
        Point to task to comparison.
    """
    found: dict[str, dict[str, Comparison]] = {point.name: {} for point in points}
    for task, rule in judge.scenario.tasks.items():
        metric, seen = primary(rule.kind), ~np.isnan(rows.labels[task])
        label, users = rows.labels[task][seen], rows.users[seen]
        made = {one.name: one.fused(window, task, rule.kind)[seen] for one in (judge.teacher, *points)}
        prepared = {name: Prepared(metric, label, values) for name, values in made.items()}
        drawn = UserBootstrap(users, REPLICATES, judge.scenario.seed).replicate(prepared)
        values = {name: compute(metric, label, predicted) for name, predicted in made.items()}
        sign = improvement(metric, 1.0, 0.0)
        for point in points:
            gain = improvement(metric, values[point.name], values[TEACHER])
            low, high = interval(sign * (drawn[point.name] - drawn[TEACHER]))
            paired = Measurement(value=_or_none(gain), low=low, high=high, rows=len(label))
            found[point.name][task] = Comparison(metric, _or_none(values[point.name]), paired)
    return found


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
