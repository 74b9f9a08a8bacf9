"""Greedy choice of recommendations under rules: maximal marginal relevance, caps and new items.

Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998) chooses, place by place, the candidate with the largest
``(1 - diversity) * relevance - diversity * (largest similarity to the items already chosen)``. The relevance is the
candidate's rank, scaled to 1 for the first and 0 for the last of the user's pool. A rank, not the score: a score is
arithmetic over predictions, in any unit and often with a long tail, where scaling by minimum and maximum leaves one
candidate near 1 and all others near 0, and one value of ``diversity`` would mean something else in every scenario.

All users take one step together, on padded matrices; each user's choice depends on no other user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.arrays import Positions, group_starts, stable_argsort
from mtl_tasks.features.als import Floats
from mtl_tasks.features.attribute_values import MultiValued
from mtl_tasks.features.running_sums import expand
from mtl_tasks.recommend.item_facts import ItemFacts
from mtl_tasks.scenario.reranking import Reranking

Mask = NDArray[np.bool_]
_BESIDE: Final = -2.0  # value of a candidate outside the pool: below every value of maximal marginal relevance


@dataclass(frozen=True)
class CandidateMatrix:
    """Candidates of some users, best first, a row for each user; short rows are padded.

    Attributes
    ----------
    positions
        int64 (users, width): row of each candidate in the caller's table, -1 in the padding.
    items
        int64 (users, width): item codes, 0 in the padding.
    score
        float64 (users, width), NaN in the padding.
    """

    positions: Positions
    items: Positions
    score: NDArray[np.float64]

    @classmethod
    def of(
        cls, users: NDArray[Any], positions: Positions, items: Positions, score: NDArray[np.float64]
    ) -> CandidateMatrix:
        """Arrange candidates, (n,) each, ordered by user and then best first."""
        first = group_starts(users)
        row = np.cumsum(first) - 1
        column = np.arange(len(users)) - np.flatnonzero(first)[row]
        shape = int(row.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1
        made = cls(np.full(shape, -1), np.zeros(shape, dtype=np.int64), np.full(shape, np.nan))
        made.positions[row, column], made.items[row, column], made.score[row, column] = positions, items, score
        return made

    def of_users(self, rows: Positions) -> CandidateMatrix:
        """Return the candidates of some of the users."""
        return CandidateMatrix(self.positions[rows], self.items[rows], self.score[rows])

    @property
    def filled(self) -> Mask:
        """The mask of the cells with a candidate, bool (users, width)."""
        return self.positions >= 0

    @property
    def rated(self) -> Mask:
        """The mask of the cells whose score is a number, bool (users, width)."""
        return ~np.isnan(self.score)


def select(candidates: CandidateMatrix, k: int, rules: Reranking, facts: ItemFacts) -> Positions:
    """Return the columns of each user's list, int64 (users, k), in its order; -1 where nothing is left.

    A list with too few new items is made again: first the best new items that the caps allow, then the others, and at
    last the order of the chosen. It replaces the first list if it has more new items. An item without a score gets no
    such place, since it would displace one with a score.
    """
    chosen = _Selection(candidates, k, rules, facts, capped=True).take(candidates.filled, k)
    if rules.new_items is None:
        return chosen
    least = min(rules.new_items.at_least, k)
    had = count_at(facts.new[candidates.items], chosen)
    again = np.flatnonzero(had < least)
    some = candidates.of_users(again)
    new = facts.new[some.items]
    selection = _Selection(some, k, rules, facts, capped=True)
    reserved = selection.take(new & some.rated, least)
    rest = selection.take(some.filled, k, k - count_at(some.filled, reserved))
    both = _marked(some, reserved) | _marked(some, rest)
    ordered = _Selection(some, k, rules, facts, capped=False).take(both, k)
    better = count_at(new, ordered) > had[again]
    chosen[again[better]] = ordered[better]
    return chosen


def count_at(mask: Mask, chosen: Positions) -> Positions:
    """Return how many of each user's chosen columns a mask (users, width) marks, int64 (users,)."""
    if not mask.shape[1]:
        return np.zeros(len(mask), dtype=np.int64)
    marked = np.take_along_axis(mask, np.maximum(chosen, 0), axis=1) & (chosen >= 0)
    counts: Positions = np.count_nonzero(marked, axis=1)
    return counts


def _marked(candidates: CandidateMatrix, chosen: Positions) -> Mask:
    marks = np.zeros(candidates.positions.shape, dtype=np.bool_)
    row, place = np.nonzero(chosen >= 0)
    marks[row, chosen[row, place]] = True
    return marks


