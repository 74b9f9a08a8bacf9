"""Point-in-time co-occurrence: how many users two items share, updated day by day."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import group_starts, stable_argsort
from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features.als import Floats
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import SCALE, Translation, expand
from mtl_tasks.features.state import GroupState
from mtl_tasks.features.user_history import UserHistory
from mtl_tasks.scenario import Scenario

Columns = dict[str, Floats]
PARTNERS: Final = 100  # earlier items of a user paired with a new one; a bound for users with thousands of items
_CHUNK: Final = 1 << 22  # pairs, or user-item scores, in memory at once
_MANY: Final = 64  # rows of a user from which one matrix product is faster than looking up every pair


class CoOccurrence(FeatureGroup):
    """Item-item counts of shared users, with heavy users damped.

    A user's k-th item is paired with each of the last 100 before it, and each pair gains ``1 / log(2 + k)``. Repeated
    items are not counted again. The score of a user and an item is
    ``sum over the user's items j of pair(item, j) / sqrt(n_j) / sqrt(n_item)``, with n the number of an item's users
    and without the user's own contribution: a cosine-like overlap (Deshpande & Karypis 2004, item-based top-N).

    Parameters
    ----------
    positives
        Positive interactions, ordered by day.
    last_items
        Number of the user's last items that ``co_occurrence.recent`` compares with.
    since
        Those of earlier days come from a snapshot.
    """

    name = "co_occurrence"

    def __init__(self, positives: IndexedInteractions, last_items: int, since: int | None = None) -> None:
        self._last_items = last_items
        self._size = len(positives.item_ids)
        first = _first_positives(positives, self._size)
        users, items, days = positives.users[first], positives.items[first], positives.days[first]
        self._past = UserHistory.of(users, items, days, np.zeros(len(days), dtype=np.int8), len(positives.user_ids))
        rank = np.arange(len(days)) - self._past.before(self._past.users, np.zeros(len(days), dtype=np.int64))[0]
        self._rank = rank.astype(np.int64)  # number of the user's earlier items
        keys = self._past.users * self._size + self._past.items
        self._by_pair = stable_argsort(keys)
        self._keys = keys[self._by_pair]
        then = self._past.days
        self._by_day = stable_argsort(then)
        self._days = then[self._by_day]
        self._at = 0 if since is None else int(np.searchsorted(self._days, since, side="left"))
        self._pairs = sparse.csr_matrix((self._size, self._size), dtype=np.float64)  # whole numbers, so sums are exact
        self._item_users = np.zeros(self._size, dtype=np.int64)
        self._scored: tuple[Codes, int, sparse.csr_matrix] | None = None  # users, day and products of the last scores

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        recent, every = (
            "how often users have both the item and the user's last items",
            "how often users have both the item and the user's items",
        )
        return [
            FeatureColumn("co_occurrence.recent", "co_occurrence", recent, "pair"),
            FeatureColumn("co_occurrence.all", "co_occurrence", every, "pair"),
        ]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        return [cls(inputs.positives, inputs.scenario.features.last_items, inputs.since)]

    def snapshot(self) -> GroupState:
        """Return pairs (item, other, gain), each once, and users per item (item, count), by code."""
        upper = sparse.triu(self._pairs, format="coo")
        pairs = {
            "item": upper.row.astype(np.int32),
            "other": upper.col.astype(np.int32),
            "gain": upper.data.astype(np.int64),
        }
        met = np.flatnonzero(self._item_users)
        item_users = {"item": met.astype(np.int32), "count": self._item_users[met]}
        return GroupState(frames={"pairs": pd.DataFrame(pairs), "takers": pd.DataFrame(item_users)})

    def restore(self, state: GroupState, translation: Translation) -> None:
        """See :class:`FeatureGroup`."""
        items, pairs, item_users = translation["item"], state.frames["pairs"], state.frames["takers"]
        item, other = (items[pairs[name].to_numpy()] for name in ("item", "other"))
        gain = pairs["gain"].to_numpy().astype(np.float64)
        upper = sparse.coo_matrix((gain, (item, other)), shape=self._pairs.shape).tocsr()
        self._pairs = upper + upper.T.tocsr()
        self._item_users[items[item_users["item"].to_numpy()]] = item_users["count"]
        self._scored = None

    def advance(self, day: int) -> None:
        """Add the interactions before a day."""
        end = int(np.searchsorted(self._days, day, side="left"))
        positions = self._by_day[self._at : end]
        self._at = end
        if not len(positions):
            return
        self._item_users += np.bincount(self._past.items[positions], minlength=self._size)
        partners = np.minimum(self._rank[positions], PARTNERS)
        parts = [self._pairs_of(part) for part in np.array_split(positions, int(partners.sum() // _CHUNK) + 1)]
        while len(parts) > 1:  # pairwise: adding parts one by one copies the growing table each time
            parts = [reduce(add, parts[at : at + 2]) for at in range(0, len(parts), 2)]
        self._pairs = self._pairs + parts[0]
        self._scored = None

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`; float32, NaN for an item without users."""
        last_items = self._last_items
        starts, ends = self._past.before(rows.users, rows.days)
        starts = np.maximum(starts, ends - PARTNERS)
        mine = self._positive_at(rows.users, rows.items, ends)
        # The score of a user's own item includes the user's contribution, which is subtracted pair by pair.
        whole = (np.bincount(rows.users)[rows.users] >= _MANY) & (mine < 0) if len(rows) else mine < 0
        overlap = {"recent": np.zeros(len(rows)), "all": np.zeros(len(rows))}
        by_pair, by_product = np.flatnonzero(~whole), np.flatnonzero(whole)
        pairs = np.cumsum((ends - starts)[by_pair])
        for part in np.split(
            by_pair, np.searchsorted(pairs, np.arange(_CHUNK, pairs[-1] if len(pairs) else 0, _CHUNK))
        ):
            owner, position = expand(starts[part], ends[part])
            value = self._overlap(rows.items[part], mine[part], owner, position)
            newest = position >= ends[part][owner] - last_items
            overlap["recent"][part] = np.bincount(owner, weights=value * newest, minlength=len(part))
            overlap["all"][part] = np.bincount(owner, weights=value, minlength=len(part))
        for part in self._by_users(rows.users, by_product):
            users, at = np.unique(rows.users[part], return_inverse=True)
            day = int(rows.days[part[0]])
            products = self._products_of_all(users, day).toarray()
            overlap["all"][part] = products[at, rows.items[part]] / SCALE
            longer = np.zeros(len(users), dtype=np.bool_)
            longer[at] = (ends - starts)[part] > last_items
            if longer.any():  # for the others, the last items are all items
                products[longer] = self._products(users[longer], day, last_items).toarray()
            overlap["recent"][part] = products[at, rows.items[part]] / SCALE
        item_users = self._item_users[rows.items]
        scale = np.where(item_users > 0, np.sqrt(np.maximum(item_users, 1)), np.nan)
        return {f"co_occurrence.{name}": (value / scale).astype(np.float32) for name, value in overlap.items()}

    def _by_users(self, users: Codes, positions: Codes) -> Iterator[Codes]:
        """Yield positions in parts with so few users that the scores of all their items fit in memory."""
        positions = positions[stable_argsort(users[positions])]
        number = np.cumsum(group_starts(users[positions])) - 1
        at_once = max(1, _CHUNK // self._size) if len(positions) else 1
        yield from (part for part in np.split(positions, np.flatnonzero(np.diff(number // at_once)) + 1) if len(part))

    def scores(self, users: Codes, day: int) -> Floats:
        """Return the scores of every item for some users (sorted), float32 (users, items)."""
        self._scored = None  # freed before the next ones are made
        products = self._products(users, day, PARTNERS)
        self._scored = users, day, products
        scale = (np.sqrt(np.maximum(self._item_users, 1)) * SCALE).astype(np.float32)
        scaled = np.divide(products.data, scale[products.indices], dtype=np.float32, casting="same_kind")
        scores: Floats = sparse.csr_matrix((scaled, products.indices, products.indptr), shape=products.shape).toarray()
        return scores

    def _products_of_all(self, users: Codes, day: int) -> sparse.csr_matrix:
        """Return the products of users' items; for candidates, :meth:`scores` has just computed them."""
        if self._scored is not None and len(self._scored[0]) and self._scored[1] == day:
            position = np.minimum(np.searchsorted(self._scored[0], users), len(self._scored[0]) - 1)
            if np.array_equal(self._scored[0][position], users):
                return self._scored[2][position]
        return self._products(users, day, PARTNERS)

    def _products(self, users: Codes, day: int, most: int) -> sparse.csr_matrix:
        """Return the weighted pair sums of each user's last items, float64 (users, items), in units of 2**-20.

        A user's items are added in the order in which :meth:`columns` adds pairs. Both give the same bits, unless
        scipy was compiled to fuse multiplication and addition, as on ARM.
        """
        starts, ends = self._past.before(users, np.full(len(users), day))
        starts = np.maximum(starts, ends - most)
        items = self._past.items[expand(starts, ends)[1]]
        pointers = np.concatenate([[0], np.cumsum(ends - starts)])
        baskets = sparse.csr_matrix((self._weight(items), items, pointers), shape=(len(users), self._size))
        products: sparse.csr_matrix = baskets @ self._pairs
        return products

    def _weight(self, items: Codes) -> NDArray[np.float64]:
        weight: NDArray[np.float64] = 1.0 / np.sqrt(self._item_users[items])
        return weight

    def _pairs_of(self, positions: NDArray[np.intp]) -> sparse.csr_matrix:
        """Return the pairs that interactions form with earlier ones, in both directions."""
        owner, before = expand(positions - np.minimum(self._rank[positions], PARTNERS), positions)
        gain = _gain(self._rank[positions][owner]).astype(np.float64)
        item, other = self._past.items[positions][owner], self._past.items[before]
        rows, cols = np.concatenate([item, other]), np.concatenate([other, item])
        return sparse.csr_matrix((np.concatenate([gain, gain]), (rows, cols)), shape=self._pairs.shape)

    def _positive_at(self, users: Codes, items: Codes, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position, below ``ends``, of each user's interaction with the item, -1 if there is none."""
        if not len(self._keys):
            return np.full(len(users), -1, dtype=np.int64)
        keys = users * self._size + items
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        position = self._by_pair[found]
        return np.where((self._keys[found] == keys) & (position < ends), position, -1)

    def _overlap(self, items: Codes, mine: NDArray[np.int64], owner: Codes, position: Codes) -> NDArray[np.float64]:
        """Return what each item of a row's user adds to the row; the user's own interaction is at ``mine``."""
        item, other = items[owner], self._past.items[position]
        pairs = np.zeros(len(owner))
        if len(owner):
            pairs = np.asarray(self._pairs[item, other]).ravel()
        own = mine[owner]
        distance = np.abs(own - position)
        formed = (own >= 0) & (distance > 0) & (distance <= PARTNERS)  # the user's own contribution
        pairs[formed] -= _gain(self._rank[np.maximum(own, position)[formed]])
        return pairs / SCALE * self._weight(other)


def _gain(rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a pair's gain from a user with ``rank`` earlier items, in units of 2**-20, so that sums are exact."""
    gain: NDArray[np.int64] = np.rint(SCALE / np.log(3.0 + rank)).astype(np.int64)
    return gain


def _first_positives(positives: IndexedInteractions, size: int) -> NDArray[np.intp]:
    """Return the positions of the first interaction of each user and item, in order."""
    pairs = positives.users * size + positives.items
    order = stable_argsort(pairs)
    return np.sort(order[group_starts(pairs[order])])
