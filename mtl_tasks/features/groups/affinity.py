"""Point-in-time affinity of a user and an item: users folded in against the item vectors of a row's day.

Item vectors change only on refresh days. All rows between two of these are processed together, and a user without new
items between two days is folded in once for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import group_starts, stable_argsort
from mtl_tasks.core.feature_columns import ColumnKind, FeatureColumn, Subject, readable
from mtl_tasks.features.als import Floats, ItemFactors, Solver
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.groups.label_statistics import LabelStatistics, of_tasks
from mtl_tasks.features.interactions import Codes, IndexedRows, positive_confidence
from mtl_tasks.features.running_sums import expand
from mtl_tasks.features.user_history import Positions, UserHistory
from mtl_tasks.scenario import Scenario

Columns = dict[str, Floats]
TASTE: Final = "taste"  # name of the preference factors
NEAREST: Final = 5  # last items whose mean direction represents a user's current interest
_ROWS: Final = 1 << 17  # rows whose vectors are in memory at once
_CELLS: Final = 1 << 22  # likewise pairs of a row and an item of the user's history
_SIDE: Final = 64  # the vectors of a row or an item take about as much memory as this many pairs


@dataclass(frozen=True)
class FittedFactors:
    """A fitted factor model with the interactions that users are folded in from."""

    solver: Solver
    item_factors: ItemFactors
    item_ids: NDArray[Any]
    past: UserHistory

    def snapshot(self, day: int) -> Snapshot:
        """Return the item vectors known on a day."""
        known, vectors = self.item_factors.at(day, self.item_ids)
        vector_rows = np.full(len(self.item_ids), -1, dtype=np.int64)
        vector_rows[known] = np.arange(len(known))
        return Snapshot(vector_rows, vectors)

    def fold_in(self, snapshot: Snapshot, starts: Positions, ends: Positions) -> Floats:
        """Return a vector for each slice of ``past``, float32 (slices, dimensions)."""
        owner, position = expand(starts, ends)
        vector_rows = snapshot.vector_rows[self.past.items[position]]
        known = vector_rows >= 0
        lengths = np.bincount(owner[known], minlength=len(starts))
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        entries = (self.past.values[position][known], vector_rows[known], pointers)
        values = sparse.csr_matrix(entries, shape=(len(starts), len(snapshot.vectors)))
        return self.solver.fold_in(values, snapshot.vectors)


@dataclass(frozen=True)
class TaskResiduals:
    """A label's residuals by user, and the rating factors fitted on them, if any."""

    past: UserHistory
    fitted: FittedFactors | None


@dataclass(frozen=True)
class Snapshot:
    """Item vectors of one day: ``vector_rows`` int64 (items,) is the row of each item's vector, -1 if it has none."""

    vector_rows: Codes
    vectors: Floats

    @cached_property
    def unit(self) -> Floats:
        """The vectors scaled to length 1, and a zero vector at position -1."""
        return np.vstack([_unit(self.vectors), np.zeros((1, self.vectors.shape[1]), dtype=np.float32)])


