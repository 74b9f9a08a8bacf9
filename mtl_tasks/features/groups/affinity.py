"""Point-in-time affinity of a user and an item: users folded in against the item vectors of a row's day.

Item vectors change only on refresh days. All rows between two of these are processed together, and a user without new
items between two days is folded in once for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import group_starts, stable_argsort
from mtl_tasks.features.als import Floats, ItemFactors, Solver
from mtl_tasks.features.interactions import Codes, IndexedRows
from mtl_tasks.features.running_sums import expand
from mtl_tasks.features.user_history import Positions, UserHistory

Columns = dict[str, Floats]
NEAREST: Final = 5  # last items whose mean direction represents a user's current interest
_ROWS: Final = 1 << 17  # rows whose vectors are in memory at once
_CELLS: Final = 1 << 22  # likewise pairs of a row and an item of the user's history
_SIDE: Final = 64  # the vectors of a row or an item take about as much memory as this many pairs


@dataclass(frozen=True)
class FittedSpace:
    """A fitted factor model with the interactions that users are folded in from."""

    solver: Solver
    space: ItemFactors
    item_ids: NDArray[Any]
    past: UserHistory

    def snapshot(self, day: int) -> Snapshot:
        """Return the item vectors known on a day."""
        known, vectors = self.space.at(day, self.item_ids)
        place = np.full(len(self.item_ids), -1, dtype=np.int64)
        place[known] = np.arange(len(known))
        return Snapshot(place, vectors)

    def fold_in(self, snapshot: Snapshot, starts: Positions, ends: Positions) -> Floats:
        """Return a vector for each slice of ``past``, float32 (slices, dimensions)."""
        owner, position = expand(starts, ends)
        place = snapshot.place[self.past.items[position]]
        known = place >= 0
        lengths = np.bincount(owner[known], minlength=len(starts))
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        entries = (self.past.values[position][known], place[known], pointers)
        values = sparse.csr_matrix(entries, shape=(len(starts), len(snapshot.vectors)))
        return self.solver.fold_in(values, snapshot.vectors)


@dataclass(frozen=True)
class LevelSpace:
    """A label's residuals by user, and the rating factors fitted on them, if any."""

    past: UserHistory
    fitted: FittedSpace | None


@dataclass(frozen=True)
class Snapshot:
    """Item vectors of one day: ``place`` int64 (items,) is the row of each item's vector, -1 if it has none."""

    place: Codes
    vectors: Floats

    @cached_property
    def unit(self) -> Floats:
        """The vectors scaled to length 1, and a zero vector at position -1."""
        return np.vstack([_unit(self.vectors), np.zeros((1, self.vectors.shape[1]), dtype=np.float32)])


def affinity_columns(
    rows: IndexedRows,
    taste: FittedSpace,
    levels: dict[str, LevelSpace],
    raw_factors: bool = False,
) -> Columns:
    """Return factor columns, float32; NaN where the item has no vector.

    Parameters
    ----------
    levels
        By task, with the residuals up to the rows' last day.
    raw_factors
        Whether to add the preference factors of user and item, one column per dimension.
    """
    made: Columns = {}

    def put(positions: Positions, columns: Columns) -> None:
        for name, values in columns.items():
            made.setdefault(name, np.full(len(rows), np.nan, dtype=np.float32))[positions] = values

    for snapshot, positions in _epochs(rows, taste):
        part = rows.at(positions)
        put(positions, _taste_columns(part, taste, snapshot, raw_factors))
        for task, level in levels.items():
            put(positions, {f"user_x_item.{task}.near_residual": _near_residual(part, level.past, snapshot)})
    for task, level in levels.items():
        if level.fitted is None:
            continue
        for snapshot, positions in _epochs(rows, level.fitted):
            part = rows.at(positions)
            users = _Users.fold_in(part, level.fitted, snapshot)
            put(positions, {f"user_x_item.{task}.factors": _dot(users, part, snapshot)})
    return made


