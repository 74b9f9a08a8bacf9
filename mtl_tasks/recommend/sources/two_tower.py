"""The recently active items whose two-tower vectors are nearest to that of the user."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from mtl_tasks.features.als import Floats
from mtl_tasks.features.builder import FeatureMaker
from mtl_tasks.features.interactions import Codes
from mtl_tasks.models.deep.two_tower import Described, TwoTower
from mtl_tasks.recommend.sources.source import Pairs, top_pairs, without
from mtl_tasks.recommend.towers import about_items, about_users, history_of, last_items
from mtl_tasks.scenario import SourceName

ACTIVE_DAYS: Final = 28  # an item is a candidate only with an interaction in these days


class NearestByTowers:
    """The largest products of user and item vectors; items that a user has seen are left out.

    An item that the training did not know is described by its attributes, texts and given vectors.
    """

    name: SourceName = "two_tower"

    def __init__(self, model: TwoTower, maker: FeatureMaker, day: int, size: int) -> None:
        self._model, self._day, self._size = model, day, size
        events = maker.events.before(day)
        self._items = np.unique(events.items[int(np.searchsorted(events.days, day - ACTIVE_DAYS)) :])
        self._inputs = model.item_inputs(events.item_ids, about_items(maker, day))
        self._vectors = np.ascontiguousarray(model.item_vectors(self._inputs[self._items]).T)
        self._past, self._about_users = history_of(maker), about_users(maker, day)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        last = last_items(self._past, users, np.full(len(users), self._day))
        row, place = np.nonzero(last >= 0)
        weight = 1.0 / np.maximum((last >= 0).sum(axis=1), 1)
        entries = weight[row].astype(np.float32), (row, last[row, place])
        history = sparse.csr_matrix(entries, shape=(len(users), len(self._inputs)))
        about = Described(self._about_users.labels, self._about_users.values[users])
        vectors = self._model.user_vectors(history, self._inputs, about)
        # Sparse, since a row of a dense product depends on the number of rows in its last bit; all scores are positive.
        scores: Floats = sparse.csr_matrix(vectors) @ self._vectors + np.float32(2.0)
        return top_pairs(without(scores, seen[:, self._items].tocsr()), self._size, self._items)