class Affinity(FeatureGroup):
    """Preference factors, and a label's residuals by rating factors and by similar items.

    It holds no statistics of its own: users are folded in from the interactions before a row's day.
    """

    any_day = True
    name = "affinity"

    def __init__(self, inputs: GroupInputs, levels: dict[str, LabelStatistics]) -> None:
        self._inputs, self._levels = inputs, levels
        self._day = 0
        self._residuals_until = 0  # day before which the residuals in `_labeled` are known

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        labeled = [name for name in scenario.labels if name in scenario.tasks]
        return [*_declared_taste(scenario), *_declared_residuals(labeled, scenario.tasks_of("regression"))]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        return [cls(inputs, of_tasks(inputs))]

    @cached_property
    def taste(self) -> FittedFactors:
        """The preference factors."""
        positives = self._inputs.positives
        confidence = positive_confidence(positives, self._inputs.scenario)
        past = UserHistory.of(positives.users, positives.items, positives.days, confidence, len(positives.user_ids))
        return self._factors(TASTE, past)

    def advance(self, day: int) -> None:
        """See :class:`FeatureGroup`."""
        self._day = day

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`."""
        return affinity_columns(rows, self.taste, self._task_residuals(), self._inputs.scenario.features.raw_factors)

    @cached_property
    def _labeled(self) -> dict[str, UserHistory]:
        """Labeled interactions by task."""
        users = len(self._inputs.events.user_ids)
        return {
            task: UserHistory.of(level.users, level.items, level.days, level.residual, users)
            for task, level in self._levels.items()
        }

    def _task_residuals(self) -> dict[str, TaskResiduals]:
        """Return the rating factors by task, with the residuals known so far."""
        if self._residuals_until != self._day:
            self._residuals_until = self._day
            self._labeled |= {
                task: past.with_values(self._levels[task].residual) for task, past in self._labeled.items()
            }
        fitted = {task: level_name(task) for task in self._labeled if level_name(task) in self._inputs.factor_models}
        return {
            task: TaskResiduals(past, self._factors(fitted[task], past) if task in fitted else None)
            for task, past in self._labeled.items()
        }

    def _factors(self, name: str, past: UserHistory) -> FittedFactors:
        inputs = self._inputs
        return FittedFactors(inputs.solvers()[name], inputs.factor_models[name], inputs.events.item_ids, past)


def level_name(task: str) -> str:
    """Return the name of a task's rating factors."""
    return f"level:{task}"


def affinity_columns(
    rows: IndexedRows,
    taste: FittedFactors,
    levels: dict[str, TaskResiduals],
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


def _epochs(rows: IndexedRows, fitted: FittedFactors) -> Iterator[tuple[Snapshot, Positions]]:
    """Yield the positions of the rows between two changes of the item vectors, in bounded parts."""
    changes = np.unique(fitted.item_factors.valid_from)
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
    def fold_in(cls, rows: IndexedRows, fitted: FittedFactors, snapshot: Snapshot) -> _Users:
        starts, ends = fitted.past.before(rows.users, rows.days)
        # A history is identified by its end; all empty ones are equal.
        _, first, at = np.unique(np.where(ends > starts, ends, -1), return_index=True, return_inverse=True)
        starts, ends = starts[first], ends[first]
        return cls(fitted.fold_in(snapshot, starts, ends), at, starts, ends)


def _dot(users: _Users, rows: IndexedRows, snapshot: Snapshot) -> Floats:
    vector_rows = snapshot.vector_rows[rows.items]
    if not len(snapshot.vectors):
        return np.full(len(rows), np.nan, dtype=np.float32)
    dot = np.einsum("ij,ij->i", users.vectors[users.at], snapshot.vectors[vector_rows])
    return np.where(vector_rows >= 0, dot, np.float32("nan"))


def _taste_columns(rows: IndexedRows, taste: FittedFactors, snapshot: Snapshot, raw_factors: bool) -> Columns:
    """Return dot product, cosine, norms, cosine with the user's last items, and the vectors if ``raw_factors``."""
    vector_rows = snapshot.vector_rows[rows.items]
    known = vector_rows >= 0
    names = ["dot", "cosine", "user_norm", "item_norm", "recent_cosine"]
    dimensions = range(snapshot.vectors.shape[1]) if raw_factors else range(0)
    if not len(snapshot.vectors):
        names += [f"{whose}_{axis}" for whose in ("user", "item") for axis in dimensions]
        return {f"taste.{name}": np.full(len(rows), np.nan, dtype=np.float32) for name in names}
    users = _Users.fold_in(rows, taste, snapshot)
    dot = _dot(users, rows, snapshot)
    user_norm = np.linalg.norm(users.vectors, axis=1)[users.at]
    item_norm = np.where(known, np.linalg.norm(snapshot.vectors, axis=1)[vector_rows], np.float32("nan"))
    columns = {"dot": dot, "cosine": _ratio(dot, user_norm * item_norm), "user_norm": user_norm, "item_norm": item_norm}
    columns["recent_cosine"] = _recent_cosine(rows, taste, snapshot, users)
    for axis in dimensions:
        columns[f"user_{axis}"] = users.vectors[users.at, axis]
        columns[f"item_{axis}"] = np.where(known, snapshot.vectors[vector_rows, axis], np.float32("nan"))
    return {f"taste.{name}": values for name, values in columns.items()}


def _recent_cosine(rows: IndexedRows, taste: FittedFactors, snapshot: Snapshot, users: _Users) -> Floats:
    owner, position = expand(np.maximum(users.starts, users.ends - NEAREST), users.ends)
    near = snapshot.vector_rows[taste.past.items[position]]
    shape = (len(users.vectors), len(snapshot.unit))
    mood = sparse.csr_matrix((np.ones(len(near), dtype=np.float32), (owner, near % shape[1])), shape=shape)
    vector_rows = snapshot.vector_rows[rows.items]
    cosine = np.einsum("ij,ij->i", _unit(mood @ snapshot.unit)[users.at], snapshot.unit[vector_rows])
    return np.where(vector_rows >= 0, cosine, np.float32("nan"))


def _near_residual(rows: IndexedRows, past: UserHistory, snapshot: Snapshot) -> Floats:
    """Return the damped mean of a user's past residuals, weighted by the similarity of their items to the row's item.

    The rows of a user and day share one history, so all their pairs form one matrix product. Products of similar size
    are padded and batched. The padded size, and with it the last bit, depends only on the rows of that user and day.
    """
    starts, ends = past.before(rows.users, rows.days)
    values = np.zeros(len(rows), dtype=np.float32)
    wanted = np.flatnonzero((snapshot.vector_rows[rows.items] >= 0) & (ends > starts))
    for group in _blocks(rows, wanted, starts, ends):
        row, in_row = _filled(group.first_row, group.rows)
        event, in_event = _filled(group.first_event, group.events)
        mine = np.where(in_row, snapshot.vector_rows[rows.items[wanted[row]]], -1)
        near = np.where(in_event, snapshot.vector_rows[past.items[event]], -1)
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


def _declared_taste(scenario: Scenario) -> list[FeatureColumn]:
    def column(name: str, kind: ColumnKind, description: str, about: Subject = "pair") -> FeatureColumn:
        return FeatureColumn(f"taste.{name}", kind, description, about)

    sides: tuple[Subject, ...] = ("user", "item")
    return [
        column("dot", "factor_score", "match of the user's and the item's preference factors"),
        column("cosine", "factor_cosine", "match of the preference factors' directions (cosine)"),
        *(
            column(f"{side}_norm", "factor_norm", f"strength of the {side}'s preference factors", side)
            for side in sides
        ),
        column("recent_cosine", "factor_cosine", "similarity of the item to the user's last items (cosine)"),
        *(
            column(f"{side}_{axis}", "factor", f"dimension {axis} of the {side}'s preference factors", side)
            for axis in (range(scenario.factors.dimensions) if scenario.features.raw_factors else ())
            for side in sides
        ),
    ]


def _declared_residuals(labeled: list[str], regressions: list[str]) -> list[FeatureColumn]:
    near = [
        FeatureColumn(
            f"user_x_item.{task}.near_residual",
            "neighbor_residual",
            f"{readable(task)} of the user for similar items, beyond the levels",
            "pair",
            task,
        )
        for task in labeled
    ]
    return near + [
        FeatureColumn(
            f"user_x_item.{task}.factors",
            "factor_residual",
            f"{readable(task)} beyond the levels, predicted from factors",
            "pair",
            task,
        )
        for task in regressions
    ]
