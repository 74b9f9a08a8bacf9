"""Catalog of all metrics, and the computation of a task's metrics; entries are beside the functions of the metrics."""

from __future__ import annotations

from typing import Final

import numpy as np

from mtl_tasks.metrics.grouped import IMPRESSIONS
from mtl_tasks.metrics.lists import LISTS
from mtl_tasks.metrics.metric import Metric
from mtl_tasks.metrics.pointwise import BINARY, REGRESSION
from mtl_tasks.metrics.ranking import Ranking, Values

_METRICS: Final = (*REGRESSION, *BINARY, *LISTS, *IMPRESSIONS)
CATALOG: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}


def metrics_of(kind: str) -> tuple[str, ...]:
    """Return the names of the metrics of a kind of task, of ``lists`` or of ``impressions``, the primary one first.

    >>> metrics_of("regression")[:2], metrics_of("impressions")[0]
    (('rmse', 'mae'), 'gauc')
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
