"""Rankings within groups of rows, such as what a user was shown on one day, without a loop over the groups."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.metric import Metric
from mtl_tasks.metrics.ranking import Values

Positions = NDArray[np.int64]


class GroupRanking:
    """Rows ranked within their group by prediction, highest first.

    Every metric is its expectation over random orders of tied predictions, so that it does not depend on the order of
    the rows (McSherry & Najork 2008).

    Parameters
    ----------
    groups
        int64 (n,) group codes in ascending order, each of 0 to the last at least once.
    prediction
        Finite float64 (n,).
    """

    def __init__(self, groups: Positions, prediction: Values) -> None:
        self._order = np.lexsort((-prediction, groups))
        ranked = prediction[self._order]
        self._starts = np.flatnonzero(_starts_of(groups))
        first = _starts_of(groups) | _starts_of(ranked)
        self._tie = np.cumsum(first) - 1  # run of ties of each ranked row
        self._run_starts = np.flatnonzero(first)
        self._run_group = groups[self._run_starts]
        before = self._starts[self._run_group]
        self._begin = self._run_starts - before  # ranks from 0, within the group
        self._end = np.append(self._run_starts[1:], len(groups)) - before
        self._sizes = np.diff(np.append(self._starts, len(groups)))

    def auc(self, label: Values) -> Values:
        """Return the area under the ROC curve of each group, float64 (groups,); NaN where labels are all alike."""
        positives = self._by_run(label)
        negatives = (self._end - self._begin) - positives
        above = np.cumsum(negatives) - negatives
        above -= above[np.flatnonzero(_starts_of(self._run_group))][self._run_group]
        wrong = self._by_group(positives * (above + negatives / 2))
        count = self._by_group(positives)
        pairs = count * (self._sizes - count)
        return np.where(pairs > 0, 1.0 - wrong / np.maximum(pairs, 1), np.nan)

    def ndcg(self, label: Values, k: int | None = None) -> Values:
        """Return the NDCG of each group, float64 (groups,), cut at rank k if given; NaN without positives."""
        most = int(self._sizes.max(initial=0))
        discount = 1.0 / np.log2(np.arange(2, most + 2))
        if k is not None:
            discount[k:] = 0.0
        reached = np.append(0.0, np.cumsum(discount))
        mean = (reached[self._end] - reached[self._begin]) / (self._end - self._begin)
        positives = self._by_run(label)
        ideal = reached[self._by_group(positives).astype(np.int64)]
        gained = self._by_group(positives * mean)
        return np.where(ideal > 0, gained / np.where(ideal > 0, ideal, 1.0), np.nan)

    def top(self, k: int) -> Values:
        """Return the probability of each row, in the order given, to be among the k best of its group, float64 (n,)."""
        share = np.clip((k - self._begin) / (self._end - self._begin), 0.0, 1.0)
        chosen = np.empty(len(self._order))
        chosen[self._order] = share[self._tie]
        return chosen

    def _by_run(self, label: Values) -> Values:
        return np.bincount(self._tie, weights=label[self._order], minlength=len(self._run_starts)).astype(np.float64)

    def _by_group(self, values: Values) -> Values:
        return np.bincount(self._run_group, weights=values, minlength=len(self._sizes)).astype(np.float64)


def _starts_of(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the first row of each run of equal values, bool (n,)."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


# In the order in which they are shown.
IMPRESSIONS: Final = (
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
        explanation="NDCG of the items that a user was shown on one day, in the model's order",
    ),
    Metric(
        "snips",
        "SNIPS",
        "mean label",
        1,
        "impressions",
        gain_unit=True,
        explanation="Estimated mean label of the model's top choices, from randomized exposures",
    ),
)
