"""Multi-task models of other libraries, under the same budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from mtl_tasks.models import Predictions, Table
from mtl_tasks.models.member import within_range
from mtl_tasks.scenario import Boosting, Scenario

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class XgboostTrees:
    """XGBoost with one tree a round for all tasks (``multi_strategy="multi_output_tree"``)."""

    scenario: Scenario
    booster: Any
    base: Floats
    rounds: dict[str, int]

    def predict(self, features: pd.DataFrame) -> Predictions:
        """Score each task with its own number of rounds."""
        import xgboost

        data = xgboost.DMatrix(features.to_numpy(dtype=np.float32), nthread=self.scenario.boosting.threads)
        predictions = {}
        for place, (task, settings) in enumerate(self.scenario.tasks.items()):
            score = self.booster.predict(data, output_margin=True, iteration_range=(0, self.rounds[task]))
            score = score.reshape(len(features), -1)[:, place].astype(np.float64) + self.base[place]
            predictions[task] = expit(score) if settings.kind == "binary" else within_range(score, settings)
        return predictions


def fit_xgboost(train: Table, tune: Table, scenario: Scenario) -> XgboostTrees:
    """Fit until no task has got better on ``tune`` for ``patience`` rounds."""
    import xgboost

    settings = scenario.boosting
    binary = np.array([task.kind == "binary" for task in scenario.tasks.values()])
    label, tune_label = _labels(train, scenario), _labels(tune, scenario)
    losses = _Losses(label, binary)
    data = xgboost.QuantileDMatrix(_values(train), np.zeros_like(label), nthread=settings.threads)
    tune_data = xgboost.QuantileDMatrix(_values(tune), np.zeros_like(tune_label), ref=data, nthread=settings.threads)
    watch = _Watch(tune_label, losses, settings.patience)
    booster = xgboost.train(
        _parameters(settings, scenario.seed),
        data,
        settings.rounds,
        obj=lambda score, _: losses.gradients(score),
        evals=[(tune_data, "tune")],
        custom_metric=watch.measure,
        callbacks=[_stopping(watch)],
        verbose_eval=False,
    )
    rounds = 1 + np.argmin(np.array(watch.history), axis=0)
    return XgboostTrees(scenario, booster, losses.base, dict(zip(scenario.tasks, rounds.tolist(), strict=True)))


class _Losses:
    """Squared error and log loss over the labeled rows, scaled so that every task starts with as much to explain."""

    def __init__(self, label: Floats, binary: NDArray[np.bool_]) -> None:
        self._label = label
        self._binary = binary
        mean = np.nanmean(label, axis=0)
        self.base = np.where(binary, logit(np.where(binary, mean, 0.5)), mean)
        first = np.nan_to_num(label - mean)
        self._scale = len(label) / (first**2).sum(axis=0)

    def gradients(self, score: Floats) -> tuple[Floats, Floats]:
        """First and second derivatives by score, (rows, tasks), zero where there is no label."""
        score = score.reshape(self._label.shape) + self.base
        value = np.where(self._binary, expit(score), score)
        slope = np.nan_to_num(value - self._label) * self._scale
        curvature = np.where(self._binary, np.maximum(value * (1 - value), 1e-6), 1.0) * self._scale
        return slope, np.where(np.isnan(self._label), 0.0, curvature)

    def means(self, score: Floats, label: Floats) -> Floats:
        """Mean loss of each task."""
        score = score.reshape(label.shape) + self.base
        log_loss = np.logaddexp(0.0, score) - label * score
        return np.asarray(np.nanmean(np.where(self._binary, log_loss, (label - score) ** 2), axis=0))


@dataclass
class _Watch:
    """The losses on tune by round."""

    label: Floats
    losses: _Losses
    patience: int
    history: list[Floats] = field(default_factory=list)

    def measure(self, score: Floats, _: Any) -> tuple[str, float]:
        """Record the losses; XGBoost wants one number, which nothing uses."""
        self.history.append(self.losses.means(score.astype(np.float64), self.label))
        return "loss", float(self.history[-1].sum())

    def over(self) -> bool:
        """Whether every task's best round is too long ago."""
        best = np.argmin(np.array(self.history), axis=0)
        return bool(len(self.history) - 1 - best.max() >= self.patience)


def _stopping(watch: _Watch) -> Any:
    import xgboost

    class Stopping(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return watch.over()

    return Stopping()


def _parameters(settings: Boosting, seed: int) -> dict[str, Any]:
    return {
        "tree_method": "hist",
        "multi_strategy": "multi_output_tree",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": settings.num_leaves,
        "learning_rate": settings.learning_rate,
        "subsample": settings.bagging_fraction,
        "colsample_bytree": settings.feature_fraction,
        "lambda": settings.lambda_l2,
        # The scaling makes a labeled row's second derivative about 1.
        "min_child_weight": settings.min_data_in_leaf,
        "base_score": 0.0,
        "disable_default_eval_metric": True,
        "nthread": settings.threads,
        "seed": seed,
    }


def _values(table: Table) -> NDArray[np.float32]:
    return table.features.to_numpy(dtype=np.float32)


def _labels(table: Table, scenario: Scenario) -> Floats:
    return np.column_stack([table.labels[task].astype(np.float64) for task in scenario.tasks])
