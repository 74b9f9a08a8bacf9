"""The items whose preference factors have the largest dot product with those of the user."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mtl_tasks.features.groups.affinity import FittedFactors
from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs
from mtl_tasks.scenario import SourceName


class NearestByFactors:
    """ALS top-N among the items that the user has not seen."""

    name: SourceName = "als"

    def __init__(self, taste: FittedFactors, day: int, size: int) -> None:
        self._taste, self._day, self._size = taste, day, size
        self._snapshot = taste.snapshot(day)
        self._known = np.flatnonzero(self._snapshot.vector_rows >= 0)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        from implicit.cpu.topk import topk

        taste, known = self._taste, self._known
        if not len(known):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        vectors = taste.fold_in(self._snapshot, *taste.past.before(users, np.full(len(users), self._day)))
        found, scores = topk(
            self._snapshot.vectors, vectors, min(self._size, len(known)), filter_query_items=seen[:, known].tocsr()
        )
        usable = np.isfinite(scores) & (scores > 0)
        owner = np.broadcast_to(np.arange(len(users))[:, None], found.shape)
        return owner[usable], known[found[usable]]
