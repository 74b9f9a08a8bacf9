"""The gain of some settings over others on users that they were not chosen on, with its standard error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models import Predictions
from mtl_tasks.models.calibration import SIGNIFICANT
from mtl_tasks.tuning.objective import Fold, Objective

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """A mean gain with its standard error, clustered by user; positive is better."""

    mean: float
    standard_error: float

    @property
    def significant(self) -> bool:
        """Whether the 95 % interval is above 0."""
        return self.mean > SIGNIFICANT * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        half = SIGNIFICANT * self.standard_error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class TaskGain:
    """Mean loss of one task as of one day, of two settings, and the paired gain."""

    as_of: str
    task: str
    before: float
    after: float
    gain: Gain


def confirmed_gain(objective: Objective, before: list[Predictions], after: list[Predictions]) -> Gain:
    """Return the gain in the objective's value on the users that settings were not chosen on.

    Parameters
    ----------
    before, after
        For each fold, the losses by task and user, as :meth:`Objective.steps` yields them.
    """
    ids = np.unique(np.concatenate([fold.user_ids for fold in objective.folds]))
    mean, deviations = 0.0, np.zeros(len(ids))
    for number, (fold, old, new) in enumerate(zip(objective.folds, before, after, strict=True)):
        at = np.searchsorted(ids, fold.user_ids)
        for task, weight in objective.weights(number).items():
            part, spread = _mean_and_deviations(fold, task, old[task] - new[task])
            mean += weight * part / len(objective.folds)
            deviations[at] += weight * spread / len(objective.folds)
    return Gain(mean, float(np.sqrt(np.sum(deviations**2))))


def task_gains(objective: Objective, before: list[Predictions], after: list[Predictions]) -> Iterator[TaskGain]:
    """Yield the losses of each task as of each day, on the users that settings were not chosen on."""
    for fold, old, new in zip(objective.folds, before, after, strict=True):
        for task in objective.scenario.tasks:
            mean, deviations = _mean_and_deviations(fold, task, old[task] - new[task])
            before_mean, after_mean = (_mean_and_deviations(fold, task, one[task])[0] for one in (old, new))
            gain = Gain(mean, float(np.sqrt(np.sum(deviations**2))))
            yield TaskGain(fold.as_of, task, before_mean, after_mean, gain)


def _mean_and_deviations(fold: Fold, task: str, sums: Values) -> tuple[float, Values]:
    """Return the mean of row values, given their sums by user (users,), and each user's part in its error (users,).

    The root of the summed squares of these parts is the standard error of
    :func:`mtl_tasks.models.calibration.clustered_mean`.
    """
    held = np.where(fold.chosen_on, 0.0, 1.0)
    rows = fold.rows[task] * held
    mean = float((sums * held).sum() / rows.sum())
    return mean, (sums * held - mean * rows) / rows.sum()
