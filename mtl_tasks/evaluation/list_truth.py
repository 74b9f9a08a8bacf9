"""Truth of each list: its user's gains, found by list and item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.data.relevance import GAIN
from mtl_tasks.evaluation.item_catalog import ItemCatalog
from mtl_tasks.metrics.ranking import Values

LIST: Final = [columns.USER, columns.DAY]  # the columns that name a list

Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ListTruth:
    """The gains of each list, found by list and item.

    Attributes
    ----------
    keys, gains, cold
        Of the pairs whose item is in the catalog, in ascending order of ``list * items + item``.
    ideal
        float64 (lists, k): the largest gains of each list, reachable or not.
    count, cold_count
        int64 (lists,): pairs, and those with a cold item.
    """

    items: int
    keys: NDArray[np.int64]
    gains: Values
    cold: Mask
    ideal: Values
    count: NDArray[np.int64]
    cold_count: NDArray[np.int64]
    unreachable: float | None

    @classmethod
    def of(
        cls,
        truth: pd.DataFrame,
        lists: pd.MultiIndex,
        start: NDArray[np.intp],
        catalog: ItemCatalog,
        k: int,
        cold_items: int,
    ) -> Self:
        """Index a truth by list and item.

        Parameters
        ----------
        truth
            User, item, day and ``gain``.
        lists
            User and day of each list.
        start
            (lists,) index of each list's start day.
        k
            Length of a list.
        cold_items
            An item with fewer interactions before the start day is cold.

        Raises
        ------
        ValueError
            If a gain is not above 0, a pair repeats, or a day is not a start day.
        """
        _check_truth(truth, catalog)
        place = lists.get_indexer(pd.MultiIndex.from_frame(truth[LIST]))
        code = pd.Index(catalog.items).get_indexer(pd.Index(truth[columns.ITEM]))
        gains = truth[GAIN].to_numpy(dtype=np.float64)
        inside = code >= 0
        cold = np.ones(len(truth), dtype=np.bool_)
        cold[inside] = catalog.counts[start[place[inside]], code[inside]] < cold_items
        keys = place[inside] * len(catalog) + code[inside]
        order = np.argsort(keys)
        return cls(
            items=len(catalog),
            keys=keys[order],
            gains=gains[inside][order],
            cold=cold[inside][order],
            ideal=_largest(place, gains, len(lists), k),
            count=np.bincount(place, minlength=len(lists)),
            cold_count=np.bincount(place[cold], minlength=len(lists)),
            unreachable=float(1.0 - inside.mean()) if len(truth) else None,
        )

    def gains_of(self, codes: Codes) -> Values:
        """Return the gain at each rank, float64 (lists, k); 0 for a miss."""
        at, hit = self._find(np.arange(len(codes))[:, None], codes)
        return np.where(hit, self.gains[at], 0.0) if len(self.keys) else np.zeros(codes.shape)

    def cold_hits(self, codes: Codes) -> NDArray[np.int64]:
        """Return the number of cold hits of each list, int64 (lists,)."""
        at, hit = self._find(np.arange(len(codes))[:, None], codes)
        cold = hit & self.cold[at] if len(self.keys) else hit
        return np.asarray(cold.sum(axis=1), dtype=np.int64)

    def contains(self, place: NDArray[np.intp], code: NDArray[np.intp]) -> Mask:
        """Mark the pairs of list and item code that are in the truth, bool (n,); code -1 is no item."""
        return self._find(place, code)[1]

    def _find(self, place: NDArray[np.intp], code: NDArray[np.signedinteger[Any]]) -> tuple[NDArray[np.intp], Mask]:
        """Return the position of each pair among the keys, and whether it is there."""
        wanted = place * self.items + code
        at = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        if not len(self.keys):
            return at, np.zeros(wanted.shape, dtype=np.bool_)
        return at, (code >= 0) & (self.keys[at] == wanted)


def _check_truth(truth: pd.DataFrame, catalog: ItemCatalog) -> None:
    gains = truth[GAIN].to_numpy(dtype=np.float64)
    wrong = ~(np.isfinite(gains) & (gains > 0))
    if wrong.any():
        raise ValueError(f"truth of lists: {int(wrong.sum())} gains, such as {gains[wrong][0]:g}, are not above 0")
    repeated = truth.duplicated([*LIST, columns.ITEM])
    if repeated.any():
        raise ValueError(f"truth of lists: {int(repeated.sum())} rows repeat a user, day and item; sum their gains")
    days = truth[columns.DAY].to_numpy()
    unknown = ~np.isin(days, catalog.starts)
    if unknown.any():
        starts = ", ".join(map(str, catalog.starts))
        raise ValueError(f"truth of lists: day {days[unknown][0]} is not a start day of the catalog (known: {starts})")


def _largest(place: NDArray[np.intp], gains: Values, lists: int, k: int) -> Values:
    """Return the k largest gains of each list, largest first, float64 (lists, k)."""
    order = np.lexsort((-gains, place))
    rank = np.arange(len(place)) - np.searchsorted(place[order], place[order])
    ideal = np.zeros((lists, k))
    kept = rank < k
    ideal[place[order][kept], rank[kept]] = gains[order][kept]
    return ideal
