"""Rows ranked by prediction, and their bins of equal mass."""

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
