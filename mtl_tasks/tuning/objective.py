"""Losses of a trial: its members fitted on train and tune, and judged on blend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import row_loss
from mtl_tasks.models import Predictions, Table, member_class
from mtl_tasks.models.calibration import logit, sigmoid
from mtl_tasks.scenario import MemberKind, Scenario

Values = NDArray[np.float64]
LOSSES: Final = {"regression": "rmse", "binary": "log_loss"}  # metrics whose row losses are squared error and log loss
Window = Literal["train", "tune", "blend"]


@dataclass(frozen=True)
class Fold:
    """The rows that a trial may read as of one day; none is of the test window.

    Attributes
    ----------
    as_of
        ``YYYY-MM-DD``.
    tables
        Member to the tables of train, tune and blend with the features that it reads.
    labels
        Task to float64 (n,) of the blend rows; NaN where not observed.
    users
        (n,) user of each blend row.
    """

    as_of: str
    tables: Callable[[MemberKind], Mapping[Window, Table]]
    labels: Mapping[str, Values]
    users: NDArray[Any]

    @cached_property
    def user_ids(self) -> NDArray[Any]:
        """The blend rows' users, each once, sorted."""
        return np.unique(self.users)

    @cached_property
    def chosen_on(self) -> NDArray[np.bool_]:
        """Mask of ``user_ids``: settings are chosen on these users, and the gain is confirmed on the others.

        The half depends on the id alone, so that a user is in the same one as of every day.
        """
        return np.asarray(pd.util.hash_array(pd.Series(self.user_ids).to_numpy(), categorize=False) % 2 == 0)

    def sums(self, values: Values) -> Values:
        """Return the sums of row values (n,) by user, float64 (users,)."""
        code = np.searchsorted(self.user_ids, self.users)
        return np.bincount(code, weights=values, minlength=len(self.user_ids)).astype(np.float64)

    @cached_property
    def rows(self) -> dict[str, Values]:
        """Task to the number of labeled blend rows of each user, float64 (users,)."""
        return {task: self.sums((~np.isnan(label)).astype(np.float64)) for task, label in self.labels.items()}

    def losses(self, predictions: Predictions, scenario: Scenario) -> Predictions:
        """Return, by task, the sums of the labeled blend rows' losses by user, float64 (users,)."""
        made = {}
        for task, label in self.labels.items():
            loss = row_loss(LOSSES[scenario.tasks[task].kind], label, predictions[task])
            made[task] = self.sums(np.where(np.isnan(label), 0.0, loss))
        return made


@dataclass(frozen=True)
class Objective:
    """The quantity that a study minimizes.

    Each loss is divided by that of the popularity baseline, so that log losses and squared errors can be added; tasks
    are weighted by ``tasks.<task>.weight``, and days equally. Members enter through the mean of their predictions (of
    the log-odds for a binary task): this is how ``fusion.method: auto`` combines members of similar quality, so a gain
    here is one that a run can show.

    Attributes
    ----------
    floors
        For each fold, task to the mean loss of the popularity baseline on blend.
    """

    scenario: Scenario
    folds: tuple[Fold, ...]
    floors: tuple[Mapping[str, float], ...]

    def weights(self, number: int) -> dict[str, float]:
        """Return what a mean loss of each task in a fold is multiplied by."""
        total = sum(task.weight for task in self.scenario.tasks.values())
        floor = self.floors[number]
        return {name: task.weight / total / floor[name] for name, task in self.scenario.tasks.items()}

    def value(self, number: int, losses: Predictions) -> float:
        """Return the loss of one fold on the users that settings are chosen on; the popularity baseline's loss is 1."""
        fold = self.folds[number]
        chosen, weights = fold.chosen_on, self.weights(number)
        return sum(
            weights[task] * float(losses[task][chosen].sum() / fold.rows[task][chosen].sum()) for task in weights
        )

    def steps(self, scenario: Scenario, kinds: tuple[MemberKind, ...]) -> Iterator[tuple[int, Predictions]]:
        """Fit one member after the other, as of one day after the other.

        Yields
        ------
        tuple
            Number of the fold, and the losses by task and user of the members fitted on it so far.
        """
        for number, fold in enumerate(self.folds):
            made: list[Predictions] = []
            for kind in kinds:
                made.append(fitted_predictions(fold, kind, scenario))
                yield number, fold.losses(mean_predictions(made, scenario), scenario)


def fitted_predictions(fold: Fold, kind: MemberKind, scenario: Scenario) -> Predictions:
    """Return predictions of the blend rows by a member that is fitted on train, with choices made on tune."""
    tables = fold.tables(kind)
    fitted = member_class(kind).fit(tables["train"], tables["tune"], scenario)
    return fitted.predict(tables["blend"].features)


def mean_predictions(made: list[Predictions], scenario: Scenario) -> Predictions:
    """Return the mean of several members' predictions; of log-odds for a binary task."""
    mean = {}
    for name, task in scenario.tasks.items():
        values = np.array([predictions[name] for predictions in made])
        mean[name] = values.mean(axis=0) if task.kind == "regression" else sigmoid(logit(values).mean(axis=0))
    return mean


def floor_losses(fold: Fold, scenario: Scenario) -> dict[str, float]:
    """Return the mean loss of the popularity baseline on blend, by task.

    Raises
    ------
    DataError
        If a task has too few labels on blend for its loss to mean anything.
    """
    losses = fold.losses(fitted_predictions(fold, "popularity", scenario), scenario)
    floors = {}
    for task in scenario.tasks:
        halves = [float(fold.rows[task][half].sum()) for half in (fold.chosen_on, ~fold.chosen_on)]
        rows, loss = sum(halves), float(losses[task].sum())
        if min(halves) == 0 or loss == 0:
            raise DataError(
                f"{task}: {rows:,.0f} labeled rows in 'blend' as of {fold.as_of}, of {len(fold.user_ids):,} users: "
                "settings cannot be chosen on one half of the users and confirmed on the other; lengthen "
                f"windows.blend in {scenario.file}"
            )
        floors[task] = loss / rows
    return floors
