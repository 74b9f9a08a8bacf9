"""Metrics of recommended lists."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.metric import Metric
from mtl_tasks.metrics.ranking import Values


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
    the truth allows and not the best that the candidates allow. The other metrics read a gain above 0 as a hit. Average
    precision is cut at ``min(k, truth)``.
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


# In the order in which they are shown.
LISTS: Final = (
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
    Metric("mrr", "MRR", "0 to 1", 1, "lists", share=True, explanation="Mean of 1 / rank of the first taken item"),
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
        explanation="Mean of −log2 of the items' share of all interactions (self-information): rare items count more",
    ),
    Metric(
        "diversity",
        "Diversity",
        "1 − cosine",
        1,
        "lists",
        explanation="Mean of 1 − cosine over the pairs of a list's items, from their factors",
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
        explanation="Inequality of the items' exposure: 0 if all are listed equally often, 1 if only one is listed",
    ),
)
PER_USER: Final = ("ndcg", "recall", "map")  # metrics of one user's list; coverage is of all lists
RELEVANCE: Final = (*PER_USER, "mrr", "hit_rate", "precision")  # of one list, against what the user took
BEYOND_RELEVANCE: Final = ("novelty", "diversity", "popularity_bias")  # of one list, whatever the user took
EXPOSURE: Final = ("coverage", "gini")  # of all lists together
