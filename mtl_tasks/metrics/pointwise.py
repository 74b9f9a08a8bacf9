"""Metrics of a task's predictions, also under row weights (for the bootstrap)."""

from __future__ import annotations

from typing import Final

import numpy as np

from mtl_tasks.metrics.metric import Metric
from mtl_tasks.metrics.ranking import EPSILON, Ranking, Values


def squared_error(label: Values, prediction: Values) -> Values:
    """Return the squared error of each row, float64 (n,)."""
    return (label - prediction) ** 2


def absolute_error(label: Values, prediction: Values) -> Values:
    """Return the absolute error of each row, float64 (n,)."""
    return np.abs(label - prediction)


def log_loss(label: Values, prediction: Values) -> Values:
    """Return the log loss of each row in nats, float64 (n,); probabilities are clipped to stay finite."""
    p = np.clip(prediction, EPSILON, 1 - EPSILON)
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def area_under_roc(ranking: Ranking, weights: Values) -> float:
    """Return the area under the ROC curve under row weights; ties count one half (Mann-Whitney)."""
    return ranking.areas(weights)["auc"]


def average_precision(ranking: Ranking, weights: Values) -> float:
    """Return the average precision under row weights; tied scores are taken together."""
    return ranking.areas(weights)["pr_auc"]


def calibration_error(ranking: Ranking, weights: Values) -> float:
    """Return the expected calibration error over ten bins of equal mass under row weights; ties share a bin."""
    total = weights.sum()
    if total == 0:
        return float("nan")
    return float(np.abs(ranking.by_bin(ranking.gaps * ranking.ordered(weights))).sum() / total)


# In the order in which they are shown; the first of a kind is its primary metric.
REGRESSION: Final = (
    Metric(
        "rmse",
        "RMSE",
        "label points",
        -1,
        "regression",
        gain_unit=True,
        loss=squared_error,
        root=True,
        explanation="Root mean squared error: large errors count more than small ones",
    ),
    Metric(
        "mae",
        "MAE",
        "label points",
        -1,
        "regression",
        gain_unit=True,
        loss=absolute_error,
        explanation="Mean absolute error: the average distance between prediction and label",
    ),
)
BINARY: Final = (
    Metric(
        "auc",
        "AUC",
        "0.5 is chance",
        1,
        "binary",
        share=True,
        ranked=area_under_roc,
        explanation="Probability that a positive row has a higher prediction than a negative one",
    ),
    Metric(
        "pr_auc",
        "PR-AUC",
        "chance: the positive share",
        1,
        "binary",
        share=True,
        ranked=average_precision,
        explanation="Average precision: mean share of positives above each positive row",
    ),
    Metric(
        "log_loss",
        "Log loss",
        "nats a row",
        -1,
        "binary",
        gain_unit=True,
        loss=log_loss,
        explanation="Mean negative logarithm of the probability predicted for the label",
    ),
    Metric(
        "calibration_error",
        "Calibration error",
        "probability",
        -1,
        "binary",
        share=True,
        gain_unit=True,
        ranked=calibration_error,
        explanation="Mean gap between predicted probability and observed share, over ten bins of equal size",
    ),
)
