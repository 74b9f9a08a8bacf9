"""Sampled negatives of a task whose log has only positives: items new to the user, drawn by popularity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import group_starts, id_array, stable_argsort

DRAWN_FOR: Final = "drawn_for"
MIN_USERS: Final = 50  # with positives on the days that negatives are drawn from; fewer would reflect one user's taste
MAX_DRAWS: Final = 20  # redraws from the same days of items that a user already has; then more days are added

Codes = NDArray[np.int64]


def draw_negatives(
    positives: pd.DataFrame, takes: pd.DataFrame, events: pd.DataFrame, per_positive: int, power: float, seed: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Draw items that are new to the user, in proportion to their popularity to the power ``power``.

    Popularity is that of the positive's own day, if at least ``MIN_USERS`` users have positives on it. On quieter days,
    and if a user runs out of different items, it is that of the last 2, 4, 8, … days that end with the day and have as
    many users.

    These longer windows give only items that are known before the positive's day. A positive of a new item would stand
    out among them: on a quiet day it draws from other items that are new on that day, and is left out if they are too
    few.

    A day's draws depend only on the seed, the day and the log up to that day, so that runs at different as_of share
    them. An item that the user interacted with by the end of that day is never drawn, and none is drawn twice for a
    user and a day.

    Parameters
    ----------
    positives
        The n rows to draw for: user, item, day.
    takes
        The positives of the whole log, over which popularity is counted: user, item, day.
    events
        All interactions, none of which is drawn as a negative from its day on: user, item, day.

    Returns
    -------
    draws
        user, item and day (m,), m at most ``n * per_positive``, and ``drawn_for``: the position in ``positives`` of
        each draw's positive.
    left_out
        bool (n,): positives of new items on quiet days with too few items to draw. They have no negatives.
    """
    users, items = np.unique(id_array(events[columns.USER])), np.unique(id_array(events[columns.ITEM]))
    owned = _FirstTaken(_codes(users, events[columns.USER]), _codes(items, events[columns.ITEM]), len(items), events)
    pool = _Popularity(_codes(users, takes[columns.USER]), _codes(items, takes[columns.ITEM]), len(items), takes, power)
    by_user = np.lexsort((id_array(positives[columns.ITEM]), id_array(positives[columns.USER])))
    drawn_for = np.repeat(by_user, per_positive)
    who = _codes(users, positives[columns.USER])[drawn_for]
    days = positives[columns.DAY].to_numpy()[drawn_for]
    new = pool.is_new(_codes(items, positives[columns.ITEM])[drawn_for], days)
    what = np.full(len(who), -1, dtype=np.int64)
    quiet = np.zeros(len(who), dtype=np.bool_)
    for day in np.unique(days):
        of_day = np.flatnonzero(days == day)
        rng = np.random.default_rng([seed, int(day)])
        quiet[of_day] = not pool.is_busy(int(day), int(day))
        what[of_day] = _draw_day(who[of_day], new[of_day], int(day), pool, owned, rng)
    left_out = np.zeros(len(positives), dtype=np.bool_)
    left_out[drawn_for[(what < 0) & new & quiet]] = True
    found = np.flatnonzero((what >= 0) & ~left_out[drawn_for])
    found = found[np.argsort(days[found], kind="stable")]
    draws = {
        columns.USER: users[who[found]],
        columns.ITEM: items[what[found]],
        columns.DAY: days[found].astype(np.int32),
        DRAWN_FOR: drawn_for[found],
    }
    return draws, left_out


def _codes(ids: NDArray[Any], wanted: pd.Series[Any]) -> Codes:
    return np.searchsorted(ids, id_array(wanted)).astype(np.int64)


