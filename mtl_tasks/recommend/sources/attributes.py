"""The recently active items that have the attribute values of the user's items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from mtl_tasks.features.als import Floats
from mtl_tasks.features.groups.attribute_affinity import Attribute
from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs, PastPositives, top_pairs
from mtl_tasks.scenario import SourceName

RECENT_DAYS: Final = 28  # an item is a candidate by attribute only with a positive interaction in these days


class AttributeMatch:
    """For each attribute, the largest products of match and logarithm of 1 + recent positive interactions.

    Items that a user has seen count toward the size.
    """

    name: SourceName = "attributes"

    def __init__(self, attributes: Sequence[Attribute], past: PastPositives, size: int) -> None:
        self._size = size
        self._described = [Described.of(one, past) for one in attributes]
        recent = past.counts_since(past.day - RECENT_DAYS)
        self._live = np.flatnonzero(recent)
        self._weight = np.log1p(recent[self._live]).astype(np.float32)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`; a pair is offered once for each attribute."""
        tops = [
            top_pairs(one.match(seen, self._live) * self._weight, self._size, self._live) for one in self._described
        ]
        nothing = np.zeros(0, dtype=np.int64)
        return (
            np.concatenate([nothing, *(owner for owner, _ in tops)]),
            np.concatenate([nothing, *(item for _, item in tops)]),
        )


@dataclass(frozen=True)
class Described:
    """An attribute's values of all items: float32 (items, values), 1 where an item has the value."""

    has: sparse.csr_matrix

    @classmethod
    def of(cls, attribute: Attribute, past: PastPositives) -> Described:
        """Look the values up as known on the day."""
        size = past.shape[1]
        item, value = attribute.of(np.arange(size), np.full(size, past.day))
        ones = np.ones(len(item), dtype=np.float32)
        return cls(sparse.csr_matrix((ones, (item, value)), shape=(size, attribute.size)))

    def match(self, seen: sparse.csr_matrix, items: Codes, weight: Floats | None = None) -> Floats:
        """Return the summed shares of an item's values among those of each user's items, float32 (users, items).

        Parameters
        ----------
        weight
            float32 (values,): by default all values count alike.
        """
        share = np.asarray((seen @ self.has).toarray()) / np.maximum(np.asarray(seen.sum(axis=1)), 1.0)
        weighted = share if weight is None else share * weight
        return np.asarray((sparse.csr_matrix(weighted) @ self.has[items].T).toarray(), dtype=np.float32)
