"""The recently active items whose texts or given vectors are nearest to those of the user's items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import sparse

from mtl_tasks.features.als import Floats
from mtl_tasks.features.groups.content import ItemContent
from mtl_tasks.features.interactions import Codes, IndexedInteractions
from mtl_tasks.recommend.sources.source import Pairs, top_pairs, without
from mtl_tasks.scenario import SourceName

ACTIVE_DAYS: Final = 28  # an item is a candidate by its content only with an interaction in these days


class NearestByContent:
    """The largest cosines with the mean of the user's items, summed over texts and given vectors.

    A new item counts like any other, since its content is known before anyone takes it. Items that a user has seen are
    left out.

    Parameters
    ----------
    events
        All interactions, positive or not, before the day.
    """

    name: SourceName = "content"

    def __init__(self, contents: Sequence[ItemContent], events: IndexedInteractions, day: int, size: int) -> None:
        self._contents, self._day, self._size = contents, day, size
        first = int(np.searchsorted(events.days, day - ACTIVE_DAYS))
        self._items = np.unique(events.items[first:])
        self._vectors = [one.vectors_at(day)[self._items] for one in contents]

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        days = np.full(len(users), self._day)
        scores: Floats = np.zeros((len(users), len(self._items)), dtype=np.float32)
        for one, vectors in zip(self._contents, self._vectors, strict=True):
            # Sparse, since a row of a dense product depends on the number of rows in its last bit.
            scores += sparse.csr_matrix(one.profiles(users, days)) @ np.ascontiguousarray(vectors.T)
        return top_pairs(without(scores, seen[:, self._items].tocsr()), self._size, self._items)
