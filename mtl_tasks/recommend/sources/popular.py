"""The items with the most positive interactions in the last week, the same for every user."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs
from mtl_tasks.scenario import SourceName

POPULAR_DAYS: Final = 7


class Popular:
    """See the module's docstring.

    Parameters
    ----------
    counts
        int64 (items,): positive interactions of each item in the last ``POPULAR_DAYS`` days.
    """

    name: SourceName = "popular"

    def __init__(self, counts: NDArray[np.int64], size: int) -> None:
        top = np.argsort(-counts, kind="stable")[:size]
        self._items = top[counts[top] > 0]

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`; items that a user has seen count toward the size."""
        del seen
        return np.repeat(np.arange(len(users)), len(self._items)), np.tile(self._items, len(users))
