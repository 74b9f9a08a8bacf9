"""The items that share the most users with the user's items, heavy users damped."""

from __future__ import annotations

from scipy import sparse

from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs, top_pairs
from mtl_tasks.scenario import SourceName


class CoOccurring:
    """The largest co-occurrence scores; items that a user has seen count toward the size."""

    name: SourceName = "co_occurrence"

    def __init__(self, co_occurrence: CoOccurrence, day: int, size: int) -> None:
        self._co_occurrence, self._day, self._size = co_occurrence, day, size

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        del seen
        return top_pairs(self._co_occurrence.scores(users, self._day), self._size)
