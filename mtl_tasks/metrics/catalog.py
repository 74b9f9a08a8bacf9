"""Catalog of metrics: name, title, unit, direction, kind of task and function of each; a new metric is one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from mtl_tasks.metrics.pointwise import (
    Ranking,
    Values,
    absolute_error,
    area_under_roc,
    average_precision,
    calibration_error,
    log_loss,
    squared_error,
)


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, compared and shown.

    Attributes
    ----------
    kind
        Kind of task that it judges; ``lists`` for recommendations, whose metrics come from
        :func:`mtl_tasks.metrics.pointwise.list_metrics` and its neighbors; ``impressions`` for the order of what users
        were shown, from :class:`mtl_tasks.metrics.grouped.GroupRanking`.
    better
        1 if higher is better, -1 if lower is, 0 if unknown.
    share
        Whether its values are from 0 to 1.
    gain_unit
        Whether a difference of two values has its unit.
    loss
        Loss of each row, of which the metric is the weighted mean.
    root
        Whether it is the square root of that mean.
    ranked
        Function of the ranked rows and their weights, for a metric that is not a mean of losses.
    explanation
        The metric in one sentence, for readers who do not know it.
    """

    name: str
    title: str
    unit: str
    better: Literal[1, -1, 0]
    kind: Literal["regression", "binary", "lists", "impressions", ""] = ""
    share: bool = False
    gain_unit: bool = False
    loss: Callable[[Values, Values], Values] | None = None
    root: bool = False
    ranked: Callable[[Ranking, Values], float] | None = None
    digits: int = 4
    explanation: str = ""

    @property
    def arrow(self) -> str:
        """Direction in which the metric improves."""
        return {1: "↑", -1: "↓"}.get(self.better, "")

    @property
    def heading(self) -> str:
        """Title and direction."""
        return f"{self.title} {self.arrow}".strip()


# In the order in which they are shown; the first of a kind is its primary metric.
_METRICS: Final = (
    Metric(
        "rmse",
        "RMSE",
        "label points",
        -1,
        "regression",
        gain_unit=True,
        loss=squared_error,
        root=True,
        explanation="Root of the mean squared error: large errors count more than small ones",
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
        explanation="Mean of minus the logarithm of the probability that was given to the label",
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
    Metric(
        "ndcg",
        "NDCG",
        "0 to 1",
        1,
        "lists",
        share=True,
        explanation="Discounted gain of the list over that of the best possible list: high ranks count more",
    ),
    Metric(
        "recall",
        "Recall",
        "share of what was taken",
        1,
        "lists",
        share=True,
        explanation="Share of the items that the user took afterward that are in the list",
    ),
    Metric(
        "map",
        "MAP",
        "0 to 1",
        1,
        "lists",
        share=True,
        explanation="Mean over the taken items of the precision at their rank",
    ),
    Metric(
        "coverage",
        "Coverage",
        "share of the items",
        1,
        "lists",
        share=True,
        explanation="Share of the catalog's items that are in any list",
    ),
    Metric(
        "mrr", "MRR", "0 to 1", 1, "lists", share=True, explanation="Mean of one over the rank of the first taken item"
    ),
    Metric(
        "hit_rate",
        "Hit rate",
        "share of the lists",
        1,
        "lists",
        share=True,
        explanation="Share of the lists with a taken item",
    ),
    Metric(
        "precision",
        "Precision",
        "share of the list",
        1,
        "lists",
        share=True,
        explanation="Share of the list's items that the user took afterward",
    ),
    Metric(
        "novelty",
        "Novelty",
        "bits an item",
        1,
        "lists",
        gain_unit=True,
        digits=2,
        explanation="Mean of minus the binary logarithm of an item's share of all interactions: rare items count more",
    ),
    Metric(
        "diversity",
        "Diversity",
        "1 − cosine",
        1,
        "lists",
        explanation="Mean of one less the cosine of the factors of two items of a list",
    ),
    Metric(
        "popularity_bias",
        "Popularity bias",
        "mean percentile",
        -1,
        "lists",
        share=True,
        explanation="Mean popularity percentile of the list's items: 1 is the most popular item",
    ),
    Metric(
        "gini",
        "Gini of exposure",
        "0 is equal",
        -1,
        "lists",
        share=True,
        explanation="Inequality of how often items are listed: 0 if equally often, 1 if one item is all",
    ),
    Metric(
        "gauc",
        "GAUC",
        "0.5 is chance",
        1,
        "impressions",
        share=True,
        explanation="Area under the ROC curve within a user's day, averaged over these groups",
    ),
    Metric(
        "impression_ndcg",
        "NDCG of impressions",
        "0 to 1",
        1,
        "impressions",
        share=True,
        explanation="NDCG of the order of what one user was shown on one day",
    ),
    Metric(
        "snips",
        "SNIPS",
        "mean label",
        1,
        "impressions",
        gain_unit=True,
        explanation="Estimated mean label of the model's first choices, from exposures at random",
    ),
)
CATALOG: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}
PER_USER: Final = ("ndcg", "recall", "map")  # metrics of one user's list; coverage is of all lists
RELEVANCE: Final = (*PER_USER, "mrr", "hit_rate", "precision")  # of one list, against what the user took
BEYOND_RELEVANCE: Final = ("novelty", "diversity", "popularity_bias")  # of one list, whatever the user took
EXPOSURE: Final = ("coverage", "gini")  # of all lists together