def _epochs(rows: IndexedRows, fitted: FittedSpace) -> Iterator[tuple[Snapshot, Positions]]:
    """Yield the positions of the rows between two changes of the item vectors, in bounded parts."""
    changes = np.unique(fitted.space.valid_from)
    epoch = np.searchsorted(changes, rows.days, side="right")
    for number in np.unique(epoch):
        positions = np.flatnonzero(epoch == number)
        positions = positions[stable_argsort(rows.users[positions], rows.days[positions])]
        snapshot = fitted.snapshot(int(rows.days[positions].max()))
        # A user's rows of a day stay together: the last bit of their values depends on all of them.
        first = np.flatnonzero(np.diff(rows.users[positions]) | np.diff(rows.days[positions])) + 1
        cuts = first[np.flatnonzero(np.diff(first // _ROWS)) + 1] if len(first) else first
        for part in np.split(positions, cuts):
            yield snapshot, part


@dataclass(frozen=True)
class _Users:
    """The distinct histories of the rows' users, folded in; row ``i`` has ``vectors[at[i]]``."""

    vectors: Floats
    at: Positions
    starts: Positions
    ends: Positions

    @classmethod
    def fold_in(cls, rows: IndexedRows, fitted: FittedSpace, snapshot: Snapshot) -> _Users:
        starts, ends = fitted.past.before(rows.users, rows.days)
        # A history is identified by its end; all empty ones are equal.
        _, first, at = np.unique(np.where(ends > starts, ends, -1), return_index=True, return_inverse=True)
        starts, ends = starts[first], ends[first]
        return cls(fitted.fold_in(snapshot, starts, ends), at, starts, ends)


def _dot(users: _Users, rows: IndexedRows, snapshot: Snapshot) -> Floats:
    place = snapshot.place[rows.items]
    if not len(snapshot.vectors):
        return np.full(len(rows), np.nan, dtype=np.float32)
    dot = np.einsum("ij,ij->i", users.vectors[users.at], snapshot.vectors[place])
    return np.where(place >= 0, dot, np.float32("nan"))


def _taste_columns(rows: IndexedRows, taste: FittedSpace, snapshot: Snapshot, raw_factors: bool) -> Columns:
    """Return dot product, cosine, norms, cosine with the user's last items, and the vectors if ``raw_factors``."""
    place = snapshot.place[rows.items]
    known = place >= 0
    names = ["dot", "cosine", "user_norm", "item_norm", "recent_cosine"]
    dimensions = range(snapshot.vectors.shape[1]) if raw_factors else range(0)
    if not len(snapshot.vectors):
        names += [f"{whose}_{axis}" for whose in ("user", "item") for axis in dimensions]
        return {f"taste.{name}": np.full(len(rows), np.nan, dtype=np.float32) for name in names}
    users = _Users.fold_in(rows, taste, snapshot)
    dot = _dot(users, rows, snapshot)
    user_norm = np.linalg.norm(users.vectors, axis=1)[users.at]
    item_norm = np.where(known, np.linalg.norm(snapshot.vectors, axis=1)[place], np.float32("nan"))
    columns = {"dot": dot, "cosine": _ratio(dot, user_norm * item_norm), "user_norm": user_norm, "item_norm": item_norm}
    columns["recent_cosine"] = _recent_cosine(rows, taste, snapshot, users)
    for axis in dimensions:
        columns[f"user_{axis}"] = users.vectors[users.at, axis]
        columns[f"item_{axis}"] = np.where(known, snapshot.vectors[place, axis], np.float32("nan"))
    return {f"taste.{name}": values for name, values in columns.items()}


def _recent_cosine(rows: IndexedRows, taste: FittedSpace, snapshot: Snapshot, users: _Users) -> Floats:
    owner, position = expand(np.maximum(users.starts, users.ends - NEAREST), users.ends)
    near = snapshot.place[taste.past.items[position]]
    shape = (len(users.vectors), len(snapshot.unit))
    mood = sparse.csr_matrix((np.ones(len(near), dtype=np.float32), (owner, near % shape[1])), shape=shape)
    place = snapshot.place[rows.items]
    cosine = np.einsum("ij,ij->i", _unit(mood @ snapshot.unit)[users.at], snapshot.unit[place])
    return np.where(place >= 0, cosine, np.float32("nan"))


def _near_residual(rows: IndexedRows, past: UserHistory, snapshot: Snapshot) -> Floats:
    """Return the damped mean of a user's past residuals, weighted by the similarity of their items to the row's item.

    The rows of a user and day share one history, so all their pairs form one matrix product. Products of similar size
    are padded and batched. The padded size, and with it the last bit, depends only on the rows of that user and day.
    """
    starts, ends = past.before(rows.users, rows.days)
    values = np.zeros(len(rows), dtype=np.float32)
    wanted = np.flatnonzero((snapshot.place[rows.items] >= 0) & (ends > starts))
    for group in _blocks(rows, wanted, starts, ends):
        row, in_row = _filled(group.first_row, group.rows)
        event, in_event = _filled(group.first_event, group.events)
        mine = np.where(in_row, snapshot.place[rows.items[wanted[row]]], -1)
        near = np.where(in_event, snapshot.place[past.items[event]], -1)
        weight = _nearness(snapshot.unit[mine] @ snapshot.unit[near].transpose(0, 2, 1))
        residual = np.where(in_event, past.values[event], 0.0).astype(np.float32)
        made = (weight @ residual[:, :, None])[:, :, 0] / (weight.sum(axis=2) + np.float32(1.0))
        values[wanted[row[in_row]]] = made[in_row]
    return values


@dataclass(frozen=True)
class _Blocks:
    """Rows of one user and day against that user's history: start and length of both, (blocks,) each."""

    first_row: Positions
    rows: Positions
    first_event: Positions
    events: Positions

    def at(self, positions: Positions) -> _Blocks:
        return _Blocks(
            self.first_row[positions], self.rows[positions], self.first_event[positions], self.events[positions]
        )


def _blocks(rows: IndexedRows, wanted: Positions, starts: Positions, ends: Positions) -> Iterator[_Blocks]:
    """Yield blocks of consecutive wanted rows of a user and day, grouped by similar size, in bounded parts."""
    users, days, lengths = rows.users[wanted], rows.days[wanted], (ends - starts)[wanted]
    first = group_starts(users) | group_starts(days)
    begin = np.flatnonzero(first)
    rank = np.arange(len(wanted)) - begin[np.cumsum(first) - 1]
    begin = np.flatnonzero(rank % np.maximum(_CELLS // np.maximum(lengths, 1), 1) == 0)
    blocks = _Blocks(begin, np.diff(np.append(begin, len(wanted))), starts[wanted[begin]], lengths[begin])
    tall, wide = _rounded(blocks.rows), _rounded(blocks.events)
    order = stable_argsort(tall, wide)
    for positions in np.split(order, np.flatnonzero(np.diff(tall[order]) | np.diff(wide[order])) + 1):
        if len(positions):
            cells = max(tall[positions[0]] * wide[positions[0]], _SIDE * (tall[positions[0]] + wide[positions[0]]))
            parts = min(len(positions), len(positions) * cells // _CELLS + 1)
            yield from (blocks.at(part) for part in np.array_split(positions, parts))


def _filled(first: Positions, lengths: Positions) -> tuple[Positions, NDArray[np.bool_]]:
    """Return positions from each first one on, (blocks, rounded length), and which are within the length."""
    inside = np.arange(_rounded(lengths).max()) < lengths[:, None]
    return np.where(inside, first[:, None] + np.arange(inside.shape[1]), 0), inside


def _rounded(lengths: Positions) -> Positions:
    """Round up to three significant bits: few distinct sizes, each at most a quarter too large."""
    step = 2 ** np.maximum(np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64) - 2, 0)
    rounded: Positions = -(-lengths // step) * step
    return rounded


def _nearness(cosine: Floats) -> Floats:
    positive = np.maximum(cosine, np.float32(0.0))
    nearness: Floats = positive * positive * positive  # a tenth of the time of np.power
    return nearness


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, np.float32(1e-9))
    return unit


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.where(denominator > 0, numerator / np.maximum(denominator, np.float32(1e-9)), np.float32("nan"))
