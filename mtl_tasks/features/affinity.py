"""Point-in-time affinity of a user and an item: factors folded in day by day, and co-occurrence.

Days are taken one at a time, since what a user's vector may know changes with the day; within a day everything is
vectorised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.factors import Floats, Interactions, ItemSpace, Solver
from mtl_tasks.features.aggregates import expand
from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes
from mtl_tasks.features.levels import TaskLevels

Columns = dict[str, Floats]
NEAREST: Final = 5  # last items whose mean direction stands for a user's current mood
SHARPNESS: Final = 3  # power of the cosine in a neighbour's weight; 3 beat 1 on the films' blend window (.071 / .046)


@dataclass(frozen=True)
class FittedSpace:
    """A factor space with what it folds in from."""

    solver: Solver
    space: ItemSpace
    interactions: Interactions


def affinity_columns(
    events: CodedEvents,
    rows: CodedRows,
    taste: FittedSpace,
    level_spaces: dict[str, FittedSpace],
    levels: dict[str, TaskLevels],
    last_items: int,
    raw_factors: bool = False,
) -> Columns:
    """Return factor and co-occurrence columns, float32; NaN where the item has no vector or nobody took it yet.

    Parameters
    ----------
    raw_factors
        Whether the taste vectors of user and item are columns as well, a column a dimension.
    """
    made: Columns = {}
    order = np.argsort(rows.days, kind="stable")
    days, starts = np.unique(rows.days[order], return_index=True)
    for day, positions in zip(days, np.split(order, starts[1:]) if len(days) else [], strict=True):
        part = rows.at(positions)
        columns = _Day(int(day), part, taste).columns(raw_factors)
        for task, fitted in level_spaces.items():
            columns[f"user_x_item.{task}.factors"] = _Day(int(day), part, fitted).dot()
        columns |= _near_residuals(int(day), part, taste, levels)
        columns |= _co_occurrence(events.before(int(day)), part, last_items)
        for name, values in columns.items():
            made.setdefault(name, np.full(len(rows), np.nan, dtype=np.float32))[positions] = values
    return made


class _Day:
    """One space on one day: its items, and the rows' users folded in against them."""

    def __init__(self, day: int, rows: CodedRows, fitted: FittedSpace) -> None:
        self._rows = rows
        past = fitted.interactions.before(day)
        self._known, self._items = fitted.space.at(day, past.item_ids)
        self._users = np.unique(rows.users)
        self._values = past.matrix_of(self._users, self._known)
        self._vectors = fitted.solver.fold(self._values, self._items)
        self._past = past
        self._user_at = np.searchsorted(self._users, rows.users)
        self._item_at, self._has_item = _places(self._known, rows.items)

    def _row_vectors(self) -> tuple[Floats, Floats]:
        return self._vectors[self._user_at], self._items[self._item_at]

    def dot(self) -> Floats:
        """Dot product of user and item; NaN without an item vector."""
        if not len(self._items):
            return np.full(len(self._rows), np.nan, dtype=np.float32)
        users, items = self._row_vectors()
        return np.where(self._has_item, np.einsum("ij,ij->i", users, items), np.float32("nan"))

    def columns(self, raw_factors: bool) -> Columns:
        """Dot, cosine, norms, the cosine with the user's last items, and the vectors themselves if asked for."""
        names = ["dot", "cosine", "user_norm", "item_norm", "recent_cosine"]
        dimensions = range(self._items.shape[1]) if raw_factors else range(0)
        names += [f"{whose}_{place}" for whose in ("user", "item") for place in dimensions]
        if not len(self._items):
            return {f"taste.{name}": np.full(len(self._rows), np.nan, dtype=np.float32) for name in names}
        users, items = self._row_vectors()
        dot = self.dot()
        user_norm = np.linalg.norm(users, axis=1)
        item_norm = np.where(self._has_item, np.linalg.norm(items, axis=1), np.float32("nan"))
        values = [dot, _ratio(dot, user_norm * item_norm), user_norm, item_norm, self._recent_cosine(items)]
        values += [users[:, place] for place in dimensions]
        values += [np.where(self._has_item, items[:, place], np.float32("nan")) for place in dimensions]
        return {f"taste.{name}": value for name, value in zip(names, values, strict=True)}

    def _recent_cosine(self, items: Floats) -> Floats:
        unit = _unit(self._items)
        user_at, item = _last_items(self._past, self._users, NEAREST)
        place, known = _places(self._known, item)
        weights = np.ones(int(known.sum()), dtype=np.float32)
        shape = (len(self._users), len(self._known))
        mood = sparse.csr_matrix((weights, (user_at[known], place[known])), shape=shape) @ unit
        cosine = np.einsum("ij,ij->i", _unit(mood)[self._user_at], _unit(items))
        return np.where(self._has_item, cosine, np.float32("nan"))