def metrics_of(kind: str) -> tuple[str, ...]:
    """Return the names of the metrics of a kind of task, of ``lists`` or of ``impressions``, the primary one first.

    >>> metrics_of("regression"), metrics_of("impressions")
    (('rmse', 'mae'), ('gauc', 'impression_ndcg', 'snips'))
    """
    return tuple(metric.name for metric in _METRICS if metric.kind == kind)


def primary(kind: str) -> str:
    """Return the name of the primary metric of a kind of task.

    >>> primary("regression"), primary("binary")
    ('rmse', 'auc')
    """
    return metrics_of(kind)[0]


def improvement(metric: str, candidate: float, reference: float) -> float:
    """Return the difference of two values, signed so that positive is better."""
    return reference - candidate if CATALOG[metric].better < 0 else candidate - reference


def row_loss(metric: str, label: Values, prediction: Values) -> Values:
    """Return the loss of each row, float64 (n,), of a metric that is a mean of losses.

    Raises
    ------
    ValueError
        If the metric is not one.
    """
    loss = CATALOG[metric].loss if metric in CATALOG else None
    if loss is None:
        raise ValueError(f"unknown metric {metric!r}")
    return loss(label, prediction)


class Prepared:
    """Labels and predictions prepared to compute one metric under many row weights.

    Parameters
    ----------
    label, prediction
        float64 (n,); for a binary task labels are 0 or 1 and predictions probabilities.
    ranking
        Ranking of the same rows, if another metric has made it.

    Notes
    -----
    Sorting and per-row losses are computed once; each weighting then costs a few passes over the rows. AUC counts ties
    as one half (Mann-Whitney); PR-AUC is average precision with tied scores taken together; calibration error is the
    expected calibration error over ten bins of equal mass, where tied predictions share a bin. No metric is defined if
    a prediction is not finite.
    """

    def __init__(self, metric: str, label: Values, prediction: Values, ranking: Ranking | None = None) -> None:
        if metric not in CATALOG:
            raise ValueError(f"unknown metric {metric!r}")
        self.metric = CATALOG[metric]
        # A ranking would otherwise treat NaN as the lowest score and return a number.
        self._defined = bool(np.isfinite(prediction).all())
        if self.metric.ranked is None:
            self._loss = row_loss(metric, label, prediction)
        else:
            self._ranking = ranking or Ranking(label, prediction)

    @classmethod
    def several(cls, metrics: tuple[str, ...], label: Values, prediction: Values) -> dict[str, Prepared]:
        """Prepare several metrics of one prediction, which share its ranking."""
        needed = any(CATALOG[metric].ranked for metric in metrics)
        ranking = Ranking(label, prediction) if needed else None
        return {metric: cls(metric, label, prediction, ranking) for metric in metrics}

    def under(self, weights: Values) -> float:
        """Return the metric under row weights (n,), NaN if undefined; do not modify the array: it is a cache key."""
        if not self._defined:
            return float("nan")
        if self.metric.ranked is not None:
            return self.metric.ranked(self._ranking, weights)
        total = weights.sum()
        if total == 0:
            return float("nan")
        mean = float(self._loss @ weights / total)
        return float(np.sqrt(mean)) if self.metric.root else mean


def compute(metric: str, label: Values, prediction: Values) -> float:
    """Return the unweighted metric; NaN where it is undefined (no rows, one class).

    >>> compute("auc", np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.3]))
    1.0
    """
    if not len(label):
        return float("nan")
    return Prepared(metric, label, prediction).under(np.ones(len(label)))