def _draw_day(
    who: Codes, new: NDArray[np.bool_], day: int, pool: _Popularity, owned: _FirstTaken, rng: np.random.Generator
) -> Codes:
    """Draw an item for each user code (n,), -1 if none was found that the user does not already have."""
    what = np.full(len(who), -1, dtype=np.int64)
    for codes, cumulative, serves in pool.windows(day):
        open_ = np.flatnonzero((what < 0) & (new == serves if serves is not None else True))
        for _ in range(MAX_DRAWS):
            if not len(open_):
                break
            drawn = codes[np.minimum(np.searchsorted(cumulative, rng.random(len(open_))), len(codes) - 1)]
            given = (what >= 0) & np.isin(who, who[open_])
            pairs = owned.pairs(who[open_], drawn)
            fresh = owned.free(pairs, day) & ~np.isin(pairs, owned.pairs(who[given], what[given])) & _is_first(pairs)
            what[open_[fresh]] = drawn[fresh]
            open_ = open_[~fresh]
    return what


def _is_first(values: Codes) -> NDArray[np.bool_]:
    first = np.zeros(len(values), dtype=np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


class _FirstTaken:
    """First day on which each user interacted with each item, with vectorized lookup."""

    def __init__(self, users: Codes, items: Codes, item_count: int, events: pd.DataFrame) -> None:
        self._item_count = item_count
        days = events[columns.DAY].to_numpy()
        pairs = self.pairs(users, items)
        order = stable_argsort(pairs, days)
        ordered = pairs[order]
        first = group_starts(ordered)
        self._pairs, self._days = ordered[first], days[order][first]

    def pairs(self, users: Codes, items: Codes) -> Codes:
        """Return one number for each pair of codes."""
        return users * self._item_count + items

    def free(self, pairs: Codes, day: int) -> NDArray[np.bool_]:
        """Whether each pair had no event on that day or before."""
        position = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        known: NDArray[np.bool_] = (self._pairs[position] == pairs) & (self._days[position] <= day)
        return ~known


class _Popularity:
    """Counts of positives by item in windows of days."""

    def __init__(self, users: Codes, items: Codes, item_count: int, takes: pd.DataFrame, power: float) -> None:
        days = takes[columns.DAY].to_numpy()
        order = np.argsort(days, kind="stable")
        self._users, self._items, self._days, self._power = users[order], items[order], days[order], power
        self._first = np.full(item_count, np.iinfo(np.int64).max)
        np.minimum.at(self._first, items, days)

    def is_new(self, items: Codes, days: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each item has no positive before its day, bool (n,)."""
        new: NDArray[np.bool_] = self._first[items] >= days
        return new

    def is_busy(self, first: int, last: int) -> bool:
        """Whether at least ``MIN_USERS`` users have positives from one day to another, both inclusive."""
        return len(np.unique(self._users[self._span(first, last)])) >= MIN_USERS

    def windows(self, day: int) -> Iterator[tuple[Codes, NDArray[np.float64], bool | None]]:
        """Yield item codes, their cumulative probabilities, and the positives that they serve.

        These are positives of new items (True), of known ones (False), or all (None).
        """
        if self.is_busy(day, day):
            yield from self._window(day, day, None)
        else:
            yield from self._window(day, day, True)
        length, start = 1, day
        while self._span(start, day).start > 0:
            length *= 2
            start = day - length + 1
            if self.is_busy(start, day) or self._span(start, day).start == 0:
                yield from self._window(start, day, False)

    def _window(
        self, first: int, last: int, serves: bool | None
    ) -> Iterator[tuple[Codes, NDArray[np.float64], bool | None]]:
        codes, counts = np.unique(self._items[self._span(first, last)], return_counts=True)
        if serves is not None:
            wanted = self.is_new(codes, np.full(len(codes), last)) == serves
            codes, counts = codes[wanted], counts[wanted]
        if len(codes):
            chances = counts.astype(np.float64) ** self._power
            yield codes, np.cumsum(chances) / chances.sum(), serves

    def _span(self, first: int, last: int) -> slice:
        start, end = np.searchsorted(self._days, [first, last + 1])
        return slice(int(start), int(end))
