"""The interface of a candidate source, and what sources share: the positive interactions before the day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import largest_of_rows
from mtl_tasks.features.als import Floats
from mtl_tasks.features.interactions import Codes, IndexedInteractions
from mtl_tasks.scenario import SourceName

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # positions among the requested users, and item codes


class Source(Protocol):
    """Items that may interest a user, chosen by one cheap rule."""

    name: SourceName

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """Return the source's items for some users; what it offers a user does not depend on the other users.

        Parameters
        ----------
        users
            Sorted user codes.
        seen
            float32 (len(users), items): number of positive interactions of each pair before the day.

        Returns
        -------
        tuple of numpy.ndarray
            int64 positions in ``users`` and item codes, each pair at most a few times, in any order.
        """


@dataclass(frozen=True)
class PastPositives:
    """The positive interactions before a day."""

    positives: IndexedInteractions
    day: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""
        return len(self.positives.user_ids), len(self.positives.item_ids)

    def counts_since(self, day: int) -> NDArray[np.int64]:
        """Return each item's number of positive interactions from ``day`` on, int64 (items,)."""
        return np.bincount(self.positives.items[self.positives.days >= day], minlength=self.shape[1])

    def matrix(self, since: int | None = None) -> sparse.csr_matrix:
        """Return the number of positive interactions of each pair, float32 (users, items); by default all of them."""
        positives = self.positives
        chosen = slice(None) if since is None else slice(int(np.searchsorted(positives.days, since)), None)
        users, items = positives.users[chosen], positives.items[chosen]
        return sparse.csr_matrix((np.ones(len(items), dtype=np.float32), (users, items)), shape=self.shape)


def top_pairs(scores: Floats, count: int, items: Codes | None = None) -> Pairs:
    """Return the ``count`` largest positive scores of each row; ``items`` are the columns' item codes if not all."""
    owner, place = largest_of_rows(scores, count)
    return owner, place if items is None else items[place]


def without(scores: Floats, seen: sparse.csr_matrix) -> Floats:
    """Set the scores of seen pairs to 0 in place, so that the largest are of other items, and return them."""
    scores[seen.nonzero()] = 0.0
    return scores


def binary(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return 1 for each pair with an interaction, float32."""
    return sparse.csr_matrix((np.ones(matrix.nnz, dtype=np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