def _near_residuals(day: int, rows: CodedRows, taste: FittedSpace, levels: dict[str, TaskLevels]) -> Columns:
    """Mean of a user's past residuals, each weighted by how near its item is to the row's item in taste."""
    past = taste.interactions.before(day)
    known, vectors = taste.space.at(day, past.item_ids)
    unit = _unit(vectors)
    item_at, has_item = _places(known, rows.items)
    made: Columns = {}
    for task, level in levels.items():
        end = int(np.searchsorted(level.days, day))
        place, usable = _places(known, level.items[:end])
        usable &= np.isin(level.users[:end], rows.users)
        order = np.argsort(level.users[:end][usable], kind="stable")
        users = level.users[:end][usable][order]
        near = unit[place[usable][order]]
        residual = level.residual[:end][usable][order]
        values = np.zeros(len(rows), dtype=np.float32)
        # A product a user: listing every (row, past item) pair instead took ten times as long on candidate lists.
        for user, positions in _by_user(rows.users, has_item):
            low, high = np.searchsorted(users, user, "left"), np.searchsorted(users, user, "right")
            weight = np.maximum(unit[item_at[positions]] @ near[low:high].T, 0.0).astype(np.float64) ** SHARPNESS
            values[positions] = weight @ residual[low:high] / (weight.sum(axis=1) + 1.0)
        made[f"user_x_item.{task}.near_residual"] = values
    return made


def _by_user(users: Codes, wanted: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Positions of the wanted rows of each user."""
    positions = np.flatnonzero(wanted)
    positions = positions[np.argsort(users[positions], kind="stable")]
    found, starts = np.unique(users[positions], return_index=True)
    yield from zip(found.tolist(), np.split(positions, starts[1:]) if len(found) else [], strict=True)


def _co_occurrence(past: CodedEvents, rows: CodedRows, last_items: int) -> Columns:
    """Cosine-like overlap of the row item's takers with the takers of its user's items.

    ``sum over takers v of the item, v other than the user, of sum over the user's items j that v took of
    1 / sqrt(n_j) / log(2 + n_v)``, over ``sqrt(n_item)``: item-item co-occurrence with heavy users damped, computed
    through the takers so that no item × item matrix is built.
    """
    item_count = np.bincount(past.items, minlength=len(past.item_ids))
    query = np.unique(rows.users)
    user_at = np.searchsorted(query, rows.users)
    takers = _takers(past)
    low, high = takers.indptr[rows.items], takers.indptr[rows.items + 1]
    owner, position = expand(low, high)
    taker = takers.indices[position]
    other = taker != rows.users[owner]
    scale = np.sqrt(np.maximum(item_count[rows.items], 1))
    made: Columns = {}
    for name, limit in (("recent", last_items), ("all", None)):
        basket = _basket(past, query, limit)
        overlap = (basket @ takers).toarray()
        total = np.bincount(owner, weights=overlap[user_at[owner], taker] * other, minlength=len(rows))
        made[f"co_occurrence.{name}"] = np.where(high > low, total / scale, np.nan).astype(np.float32)
    return made


def basket_overlap(past: CodedEvents, users: Codes) -> Floats:
    """Co-occurrence of every item with the items of some users, float32 (users, items); see :func:`_co_occurrence`."""
    takers = _takers(past)
    taken = sparse.csr_matrix(
        (np.ones(len(past.items), dtype=np.float32), (past.users, past.items)), shape=takers.shape[::-1]
    )
    overlap = (_basket(past, users, None) @ takers @ taken).toarray()
    scaled: Floats = overlap / np.sqrt(np.maximum(np.bincount(past.items, minlength=len(past.item_ids)), 1))
    return scaled


def _takers(past: CodedEvents) -> sparse.csr_matrix:
    """Who took an item, (items, users), each weighted by 1 / log(2 + number of items the user took)."""
    count = np.bincount(past.users, minlength=len(past.user_ids))
    weight = (1.0 / np.log(2.0 + count[past.users])).astype(np.float32)
    return sparse.csr_matrix((weight, (past.items, past.users)), shape=(len(past.item_ids), len(past.user_ids)))


def _basket(past: CodedEvents, users: Codes, limit: int | None) -> sparse.csr_matrix:
    """What some users took (their last ``limit``), (users, items), each item weighted by 1 / sqrt(takers)."""
    at, item = _last_items(past, users, limit)
    count = np.bincount(past.items, minlength=len(past.item_ids))
    weight = (1.0 / np.sqrt(count[item])).astype(np.float32)
    return sparse.csr_matrix((weight, (at, item)), shape=(len(users), len(past.item_ids)))


def _last_items(
    past: CodedEvents | Interactions, users: Codes, limit: int | None
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """List the last ``limit`` items of some users (sorted codes): place of the user, item code."""
    mine = np.flatnonzero(np.isin(past.users, users))
    order = mine[np.argsort(past.users[mine], kind="stable")]  # stable: within a user, still by day
    owner = np.searchsorted(users, past.users[order])
    if limit is not None:
        end = np.searchsorted(owner, np.arange(len(users)), side="right")
        recent = end[owner] - np.arange(len(owner)) <= limit
        order, owner = order[recent], owner[recent]
    return owner, past.items[order]


def _places(known: Codes, items: Codes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where items stand in ``known`` (sorted codes; place 0 when absent), and whether they do."""
    if not len(known):
        return np.zeros(len(items), dtype=np.intp), np.zeros(len(items), dtype=bool)
    place = np.minimum(np.searchsorted(known, items), len(known) - 1)
    present = known[place] == items
    return np.where(present, place, 0), present


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, np.float32(1e-9))
    return unit


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.where(denominator > 0, numerator / np.maximum(denominator, np.float32(1e-9)), np.float32("nan"))
