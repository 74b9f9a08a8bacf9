"""The user's own items by recency and frequency, where an item may be recommended again."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs, PastPositives, top_pairs
from mtl_tasks.scenario import SourceName

HALF_LIFE: Final = 28  # days after which a positive interaction counts half
OLDEST: Final = 100  # half-lives; older interactions count as these, so that float32 holds the weight


class Repeats:
    """The largest sums of exponentially decayed positive interactions of user and item."""

    name: SourceName = "repeats"

    def __init__(self, past: PastPositives, size: int) -> None:
        self._size = size
        age = np.minimum((past.day - past.positives.days) / HALF_LIFE, OLDEST)
        weight = np.exp2(-age).astype(np.float32)
        self._decayed = sparse.csr_matrix((weight, (past.positives.users, past.positives.items)), shape=past.shape)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        del seen
        return top_pairs(self._decayed[users].toarray(), self._size)
