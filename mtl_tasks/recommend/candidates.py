"""Candidate items of a user: the union of four cheap sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import largest_of_rows, marked
from mtl_tasks.features.als import Floats
from mtl_tasks.features.builder import FeatureMaker
from mtl_tasks.features.groups.attribute_affinity import Attribute
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows

RECENT_DAYS: Final = 28  # an item is a candidate by attribute only with a positive interaction in these days

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # positions among the requested users, and items


class Candidates:
    """The candidates of a day; data common to all users is computed once.

    Parameters
    ----------
    maker
        It must be advanced to ``day``.
    count
        Items from each source: ALS top-N, most popular of the last seven days, co-occurrence with the user's items,
        and recently active items with the user's favorite attribute values.
    """

    def __init__(self, maker: FeatureMaker, day: int, count: int) -> None:
        self._maker, self._day, self._count = maker, day, count
        past = maker.taken.before(day)
        self.last_week, self.last_day = (_times_taken(past, day - days) for days in (7, 1))
        self._shape = len(past.user_ids), len(past.item_ids)
        ones = np.ones(len(past.items), dtype=np.float32)
        self._seen = sparse.csr_matrix((ones, (past.users, past.items)), shape=self._shape)
        self._attributes = [_Described.of(one, past, day) for one in maker.about_items.listed]

    def rows(self, users: Codes) -> IndexedRows:
        """Return the candidates of some users.

        Parameters
        ----------
        users
            Sorted user codes.

        Returns
        -------
        IndexedRows
            Ordered by user, then item; without duplicates and without items that the user already has.
        """
        seen = self._seen[users]
        sources = [
            self._most_taken(users),
            self._nearest(users, seen),
            _top(self._maker.co_occurrence.scores(users, self._day), self._count),
            *(_top(attribute.scores(seen), self._count, attribute.live) for attribute in self._attributes),
        ]
        offered = np.zeros((len(users), self._shape[1]), dtype=np.bool_)
        for owner, item in sources:
            offered[owner, item] = True
        offered[seen.nonzero()] = False
        owner, item = marked(offered)
        return IndexedRows(users[owner], item, np.full(len(item), self._day, dtype=np.int64))

    def _most_taken(self, users: Codes) -> Pairs:
        top = np.argsort(-self.last_week, kind="stable")[: self._count]
        top = top[self.last_week[top] > 0]
        return np.repeat(np.arange(len(users)), len(top)), np.tile(top, len(users))

    def _nearest(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        from implicit.cpu.topk import topk

        taste = self._maker.taste
        snapshot = taste.snapshot(self._day)
        known, items = np.flatnonzero(snapshot.place >= 0), snapshot.vectors
        if not len(known):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        vectors = taste.fold_in(snapshot, *taste.past.before(users, np.full(len(users), self._day)))
        found, scores = topk(items, vectors, min(self._count, len(known)), filter_query_items=seen[:, known].tocsr())
        usable = np.isfinite(scores) & (scores > 0)
        owner = np.broadcast_to(np.arange(len(users))[:, None], found.shape)
        return owner[usable], known[found[usable]]


@dataclass(frozen=True)
class _Described:
    """An attribute's values of all items, and the recently active items.

    Attributes
    ----------
    has
        float32 (items, values).
    live
        Codes of the candidate items.
    weight
        float32 (live,): logarithm of 1 + their recent positive interactions.
    """

    has: sparse.csr_matrix
    live: Codes
    weight: Floats

    @classmethod
    def of(cls, attribute: Attribute, past: IndexedInteractions, day: int) -> _Described:
        size = len(past.item_ids)
        item, value = attribute.of(np.arange(size), np.full(size, day))
        ones = np.ones(len(item), dtype=np.float32)
        recent = _times_taken(past, day - RECENT_DAYS)
        live = np.flatnonzero(recent)
        has = sparse.csr_matrix((ones, (item, value)), shape=(size, attribute.size))
        return cls(has, live, np.log1p(recent[live]).astype(np.float32))

    def scores(self, seen: sparse.csr_matrix) -> Floats:
        """Return float32 (users, live): how well each item matches the attribute values of each user's items."""
        share = np.asarray((seen @ self.has).toarray()) / np.maximum(np.asarray(seen.sum(axis=1)), 1.0)
        matched: Floats = np.asarray((sparse.csr_matrix(share) @ self.has[self.live].T).toarray(), dtype=np.float32)
        return matched * self.weight


def _times_taken(past: IndexedInteractions, since: int) -> NDArray[np.int64]:
    """Return each item's number of positive interactions since a day."""
    return np.bincount(past.items[past.days >= since], minlength=len(past.item_ids))


def _top(scores: Floats, count: int, items: Codes | None = None) -> Pairs:
    """Return the ``count`` largest positive scores of each row; ``items`` has the columns' items if not all."""
    owner, place = largest_of_rows(scores, count)
    return owner, place if items is None else items[place]


def sorted_codes(ids: NDArray[Any], wanted: NDArray[Any]) -> Codes:
    """Return the codes of wanted ids in sorted ids; absent ones are omitted."""
    wanted = np.unique(wanted)
    place = np.searchsorted(ids, wanted)
    inside = place < len(ids)
    inside[inside] = ids[place[inside]] == wanted[inside]
    return place[inside].astype(np.int64)
