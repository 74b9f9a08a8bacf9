"""Metrics of predictions and of ranked lists, each also under weights a row (which is what a bootstrap needs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Metric = Callable[[Values, Values, Values], float]
EPSILON: Final = 1e-7
BINS: Final = 10

METRICS: Final[dict[str, tuple[str, ...]]] = {
    "regression": ("rmse", "mae"),
    "binary": ("auc", "pr_auc", "log_loss", "calibration_error"),
}
PRIMARY: Final = {"regression": "rmse", "binary": "auc"}
LOWER_IS_BETTER: Final = frozenset({"rmse", "mae", "log_loss", "calibration_error"})
RANKING: Final = ("ndcg", "recall", "map")


def improvement(metric: str, candidate: float, reference: float) -> float:
    """Difference with a sign such that positive is better."""
    return reference - candidate if metric in LOWER_IS_BETTER else candidate - reference


class Prepared:
    """Labels and predictions made ready to compute one metric under many row weights.

    Parameters
    ----------
    label, prediction
        float64 (n,); for a binary task labels are 0 or 1 and predictions probabilities.

    Notes
    -----
    Sorting and per-row losses are done once; a weighting then costs a few passes over the rows. AUC counts ties half
    (Mann-Whitney); PR-AUC is average precision with tied scores taken together; calibration error is the expected
    calibration error over ten bins of equal mass, tied predictions sharing one. No metric is defined where a
    prediction is not finite.
    """

    def __init__(self, metric: str, label: Values, prediction: Values) -> None:
        self.metric = metric
        # A ranking would otherwise take NaN for the lowest score and return a number.
        self._defined = bool(np.isfinite(prediction).all())
        if metric in ("auc", "pr_auc"):
            order = np.argsort(-prediction, kind="stable")
            self._order = order
            self._find_positives(prediction[order], label[order])
        elif metric == "calibration_error":
            self._order = np.argsort(prediction, kind="stable")
            self._edges = _bin_starts(prediction[self._order])
            self._gap = (label - prediction)[self._order]
        else:
            self._loss = row_loss(metric, label, prediction)

    def under(self, weights: Values) -> float:
        """The metric under row weights (n,); NaN where it is not defined."""
        if not self._defined:
            return float("nan")
        if self.metric in ("auc", "pr_auc"):
            return self._ranked(weights[self._order])
        total = weights.sum()
        if total == 0:
            return float("nan")
        if self.metric == "calibration_error":
            gaps = np.add.reduceat(self._gap * weights[self._order], self._edges)
            return float(np.abs(gaps).sum() / total)
        mean = float(self._loss @ weights / total)
        return float(np.sqrt(mean)) if self.metric == "rmse" else mean

    def _find_positives(self, ranked: Values, label: Values) -> None:
        """Note where each positive's run of ties begins and ends: between these rows weights need only be added up."""
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
        places = np.flatnonzero(label == 1)
        run = np.searchsorted(starts, places, side="right") - 1
        begin, end = starts[run], np.append(starts[1:], len(ranked))[run]
        self._places, self._bounds = places, np.unique(np.concatenate([[0], begin, end, [len(ranked)]]))
        self._begin, self._end = (np.searchsorted(self._bounds, edge) for edge in (begin, end))
        self._before, self._until = (np.searchsorted(places, edge) for edge in (begin, end))  # counts of positives

    def _ranked(self, weights: Values) -> float:
        seen = np.append(0.0, np.cumsum(np.add.reduceat(weights, self._bounds[:-1])))
        mine = weights[self._places]
        true = np.append(0.0, np.cumsum(mine))
        positives, negatives = true[-1], seen[-1] - true[-1]
        if (
            positives == 0 or negatives <= EPSILON * EPSILON * seen[-1]
        ):  # of weights that are no counts, sums are rounded
            return float("nan")
        if self.metric == "pr_auc":
            precision = true[self._until] / np.maximum(seen[self._end], 1e-12)
            return float(mine @ precision / positives)
        above = seen[self._begin] - true[self._before]
        with_ties = seen[self._end] - true[self._until]
        return float(1.0 - mine @ (above + with_ties) / 2 / (positives * negatives))


def compute(metric: str, label: Values, prediction: Values) -> float:
    """The plain metric; NaN where it is not defined (no rows, one class).

    >>> compute("auc", np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.3]))
    1.0
    """
    if not len(label):
        return float("nan")
    return Prepared(metric, label, prediction).under(np.ones(len(label)))


def calibration_curve(label: Values, prediction: Values) -> list[dict[str, float | int]]:
    """Mean prediction and mean label in up to ten bins of equal mass; tied predictions share a bin."""
    order = np.argsort(prediction, kind="stable")
    bins = np.split(order, _bin_starts(prediction[order])[1:]) if len(order) else []
    return [
        {
            "predicted": round(float(prediction[b].mean()), 6),
            "observed": round(float(label[b].mean()), 6),
            "rows": len(b),
        }
        for b in bins
    ]


def _bin_starts(ranked: Values) -> NDArray[np.int64]:
    """First positions of bins of equal mass in ascending predictions; a bin starts at the first of a run of ties.

    Ties split by the order of the rows would make bins of positives and bins of negatives out of equal predictions.
    """
    wanted = np.linspace(0, len(ranked), BINS + 1).astype(np.int64)[:-1]
    return np.unique(np.searchsorted(ranked, ranked[wanted], side="left")).astype(np.int64)


def list_metrics(hits: NDArray[np.bool_], truth: NDArray[np.int64]) -> dict[str, Values]:
    """NDCG, recall and average precision of each user's list, as float64 (users,).

    Parameters
    ----------
    hits
        (users, k): whether the item at a rank was taken.
    truth
        (users,): how many items each user took, at least 1, reachable by the list or not.

    Notes
    -----
    The ideal list and the average precision are cut at ``min(k, truth)``.
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(truth, k) - 1]
    precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return {
        "ndcg": hits @ discount / ideal,
        "recall": hits.sum(axis=1) / truth,
        "map": (precision * hits).sum(axis=1) / np.minimum(truth, k),
    }


def row_loss(metric: str, label: Values, prediction: Values) -> Values:
    """Loss of each row, float64 (n,): squared error for ``rmse``."""
    if metric == "rmse":
        return (label - prediction) ** 2
    if metric == "mae":
        return np.abs(label - prediction)
    if metric == "log_loss":
        p = np.clip(prediction, EPSILON, 1 - EPSILON)
        return -(label * np.log(p) + (1 - label) * np.log(1 - p))
    raise ValueError(f"unknown metric {metric!r}")
