"""What was counted and added up by key so far: all of the past, and its last few days, a day at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.errors import DataError

Days = NDArray[np.int64]
Keys = NDArray[np.int64]
Values = NDArray[np.float64]
Whole = NDArray[np.int64]

# Sums are kept in fixed point: integer addition is exact, so that days may be taken back out of a sum, and a sum does
# not depend on the steps in which it was reached.
SCALE: Final = float(1 << 20)
LARGEST: Final = float(1 << 42)
SMALL_SPACE: Final = 1 << 24  # keys: 128 MiB a column of sums


class RunningSums:
    """Counts and sums by key.

    A question is answered by looking a key up, whatever the length of the log: at ten million events that is a
    twentieth of the time of searching tables of all (key, day).

    Parameters
    ----------
    size
        Keys are int64 below it; the key ``size`` itself stands for what was never met.
    names
        The values that are added up, each rounded to a multiple of 2**-20. The magnitudes of one may add up to 4e12;
        more is refused, as it would overflow.
    windows
        Lengths in days for which :meth:`last` answers.
    of
        What the values are of, for messages.
    """

    def __init__(
        self, size: int, names: tuple[str, ...] = (), windows: tuple[int, ...] = (), of: str = "attribute"
    ) -> None:
        self._of = of
        self._size = size
        self._ever = _Totals.of(size, names)
        self._windows = {length: _Totals.of(size, names) for length in windows}
        self._recent: dict[int, deque[_Part]] = {length: deque() for length in windows}
        self._magnitude = dict.fromkeys(names, 0.0)
        self._first = np.full(size + 1, -1, dtype=np.int32)
        self._last = np.full(size + 1, -1, dtype=np.int32)

    def add(self, day: int, keys: Keys, values: Mapping[str, Values] | None = None) -> None:
        """Take in the events of a day, later than any before.

        Raises
        ------
        DataError
            If a value is not finite or its magnitudes add up to too much.
        """
        given = values or {}
        self._refuse_too_large(given)
        part = _Part(day, keys, {name: np.rint(value * SCALE).astype(np.int64) for name, value in given.items()})
        self._ever.add(part, 1)
        for length, totals in self._windows.items():
            totals.add(part, 1)
            self._recent[length].append(part)
        new = keys[self._first[keys] < 0]
        self._first[new] = day
        self._last[keys] = day

    def advance(self, day: int) -> None:
        """Let the days go that are not among the last before ``day``."""
        for length, totals in self._windows.items():
            recent = self._recent[length]
            while recent and recent[0].day < day - length:
                totals.add(recent.popleft(), -1)

    def ever(self, keys: Keys) -> Aggregate:
        """All events of each key so far."""
        return Aggregate(self._ever, keys, self._first, self._last)

    def last(self, keys: Keys, length: int) -> Aggregate:
        """Those of the last ``length`` days before the day of the last :meth:`advance`."""
        return Aggregate(self._windows[length], keys, self._first, self._last)

    def _refuse_too_large(self, values: Mapping[str, Values]) -> None:
        for name, value in values.items():
            self._magnitude[name] += float(np.abs(value).sum())
            if not self._magnitude[name] < LARGEST:
                raise DataError(
                    f"{self._of}: magnitudes of its {name} add up to {self._magnitude[name]:.3g}, the limit of exact "
                    f"sums is {LARGEST:.3g}: rescale this column in the source (thousands, say), or for a task's label "
                    "set its scale to log"
                )


@dataclass(frozen=True)
class _Part:
    """The events of one day."""

    day: int
    keys: Keys
    values: dict[str, Whole]


@dataclass(frozen=True)
class _Totals:
    """Count and sums by key, one place more than there are keys: that one stays empty."""

    count: Whole
    sums: dict[str, Whole]

    @classmethod
    def of(cls, size: int, names: tuple[str, ...]) -> _Totals:
        return cls(np.zeros(size + 1, dtype=np.int64), {name: np.zeros(size + 1, dtype=np.int64) for name in names})

    def add(self, part: _Part, sign: int) -> None:
        np.add.at(self.count, part.keys, sign)
        for name, value in part.values.items():
            np.add.at(self.sums[name], part.keys, sign * value)


class Moments:
    """Means and deviations, from counts and sums."""

    count: Values

    def total(self, name: str) -> Values:
        """Sum of a value."""
        raise NotImplementedError

    def mean(self, name: str) -> Values:
        """Mean of a value; NaN without events."""
        return _divide(self.total(name), self.count)

    def damped_mean(self, name: str, prior: Values | float, damping: float) -> Values:
        """Mean of a value with ``damping`` pseudo-events worth ``prior``."""
        damped: Values = (self.total(name) + damping * prior) / (self.count + damping)
        return damped

    def deviation(self, name: str, square: str) -> Values:
        """Standard deviation from a value's and its square's sums; NaN below two events."""
        variance = _divide(self.total(square), self.count) - self.mean(name) ** 2
        return np.where(self.count >= 2, np.sqrt(np.maximum(variance, 0.0)), np.nan)


class Aggregate(Moments):
    """The answer to one question about many keys."""

    def __init__(self, totals: _Totals, keys: Keys, first: NDArray[np.int32], last: NDArray[np.int32]) -> None:
        self._totals, self._keys = totals, keys
        self._first, self._last = first, last
        self.count: Values = totals.count[keys].astype(np.float64)

    def total(self, name: str) -> Values:
        """Sum of a value."""
        total: Values = self._totals.sums[name][self._keys] / SCALE
        return total

    def first_day(self) -> Values:
        """Day of the key's oldest event of all; NaN without events."""
        return _day(self._first[self._keys])

    def last_day(self) -> Values:
        """Day of the key's newest event of all; NaN without events."""
        return _day(self._last[self._keys])


def _divide(numerator: Values, denominator: Values) -> Values:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1.0), np.nan)


def _day(days: NDArray[np.int32]) -> Values:
    return np.where(days >= 0, days.astype(np.float64), np.nan)


class Vocabulary:
    """Places of composite keys, such as pairs of user and genre, in tables as small as need be.

    Parameters
    ----------
    keys
        int64, of all events.
    space
        Keys are below it. A small space has a place for every key, found without a search.
    """

    def __init__(self, keys: Keys, space: int) -> None:
        self._size = space if space <= SMALL_SPACE else None
        self._keys = np.unique(keys) if self._size is None else keys[:0]

    def __len__(self) -> int:
        return len(self._keys) if self._size is None else self._size

    def places(self, keys: Keys) -> Keys:
        """Place of each key; one that no event has may be told to be at ``len(self)``, which is always empty."""
        if self._size is not None:
            return keys
        place = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        return np.where(self._keys[place] == keys, place, len(self._keys)) if len(self._keys) else place


class Timeline:
    """Days of events that are ordered by day, handed out once each."""

    def __init__(self, days: Days) -> None:
        self._days = days
        self._at = 0

    def until(self, day: int) -> Iterator[tuple[int, slice]]:
        """Yield the days before ``day`` that were not handed out yet, each with the place of its events."""
        end = int(np.searchsorted(self._days, day, side="left"))
        while self._at < end:
            today = int(self._days[self._at])
            place = slice(self._at, int(np.searchsorted(self._days, today, side="right")))
            self._at = place.stop
            yield today, place


def expand(starts: NDArray[Any], ends: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the positions of many half-open ranges: the range each belongs to, and the position.

    >>> expand(np.array([0, 5]), np.array([2, 6]))
    (array([0, 0, 1]), array([0, 1, 5]))
    """
    lengths = (ends - starts).astype(np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return owner, starts.astype(np.int64)[owner] + offset
