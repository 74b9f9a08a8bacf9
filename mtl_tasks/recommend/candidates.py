"""Candidate items of a user: the union of what cheap sources offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.arrays import group_starts, stable_argsort
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.features.builder import FeatureMaker
from mtl_tasks.features.interactions import Codes, IndexedRows
from mtl_tasks.models.deep.two_tower import TwoTower
from mtl_tasks.recommend.sources import (
    AttributeMatch,
    CoOccurring,
    Ease,
    ItemNeighbors,
    NearestByContent,
    NearestByFactors,
    NearestByTowers,
    NewItems,
    PastPositives,
    Popular,
    Repeats,
    Source,
)
from mtl_tasks.recommend.sources.popular import POPULAR_DAYS
from mtl_tasks.scenario import SOURCE_NAMES, Scenario, SourceName

SOURCES: Final = "sources"  # column of scored candidates: the mask of the sources that offered the row

Masks = NDArray[np.uint16]


class Candidates:
    """The candidates of a day; data common to all users is computed once.

    Parameters
    ----------
    maker
        It must be advanced to ``day``.
    scenario
        Of its section ``recommend``: the sources' sizes, and whether items may repeat.
    towers
        Model of the source ``two_tower``, fitted before ``day``; None if that source is off.

    Attributes
    ----------
    last_week
        int64 (items,): positive interactions of each item in the last seven days.
    last_day
        The same of the last day.
    """

    def __init__(self, maker: FeatureMaker, day: int, scenario: Scenario, towers: TwoTower | None = None) -> None:
        past = PastPositives(maker.positives.before(day), day)
        self._day, self._items = day, past.shape[1]
        self._leave_out = scenario.recommend.repeat == "leave_out"
        self.last_week, self.last_day = past.counts_since(day - POPULAR_DAYS), past.counts_since(day - 1)
        self._seen = past.matrix()
        made = _makers(maker, past, self.last_week, scenario.boosting.threads, towers)
        self._sources = [made[name](size) for name, size in scenario.recommend.source_sizes.items()]

    def rows(self, users: Codes) -> tuple[IndexedRows, Masks]:
        """Return the candidates of some users, and the sources that offered each.

        Parameters
        ----------
        users
            Sorted user codes.

        Returns
        -------
        tuple
            The rows, ordered by user, then item, without duplicates and, unless items may repeat, without items that
            the user already has. uint16 (rows,) masks, with :func:`source_bit` for each source.
        """
        seen = self._seen[users]
        offered = [(source_bit(source.name), *source.top(users, seen)) for source in self._sources]
        # One number for each pair: rows in order are these numbers in order.
        pairs = np.concatenate([owner * self._items + item for _, owner, item in offered])
        bits = np.concatenate([np.full(len(item), bit, dtype=np.uint16) for bit, _, item in offered])
        pairs, masks = _united(pairs, bits)
        if self._leave_out:
            other = ~_contained(pairs, seen)
            pairs, masks = pairs[other], masks[other]
        owner, item = np.divmod(pairs, max(self._items, 1))
        return IndexedRows(users[owner], item, np.full(len(item), self._day, dtype=np.int64)), masks


def source_bit(name: SourceName) -> int:
    """Return the bit of a source in a mask.

    >>> source_bit("als"), source_bit("co_occurrence")
    (1, 4)
    """
    return 1 << SOURCE_NAMES.index(name)


def _makers(
    maker: FeatureMaker, past: PastPositives, last_week: NDArray[np.int64], threads: int, towers: TwoTower | None
) -> dict[SourceName, Callable[[int], Source]]:
    """Return for each source the function that makes it for a size."""
    attributes, day = maker.about_items.listed, past.day
    return {
        "als": lambda size: NearestByFactors(maker.taste, day, size),
        "popular": lambda size: Popular(last_week, size),
        "co_occurrence": lambda size: CoOccurring(maker.co_occurrence, day, size),
        "attributes": lambda size: AttributeMatch(attributes, past, size),
        "item_item": lambda size: ItemNeighbors(past, size, threads),
        "ease": lambda size: Ease(past, size),
        "new_items": lambda size: NewItems(attributes, maker.events.before(day), past, size),
        "repeats": lambda size: Repeats(past, size),
        "two_tower": lambda size: NearestByTowers(_fitted(towers), maker, day, size),
        "content": lambda size: NearestByContent(maker.contents, maker.events.before(day), day, size),
    }


def _fitted(towers: TwoTower | None) -> TwoTower:
    if towers is None:
        raise ArtifactError("recommend.sources.two_tower: the run has no fitted two-tower model: run it again")
    return towers


def _united(pairs: NDArray[np.int64], bits: Masks) -> tuple[NDArray[np.int64], Masks]:
    """Return the distinct pairs, ascending, and the union of the bits of each."""
    if not len(pairs):
        return pairs, bits
    order = stable_argsort(pairs)
    pairs, bits = pairs[order], bits[order]
    starts = np.flatnonzero(group_starts(pairs))
    return pairs[starts], np.bitwise_or.reduceat(bits, starts)


def _contained(pairs: NDArray[np.int64], seen: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Mark the pairs (ascending) that ``seen`` has."""
    owner = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    had = owner * seen.shape[1] + seen.indices
    place = np.searchsorted(pairs, had)
    found = place < len(pairs)
    found[found] = pairs[place[found]] == had[found]
    mask = np.zeros(len(pairs), dtype=np.bool_)
    mask[place[found]] = True
    return mask


def sorted_codes(ids: NDArray[Any], wanted: NDArray[Any]) -> Codes:
    """Return the codes of wanted ids in sorted ids; absent ones are omitted."""
    wanted = np.unique(wanted)
    place = np.searchsorted(ids, wanted)
    inside = place < len(ids)
    inside[inside] = ids[place[inside]] == wanted[inside]
    return place[inside].astype(np.int64)
