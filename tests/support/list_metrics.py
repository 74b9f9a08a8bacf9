"""Metrics of lists with binary relevance, which the graded ones are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.ranking import Values


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