class _Selection:
    """State of the choice: which candidates are left, and what the chosen ones make of them."""

    def __init__(self, candidates: CandidateMatrix, k: int, rules: Reranking, facts: ItemFacts, capped: bool) -> None:
        self._open = candidates.filled
        self._users = np.arange(len(self._open))
        caps = rules.at_most if capped else {}
        self._caps = [_Cap(facts.attributes[name], candidates, most) for name, most in caps.items()]
        self._relevance = None
        if facts.vectors is not None:
            self._relevance = _MarginalRelevance(candidates, k * rules.pool_factor, rules.diversity, facts.vectors)

    def take(self, allowed: Mask, most: int, each: Positions | None = None) -> Positions:
        """Choose up to ``most`` allowed candidates of each user, or ``each`` if fewer; return their columns."""
        taken = np.full((len(self._open), most), -1)
        for place in range(most if self._open.size else 0):
            wanted = self._open & allowed
            if each is not None:
                wanted &= (place < each)[:, None]
            values = wanted if self._relevance is None else np.where(wanted, self._relevance.values(), -np.inf)
            column = values.argmax(axis=1)
            found = np.flatnonzero(wanted[self._users, column])
            if not len(found):
                break
            taken[found, place] = column[found]
            self._add(found, column[found])
        return taken

    def _add(self, users: Positions, column: Positions) -> None:
        self._open[users, column] = False
        for cap in self._caps:
            self._open.reshape(-1)[cap.add(users, column)] = False
        if self._relevance is not None:
            self._relevance.add(users, column)


class _MarginalRelevance:
    """Value of each candidate, given the items that its user's list has.

    Only the first ``size`` candidates with a number as their score have one; the others follow in their order.
    """

    def __init__(self, candidates: CandidateMatrix, size: int, diversity: float, vectors: Floats) -> None:
        self._weight = diversity
        self._rated = candidates.rated[:, :size]
        self._relevance = (1.0 - diversity) * _relevance(candidates.score[:, :size])
        self._items, self._vectors = candidates.items, vectors
        self._near = vectors[candidates.items[:, :size]]
        self._largest = np.full(self._rated.shape, -np.inf)
        self._values = np.full(candidates.positions.shape, _BESIDE)

    def values(self) -> NDArray[np.float64]:
        """Return the marginal relevance, float64 (users, width)."""
        penalty = np.where(np.isneginf(self._largest), 0.0, self._largest)  # nothing is chosen yet
        made = self._relevance - self._weight * penalty
        self._values[:, : made.shape[1]] = np.where(self._rated, made, _BESIDE)
        return self._values

    def add(self, users: Positions, column: Positions) -> None:
        """Note that the lists of some users got an item each."""
        everyone = len(users) == len(self._near)  # spares a copy of all vectors
        near = self._near if everyone else self._near[users]
        # Unlike a product of matrices, it rounds each similarity alike whatever stands beside it.
        similarity = np.vecdot(near, self._vectors[self._items[users, column]][:, None, :])
        self._largest[users] = np.maximum(self._largest[users], similarity)


class _Cap:
    """Counts of an attribute's values in the lists; it closes the candidates with a value that is at its cap."""

    def __init__(self, attribute: MultiValued, candidates: CandidateMatrix, most: int) -> None:
        self._width, self._most = candidates.positions.shape[1], most
        cells = np.flatnonzero(candidates.filled)
        owner, value = attribute.of(candidates.items.reshape(-1)[cells])
        cell = cells[owner]
        # A group is a value in the list of one user.
        _, self._groups = np.unique(cell // max(self._width, 1) * attribute.size + value, return_inverse=True)
        self._starts = np.searchsorted(cell, np.arange(candidates.positions.size + 1))
        order = stable_argsort(self._groups)
        self._cells = cell[order]
        self._counts = np.zeros(int(self._groups.max(initial=-1)) + 1, dtype=np.int64)
        self._bounds = np.searchsorted(self._groups[order], np.arange(len(self._counts) + 1))

    def add(self, users: Positions, column: Positions) -> Positions:
        """Count an item for each of some users; return the cells to close, as positions in the flattened matrix."""
        cell = users * self._width + column
        _, entry = expand(self._starts[cell], self._starts[cell + 1])
        groups = self._groups[entry]
        self._counts[groups] += 1  # once also for an item that has a value twice
        full = groups[self._counts[groups] == self._most]
        _, entry = expand(self._bounds[full], self._bounds[full + 1])
        closed: Positions = self._cells[entry]
        return closed


def _relevance(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each score in its row, scaled to 1 for the first and 0 for the last; ties share the first's.

    Parameters
    ----------
    score
        float64 (users, n), descending, NaN last.
    """
    column = np.arange(score.shape[1])
    tied = np.zeros(score.shape, dtype=np.bool_)
    tied[:, 1:] = score[:, 1:] == score[:, :-1]
    rank = np.maximum.accumulate(np.where(tied, 0, column), axis=1)
    last = np.maximum(np.count_nonzero(~np.isnan(score), axis=1) - 1, 1)
    scaled: NDArray[np.float64] = 1.0 - rank / last[:, None]
    return scaled
