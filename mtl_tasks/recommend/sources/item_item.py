"""The nearest neighbors of the user's items, by BM25 on the items' users."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs, PastTaken, binary, top_pairs, without
from mtl_tasks.scenario import SourceName

NEIGHBORS: Final = 100  # of each item
K1: Final = 1.2  # saturation, and below the share of the length normalization: the values of the library `implicit`
B: Final = 0.75


class ItemNeighbors:
    """Item-item model of BM25 weights: a score is the sum of an item's similarities to the user's items.

    Repeated interactions of a pair count once. Items that a user has seen are left out.
    """

    name: SourceName = "item_item"

    def __init__(self, past: PastTaken, size: int, threads: int) -> None:
        self._size = size
        self._similarity = bm25_neighbors(binary(past.matrix()), NEIGHBORS, threads)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        del users
        scores = (binary(seen) @ self._similarity).toarray()
        return top_pairs(without(scores, seen), self._size)


def bm25_neighbors(taken: sparse.csr_matrix, count: int, threads: int) -> sparse.csr_matrix:
    """Return the similarities of each item to its ``count`` nearest items and itself, float32 (items, items).

    The similarity is the dot product of two items' users, weighted by BM25: a user of many items counts less, and so do
    the users of an item that has many. On the blend windows of `retail` and `social` it finds more than the cosine.
    """
    # BM25Recommender, which is this class and the weights, hands over a matrix that warns of its format.
    from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight

    if not taken.nnz:
        return sparse.csr_matrix(taken.T @ taken)
    weighted = sparse.csr_matrix(bm25_weight(taken.T, K1, B).T)
    model = ItemItemRecommender(K=count + 1, num_threads=threads)
    model.fit(weighted, show_progress=False)
    similarity: sparse.csr_matrix = model.similarity.astype(np.float32)
    return similarity
