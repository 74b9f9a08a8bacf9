"""Metrics of predictions, also under row weights (for the bootstrap), and of ranked lists."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
EPSILON: Final = 1e-7
BINS: Final = 10


class Ranking:
    """Rows sorted by prediction, highest first, and cumulative sums of weights in that order.

    Results are cached for the last weight array, so that the metrics of one prediction share the sort and, draw by
    draw, the passes over the rows.

    Parameters
    ----------
    label, prediction
        float64 (n,); labels are 0 or 1.
    """

    def __init__(self, label: Values, prediction: Values) -> None:
        self.order = np.argsort(-prediction, kind="stable")
        ranked = prediction[self.order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
        positive = label[self.order] == 1
        positions = np.flatnonzero(positive)
        run = np.searchsorted(starts, positions, side="right") - 1
        begin, end = starts[run], np.append(starts[1:], len(ranked))[run]  # of the tie run of each positive
        self._negatives = np.flatnonzero(~positive)
        # Between these bounds only sums of weights are needed.
        self._places, self._bounds = positions, np.unique(np.concatenate([[0], begin, end, [len(ranked)]]))
        self._begin, self._end = (np.searchsorted(self._bounds, edge) for edge in (begin, end))
        self._before, self._until = (np.searchsorted(positions, edge) for edge in (begin, end))  # counts of positives
        self._bins = _bin_starts(ranked[::-1])
        self._label, self._prediction = label, prediction
        self._known: tuple[Values, Values] | None = None
        self._found: dict[str, float] | None = None

    @cached_property
    def gaps(self) -> Values:
        """Label less prediction, float64 (n,), in this order."""
        return (self._label - self._prediction)[self.order]

    def ordered(self, weights: Values) -> Values:
        """Return weights (n,) in ranking order."""
        if self._known is None or self._known[0] is not weights:
            self._known, self._found = (weights, weights.take(self.order)), None
        return self._known[1]

    def areas(self, weights: Values) -> dict[str, float]:
        """Return ``auc`` and ``pr_auc`` under weights; NaN without positives or without negatives."""
        ordered = self.ordered(weights)
        if self._found is None:
            self._found = self._areas(ordered)
        return self._found

    def by_bin(self, values: Values) -> Values:
        """Sum values (n,), given in ranking order, by bin of equal mass."""
        starts = len(values) - np.append(self._bins, len(values))[:0:-1]
        return np.add.reduceat(values, starts)

    def _areas(self, weights: Values) -> dict[str, float]:
        seen = np.append(0.0, np.cumsum(np.add.reduceat(weights, self._bounds[:-1])))
        mine = weights[self._places]
        true = np.append(0.0, np.cumsum(mine))
        positives, negatives = true[-1], seen[-1] - true[-1]
        # With fractional weights, a difference of sums is not exactly zero where nothing is left.
        if positives == 0 or (negatives <= EPSILON * seen[-1] and not weights[self._negatives].any()):
            return {"auc": float("nan"), "pr_auc": float("nan")}
        above = seen[self._begin] - true[self._before]
        with_ties = seen[self._end] - true[self._until]
        precision = true[self._until] / np.maximum(seen[self._end], 1e-12)
        return {
            "auc": float(1.0 - mine @ (above + with_ties) / 2 / (positives * negatives)),
            "pr_auc": float(mine @ precision / positives),
        }


def calibration_curve(label: Values, prediction: Values) -> list[dict[str, float | int]]:
    """Return mean prediction and mean label in up to ten bins of equal mass; tied predictions share a bin."""
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
    """Return the first position of each equal-mass bin of ascending predictions; a run of ties is never split.

    Splitting ties by row order would make bins of positives and bins of negatives out of equal predictions.
    """
    if not len(ranked):
        return np.zeros(0, dtype=np.int64)
    wanted = np.linspace(0, len(ranked), BINS + 1).astype(np.int64)[:-1]
    return np.unique(np.searchsorted(ranked, ranked[wanted], side="left")).astype(np.int64)


def list_metrics(hits: NDArray[np.bool_], truth: NDArray[np.int64]) -> dict[str, Values]:
    """Return NDCG, recall and average precision of each user's list, float64 (users,) each.

    Parameters
    ----------
    hits
        (users, k): whether the item at each rank is a positive.
    truth
        (users,): number of positive items of each user, at least 1, whether or not the list could contain them.

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


def graded_list_metrics(gains: Values, ideal: Values, truth: NDArray[np.int64]) -> dict[str, Values]:
    """Return the relevance metrics of each list, float64 (lists,) each; a position without an item is no hit.

    Parameters
    ----------
    gains
        (lists, k): gain of the item at each rank, 0 for a miss and for a position that the list does not fill.
    ideal
        (lists, k): the k largest gains of the list's truth, largest first, 0 where it has fewer.
    truth
        (lists,): number of items with a gain, at least 1, whether or not the list could contain them.

    Notes
    -----
    NDCG divides the discounted gains, which are linear, by those of the ideal list, so that the ideal is the best that
    the truth allows and not the best that the candidates allow. The other metrics read a gain above 0 as a hit. For
    gains of 0 and 1 NDCG, recall and MAP are those of :func:`list_metrics`.
    """
    k = gains.shape[1]
    ranks = np.arange(1, k + 1)
    discount = 1.0 / np.log2(ranks + 1)
    hits = gains > 0
    precision = np.cumsum(hits, axis=1) / ranks
    return {
        "ndcg": gains @ discount / (ideal @ discount),
        "recall": hits.sum(axis=1) / truth,
        "map": (precision * hits).sum(axis=1) / np.minimum(truth, k),
        "mrr": (hits / ranks).max(axis=1, initial=0.0),
        "hit_rate": hits.any(axis=1).astype(np.float64),
        "precision": hits.sum(axis=1) / k,
    }


def gini(exposure: Values) -> float:
    """Return the Gini coefficient of items' exposures (n,), those of 0 included; NaN if nothing is exposed.

    >>> gini(np.array([0.0, 0.0, 0.0, 4.0])), gini(np.array([1.0, 1.0]))
    (0.75, 0.0)
    """
    size, shown = len(exposure), np.sort(exposure[exposure > 0])
    if not len(shown):
        return float("nan")
    ranks = np.arange(size - len(shown) + 1, size + 1)
    return float((2 * ranks - size - 1) @ shown / (size * shown.sum()))


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
