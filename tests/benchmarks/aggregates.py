"""Sums over the events of a key in a range of days, for millions of (key, day) questions at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.features.running_sums import LARGEST, SCALE, Codes, Days, Moments, Values


class DailySums:
    """Counts and sums by key and day: sort once, cumulate, then answer by binary search.

    Parameters
    ----------
    keys, days
        int64 (n,): what an event belongs to, and its day.
    values
        Name to finite float64 (n,), each rounded to a multiple of 2**-20. The magnitudes of one value may add up
        to 4e12 over the whole table; more is refused, as it would overflow.

    Raises
    ------
    DataError
        If a value is not finite or its magnitudes add up to more than that.
    """

    def __init__(self, keys: Codes, days: Days, values: dict[str, Values] | None = None) -> None:
        self._first = int(days.min()) if len(days) else 0
        self._span = (int(days.max()) - self._first + 2) if len(days) else 1
        place = keys * self._span + (days - self._first)
        order = np.argsort(place, kind="stable")
        self._place = place[order]
        self._days = days[order]
        for name, value in (values or {}).items():
            size = np.abs(value).sum()
            if not size < LARGEST:
                raise DataError(
                    f"{name}: magnitudes add up to {size:.3g}, the limit of exact sums is {LARGEST:.3g}: rescale this "
                    "column in the source (for example thousands, or a logarithm)"
                )
        self._sums = {
            name: np.concatenate([[0], np.cumsum(np.rint(value[order] * SCALE).astype(np.int64))])
            for name, value in (values or {}).items()
        }

    def between(self, keys: Codes, first: Days | None, end: Days) -> Aggregate:
        """Aggregate the events of each key with ``first <= day < end`` (no lower bound when ``first`` is None)."""
        low = self._position(keys, np.full(len(keys), self._first) if first is None else first)
        return Aggregate(self, low, self._position(keys, end))

    def before(self, keys: Codes, end: Days) -> Aggregate:
        """Aggregate all events of each key before a day."""
        return self.between(keys, None, end)

    def _position(self, keys: Codes, days: Days) -> NDArray[np.intp]:
        clipped = np.clip(days - self._first, 0, self._span - 1)
        return np.searchsorted(self._place, keys * self._span + clipped, side="left")


class Aggregate(Moments):
    """The answer to one question about many (key, day range) pairs."""

    def __init__(self, table: DailySums, low: NDArray[np.intp], high: NDArray[np.intp]) -> None:
        self._table = table
        self._low = low
        self._high = high
        self.count: Values = (high - low).astype(np.float64)

    def total(self, name: str) -> Values:
        """Sum of a value."""
        sums = self._table._sums[name]
        total: Values = (sums[self._high] - sums[self._low]) / SCALE
        return total

    def first_day(self) -> Values:
        """Day of the oldest event; NaN without events."""
        return self._day_at(self._low)

    def last_day(self) -> Values:
        """Day of the newest event; NaN without events."""
        return self._day_at(self._high - 1)

    def _day_at(self, position: NDArray[np.intp]) -> Values:
        if not len(self._table._days):
            return np.full(len(position), np.nan)
        day = self._table._days[np.clip(position, 0, len(self._table._days) - 1)]
        return np.where(self.count > 0, day.astype(np.float64), np.nan)
