"""A chain of tasks: each gets the predictions of the tasks before it as features."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.core.feature_columns import FeatureColumn, readable
from mtl_tasks.models.boosted import BoostedMember, FitContext, FittedTrees
from mtl_tasks.models.boosting.binning import Encoder, Matrix
from mtl_tasks.models.boosting.task_rows import TaskRows, Values
from mtl_tasks.models.boosting.trees import TaskTrees, boost_again, fit_task, parameters, predict_raw
from mtl_tasks.models.member import Table
from mtl_tasks.scenario import Scenario, Task

# Not the seed of `independent`, since the first task's trees would be identical.
OWN_SEED: Final = 2_000_003
COLUMN = "cascade."  # followed by the task's name: a feature that holds its raw score


class CascadeMember(BoostedMember):
    """One LightGBM model per task, in order; a task's raw scores are a feature of every later task.

    For the rows that later tasks are trained on, scores come from a model that has seen no row of the same user.
    Scores of a model's own training rows look better than they are, and a cascade built on them is worse than none.
    """

    kind = "cascade"
    note = "LightGBM, with the predictions of the tasks before it as features"

    @classmethod
    def makes(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`~mtl_tasks.models.member.Member`."""
        ending = "as predicted by an earlier task of the cascade"
        return [
            FeatureColumn(f"{COLUMN}{task}", "prediction", f"{readable(task)}, {ending}", "pair", task)
            for task in scenario.tasks
        ]

    @classmethod
    def _learn(cls, learning: FitContext) -> FittedTrees:
        scenario, tune = learning.scenario, learning.tune
        order = scenario.cascade_order
        device, tune_wide = learning.device, None
        train_wide = _Wide(learning.matrix, order, device, learning.binned)
        if learning.tune_matrix is not None:
            tune_wide = _Wide(learning.tune_matrix, order, device, learning.tune_binned, train_wide)
        folds = _folds(learning.train, scenario.boosting.cascade.folds)
        trees: dict[str, TaskTrees] = {}
        for name in order:
            task, rows = scenario.tasks[name], learning.train.rows(name)
            tune_rows = None if tune is None or tune_wide is None else tune.rows(name).binned(tune_wide.bins)
            chosen, binned, seed = learning.chosen_trees(name), rows.binned(train_wide.bins), scenario.seed + OWN_SEED
            fitted = fit_task(binned, tune_rows, task.objective, scenario.boosting, device, seed, chosen)
            trees[name] = fitted
            if name != order[-1]:
                train_wide.add(name, _out_of_fold(rows, train_wide, folds, task, fitted.rounds[0], scenario, device))
                if tune_wide is not None:
                    tune_wide.add(name, tune_wide.scores(fitted, scenario))
        return FittedTrees({name: trees[name] for name in scenario.tasks}, learning.encoder)

    @property
    def _order(self) -> tuple[str, ...]:
        """Task order in training: each task's trees have one column more than those of the task before."""
        return tuple(sorted(self._trees, key=lambda task: self._trees[task].boosters[0].num_feature()))

    def needed(self, tasks: Collection[str]) -> list[str]:
        """Return the tasks whose trees predictions of the given tasks need: all up to the last of them."""
        order = self._order
        return list(order[: max(order.index(task) for task in tasks) + 1])

    def _scores(self, matrix: Matrix, tasks: list[str]) -> dict[str, Values]:
        if not tasks:
            return {}
        last = max(tasks, key=self._order.index)
        wide, scores = self._until(matrix, last)
        scores[last] = wide.scores(self._trees[last], self.scenario)
        return {task: scores[task] for task in tasks}

    def _task_matrix(self, matrix: Matrix, task: str) -> Matrix:
        return self._until(matrix, task)[0].matrix

    def _until(self, matrix: Matrix, task: str) -> tuple[_Wide, dict[str, Values]]:
        """Return a task's feature matrix, and the raw scores of the tasks before it."""
        order, scores = self._order, dict[str, Values]()
        wide = _Wide(matrix, order)
        for name in order[: order.index(task)]:
            scores[name] = wide.scores(self._trees[name], self.scenario)
            wide.add(name, scores[name])
        return wide, scores


class _Wide:
    """A matrix and its bins, extended by one column after every task."""

    def __init__(
        self,
        matrix: Matrix,
        order: tuple[str, ...],
        device: str = "cpu",
        bins: lgb.Dataset | None = None,
        reference: _Wide | None = None,
    ) -> None:
        self._device, self._reference, self._bins = device, reference, bins
        self._filled = matrix.shape[1]
        self._values = np.empty((len(matrix), self._filled + len(order) - 1), dtype=np.float32, order="F")
        self._values[:, : self._filled] = matrix
        self._added: dict[str, lgb.Dataset] = {}

    @property
    def bins(self) -> lgb.Dataset:
        """The bins of :attr:`matrix`."""
        assert self._bins is not None
        return self._bins

    @property
    def matrix(self) -> Matrix:
        """The features and the columns added so far."""
        return self._values[:, : self._filled]

    def add(self, task: str, scores: Values) -> None:
        """Add a task's raw scores as a column."""
        self._values[:, self._filled] = scores
        self._filled += 1
        if self._bins is not None:
            reference = self._reference._added[task] if self._reference else None
            name = f"{COLUMN}{task}"
            column = pd.DataFrame({name: self._values[:, self._filled - 1]}, copy=False)
            self._added[task] = Encoder([name]).binned(column, self._device, reference)
            with warnings.catch_warnings():  # it warns that raw data were freed, which is intended
                warnings.simplefilter("ignore", UserWarning)
                self._bins.add_features_from(self._added[task])

    def scores(self, trees: TaskTrees, scenario: Scenario) -> Values:
        """Return a task's raw scores, float64 (n,)."""
        none = [None] * len(trees.boosters)
        return predict_raw({"": trees}, [""], none, self.matrix, scenario.boosting.threads)[""]


def _folds(train: Table, count: int) -> NDArray[np.intp]:
    """Return the fold of each row; all rows of a user share one, which does not depend on the other rows."""
    if train.users is None:
        raise DataError("cascade: the table names no users, so its rows cannot be divided into folds by user")
    return (pd.util.hash_array(train.users) % np.uint64(count)).astype(np.intp)


def _out_of_fold(
    rows: TaskRows, table: _Wide, folds: NDArray[np.intp], task: Task, rounds: int, scenario: Scenario, device: str
) -> Values:
    """Return raw scores, float64 (n,), each from a model fitted on the other folds."""
    scores = np.empty(len(folds))
    given = parameters(scenario.boosting, task.objective, device, scenario.seed + OWN_SEED)
    for fold in np.unique(folds):
        others = rows.where(folds[rows.positions] != fold)
        if not len(others.positions):
            raise DataError(
                f"cascade: every labeled row is of users in one fold, so no other rows are left to train on: lower "
                f"boosting.cascade.folds in {scenario.file} or take 'cascade' out of members"
            )
        model = boost_again(others.binned(table.bins), given, rounds)
        inside = folds == fold
        scores[inside] = TaskTrees.of([model]).scores(table.matrix[inside], 0, scenario.boosting.threads)
    return scores
