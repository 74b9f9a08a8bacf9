"""Items that first appeared in the last days, which factors and co-occurrence know little of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.features.als import Floats
from mtl_tasks.features.groups.attribute_affinity import Attribute
from mtl_tasks.features.interactions import Codes, IndexedInteractions
from mtl_tasks.recommend.sources.attributes import Described
from mtl_tasks.recommend.sources.source import Pairs, PastPositives, top_pairs, without
from mtl_tasks.scenario import SourceName

NEW_DAYS: Final = 7
UNMATCHED: Final = 0.1  # match of an item that has no attribute value of the user's items


class NewItems:
    """The largest products of match and logarithm of 2 + positive interactions, among items first seen lately.

    The match is the mean over attributes of the shares that an item's values have among those of the user's items, rare
    values weighing more, plus ``UNMATCHED``. Items that a user has seen are left out.

    Parameters
    ----------
    events
        All interactions, positive or not, before the day.
    """

    name: SourceName = "new_items"

    def __init__(
        self, attributes: Sequence[Attribute], events: IndexedInteractions, past: PastPositives, size: int
    ) -> None:
        self._size = size
        self._items = first_seen_since(events, past.day - NEW_DAYS)
        self._described = [Described.of(one, past) for one in attributes]
        self._rarity = [_rarity(one.has) for one in self._described]
        counts = past.counts_since(past.day - NEW_DAYS)[self._items]
        self._weight = np.log(2.0 + counts).astype(np.float32)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        match = np.zeros((len(users), len(self._items)), dtype=np.float32)
        for one, rarity in zip(self._described, self._rarity, strict=True):
            match += one.match(seen, self._items, rarity)
        match /= max(len(self._described), 1)
        scores = (match + np.float32(UNMATCHED)) * self._weight
        return top_pairs(without(scores, seen[:, self._items].tocsr()), self._size, self._items)


def first_seen_since(events: IndexedInteractions, day: int) -> Codes:
    """Return the items whose first interaction is of ``day`` or later, ascending."""
    n = int(np.searchsorted(events.days, day))
    earlier, later = (np.bincount(part, minlength=len(events.item_ids)) for part in np.split(events.items, [n]))
    return np.flatnonzero((earlier == 0) & (later > 0))


def _rarity(has: sparse.csr_matrix) -> Floats:
    """Return the logarithm of items per item with the value, scaled to at most 1, float32 (values,)."""
    items = max(has.shape[0], 2)
    count: NDArray[np.int64] = np.bincount(has.indices, minlength=has.shape[1])
    rarity: Floats = (np.log(items / np.maximum(count, 1)) / np.log(items)).astype(np.float32)
    return rarity
