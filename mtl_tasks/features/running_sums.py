"""Running counts and sums by key, over all of the past and over its last few days, advanced day by day."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.arrays import group_starts
from mtl_tasks.core.errors import DataError

Days = NDArray[np.int64]
Codes = NDArray[np.int64]
Positions = NDArray[np.int64]
Values = NDArray[np.float64]
Whole = NDArray[np.int64]

# Sums are fixed-point: integer addition is exact, so a day can be subtracted from a sum again, and a sum does not
# depend on how it was accumulated.
SCALE: Final = float(1 << 20)
LARGEST: Final = float(1 << 42)
SMALL_SPACE: Final = 1 << 24  # keys; a column of sums then takes 128 MiB
NEVER: Final = -1  # day of an event that has not happened

Translation = Mapping[str, Codes]


class KeySpace:
    """Codes of one or more axes combined into one key, such as (user, genre), for tables as small as possible.

    A space with one axis, or a small one, has a position for every key, found without a search. A large one has
    positions only for the keys given to :meth:`learn`. One more position, ``len(self)``, is for unknown keys: it
    stays empty.

    Parameters
    ----------
    sizes
        Axis name to its number of codes; codes are int64 below it.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.axes = tuple(sizes)
        self._shape = tuple(sizes.values())
        self._size = int(np.prod(self._shape, dtype=np.float64))
        self._small = len(sizes) == 1 or self._size <= SMALL_SPACE
        self._pending: list[Codes] = []

    def __len__(self) -> int:
        return self._size if self._small else len(self._keys)

    def learn(self, *codes: Codes) -> None:
        """Add keys, one code per axis; to be called before the first position is requested."""
        if not self._small:
            if "_keys" in self.__dict__:
                raise ValueError("a key space that is in use cannot grow")
            self._pending.append(_distinct(self._joined(codes)))

    def positions(self, *codes: Codes) -> Positions:
        """Return the position of each key."""
        joined = self._joined(codes)
        if self._small:
            return joined
        if not len(self._keys):
            return np.zeros(len(joined), dtype=np.int64)
        position = np.minimum(np.searchsorted(self._keys, joined), len(self._keys) - 1)
        return np.where(self._keys[position] == joined, position, len(self._keys))

    def codes(self, positions: Positions) -> dict[str, Codes]:
        """Return the codes of positions, by axis."""
        rest, made = positions if self._small else self._keys[positions], dict[str, Codes]()
        for axis, size in reversed(list(zip(self.axes, self._shape, strict=True))):
            rest, made[axis] = np.divmod(rest, size)
        return made

    @cached_property
    def _keys(self) -> Codes:
        pending, self._pending = self._pending, []
        return _distinct(np.concatenate(pending)) if pending else np.zeros(0, dtype=np.int64)

    def _joined(self, codes: tuple[Codes, ...]) -> Codes:
        joined = codes[0]
        for size, more in zip(self._shape[1:], codes[1:], strict=True):
            joined = joined * size + more
        return joined


def _distinct(keys: Codes) -> Codes:
    """Return the distinct keys, ascending; np.unique hashes them and took 18 times as long on ten million."""
    ordered = np.sort(keys)
    return ordered[group_starts(ordered)]


@dataclass(frozen=True)
class SumsSnapshot:
    """State of running sums, by the codes of their axes, from which another run can resume.

    Attributes
    ----------
    ever
        One row per key: a column of codes per axis, ``count``, a column per value (in units of 2**-20), and, if days
        are kept, ``first`` and ``last``.
    recent
        Codes, counts and sums of each day of the longest window: one row per ``day`` and key.
    magnitude
        Value to the sum of its magnitudes.
    """

    ever: pd.DataFrame
    recent: pd.DataFrame
    magnitude: dict[str, float]


class RunningSums:
    """Counts and sums by key.

    A query is a lookup by key, whose cost does not depend on the length of the log. At ten million events it takes a
    twentieth of the time of a search in a table of all (key, day).

    Parameters
    ----------
    space
        The positions of the keys.
    names
        Values to sum, each rounded to a multiple of 2**-20. The absolute values of one may add up to 4e12. More is
        an error, because it would overflow.
    windows
        Lengths in days for which :meth:`last` can be called.
    of
        Source of the values, for messages.
    dated
        Whether to keep the first and last day of each key.
    """

    def __init__(
        self,
        space: KeySpace,
        names: tuple[str, ...] = (),
        windows: tuple[int, ...] = (),
        of: str = "attribute",
        *,
        dated: bool = False,
    ) -> None:
        self._space, self._names, self._lengths, self._of, self._dated = space, names, windows, of, dated
        self._recent: dict[int, deque[_Part]] = {length: deque() for length in windows}
        self._magnitude = dict.fromkeys(names, 0.0)
        self._earlier: SumsSnapshot | None = None

    def add(self, day: int, positions: Positions, values: Mapping[str, Values] | None = None) -> None:
        """Add the events of a day, which must be later than any added before.

        Raises
        ------
        DataError
            If a value is not finite, or the absolute values of one name add up to too much.
        """
        given = values or {}
        self._refuse_too_large(given)
        whole = {name: np.rint(value * SCALE).astype(np.int64) for name, value in given.items()}
        self._take_in(_Part.of(day, positions, whole, len(self._space)))

    def advance(self, day: int) -> None:
        """Drop from each window the days that have left it before ``day``."""
        for length, totals in self._tables.windows.items():
            recent = self._recent[length]
            while recent and recent[0].day < day - length:
                totals.add(recent.popleft(), -1)

    def ever(self, positions: Positions) -> Aggregate:
        """Return the totals of each key over all of the past."""
        return Aggregate(self._tables.ever, positions, self._tables.first, self._tables.last)

    def last(self, positions: Positions, length: int) -> Aggregate:
        """Return the totals of the ``length`` days before the day of the last :meth:`advance`."""
        return Aggregate(self._tables.windows[length], positions, self._tables.first, self._tables.last)

    def snapshot(self) -> SumsSnapshot:
        """Return the current state."""
        tables = self._tables
        met = np.flatnonzero(tables.ever.count)
        ever = self._frame(met, tables.ever.count[met], {name: sums[met] for name, sums in tables.ever.sums.items()})
        if self._dated:
            ever["first"], ever["last"] = tables.first[met], tables.last[met]
        longest = max(self._lengths, default=0)
        parts = [
            self._frame(part.positions, part.count, part.added).assign(day=np.int32(part.day))
            for part in (self._recent[longest] if longest else ())
        ]
        recent = pd.concat(parts, ignore_index=True) if parts else ever.iloc[:0].assign(day=np.int32(0))
        return SumsSnapshot(ever, recent, dict(self._magnitude))

    def restore(self, snapshot: SumsSnapshot, translation: Translation) -> None:
        """Resume from a snapshot; to be called before anything is added.

        Parameters
        ----------
        translation
            Axis to the code here of each code in the snapshot.
        """
        codes = [
            {axis: translation[axis][frame[axis].to_numpy()] for axis in self._space.axes} for frame in _both(snapshot)
        ]
        ever, recent = (frame.assign(**axes) for frame, axes in zip(_both(snapshot), codes, strict=True))
        self._space.learn(*(ever[axis].to_numpy() for axis in self._space.axes))
        self._earlier, self._magnitude = SumsSnapshot(ever, recent, {}), dict(snapshot.magnitude)

    @cached_property
    def _tables(self) -> _Tables:
        tables = _Tables.of(len(self._space), self._names, self._lengths, self._dated)
        if self._earlier is not None:
            ever, recent = _both(self._earlier)
            self._earlier = None
            positions = self._places(ever)
            tables.ever.count[positions] = ever["count"]
            for name, sums in tables.ever.sums.items():
                sums[positions] = ever[name]
            if self._dated:
                tables.first[positions], tables.last[positions] = ever["first"], ever["last"]
            for day, rows in recent.groupby("day", sort=True):
                values = {name: rows[name].to_numpy() for name in self._names}
                part = _Part(int(str(day)), self._places(rows), rows["count"].to_numpy(), values)
                for length, totals in tables.windows.items():
                    totals.add(part, 1)
                    self._recent[length].append(part)
        return tables

    def _take_in(self, part: _Part) -> None:
        tables = self._tables
        tables.ever.add(part, 1)
        for length, totals in tables.windows.items():
            totals.add(part, 1)
            self._recent[length].append(part)
        if self._dated:
            new = part.positions[tables.first[part.positions] == NEVER]
            tables.first[new] = part.day
            tables.last[part.positions] = part.day

    def _places(self, frame: pd.DataFrame) -> Positions:
        return self._space.positions(*(frame[axis].to_numpy() for axis in self._space.axes))

    def _frame(self, positions: Positions, count: Whole, values: dict[str, Whole]) -> pd.DataFrame:
        codes = {axis: code.astype(np.int32) for axis, code in self._space.codes(positions).items()}
        return pd.DataFrame({**codes, "count": count, **{name: values[name] for name in self._names}})

    def _refuse_too_large(self, values: Mapping[str, Values]) -> None:
        for name, value in values.items():
            self._magnitude[name] += float(np.abs(value).sum())
            if not self._magnitude[name] < LARGEST:
                raise DataError(
                    f"{self._of}: magnitudes of its {name} add up to {self._magnitude[name]:.3g}, the limit of exact "
                    f"sums is {LARGEST:.3g}: rescale this column in the source (thousands, say), or for a task's label "
                    "set its scale to log"
                )


def _both(snapshot: SumsSnapshot) -> tuple[pd.DataFrame, pd.DataFrame]:
    return snapshot.ever, snapshot.recent


@dataclass(frozen=True)
class _Part:
    """The events of one day; ``positions`` may repeat."""

    day: int
    positions: Positions
    count: Whole
    added: dict[str, Whole]

    @classmethod
    def of(cls, day: int, positions: Positions, values: dict[str, Whole], size: int) -> _Part:
        """Sum by key first if there are few keys, which is cheaper to keep and to add to several totals."""
        if size > len(positions):
            return cls(day, positions, np.ones(len(positions), dtype=np.int64), values)
        count = np.bincount(positions, minlength=size)
        met = np.flatnonzero(count)
        return cls(day, met, count[met], {name: _summed(positions, value, size)[met] for name, value in values.items()})


def _summed(positions: Positions, values: Whole, size: int) -> Whole:
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, positions, values)
    return sums


@dataclass(frozen=True)
class _Totals:
    """Count and sums by key, with one more position, which stays empty, for unknown keys."""

    count: Whole
    sums: dict[str, Whole]

    @classmethod
    def of(cls, size: int, names: tuple[str, ...]) -> _Totals:
        return cls(np.zeros(size + 1, dtype=np.int64), {name: np.zeros(size + 1, dtype=np.int64) for name in names})

    def add(self, part: _Part, sign: int) -> None:
        np.add.at(self.count, part.positions, sign * part.count)
        for name, value in part.added.items():
            np.add.at(self.sums[name], part.positions, sign * value)


@dataclass(frozen=True)
class _Tables:
    """Totals over all of the past and by window length, and each key's first and last day if these are kept."""

    ever: _Totals
    windows: dict[int, _Totals]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    @classmethod
    def of(cls, size: int, names: tuple[str, ...], windows: tuple[int, ...], dated: bool) -> _Tables:
        first, last = (np.full(size + 1 if dated else 0, NEVER, dtype=np.int32) for _ in range(2))
        return cls(_Totals.of(size, names), {length: _Totals.of(size, names) for length in windows}, first, last)


class Moments(ABC):
    """Means and standard deviations from counts and sums."""

    count: Values

    @abstractmethod
    def total(self, name: str) -> Values:
        """Sum of a value."""

    def mean(self, name: str) -> Values:
        """Mean of a value; NaN without events."""
        return _divide(self.total(name), self.count)

    def damped_mean(self, name: str, prior: Values | float, damping: float) -> Values:
        """Mean of a value with ``damping`` pseudo-events worth ``prior``."""
        damped: Values = (self.total(name) + damping * prior) / (self.count + damping)
        return damped

    def deviation(self, name: str, square: str) -> Values:
        """Standard deviation from the sums of a value and of its square; NaN below two events."""
        variance = _divide(self.total(square), self.count) - self.mean(name) ** 2
        return np.where(self.count >= 2, np.sqrt(np.maximum(variance, 0.0)), np.nan)


class Aggregate(Moments):
    """The result of one query for many keys."""

    def __init__(
        self, totals: _Totals, positions: Positions, first: NDArray[np.int32], last: NDArray[np.int32]
    ) -> None:
        self._totals, self._places = totals, positions
        self._first, self._last = first, last
        self.count: Values = totals.count[positions].astype(np.float64)

    def total(self, name: str) -> Values:
        """Sum of a value."""
        total: Values = self._totals.sums[name][self._places] / SCALE
        return total

    def first_day(self) -> Values:
        """Day of the key's first event of all, if days are kept; NaN without events."""
        return _day(self._first[self._places])

    def last_day(self) -> Values:
        """Day of its last event, likewise."""
        return _day(self._last[self._places])


def _divide(numerator: Values, denominator: Values) -> Values:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1.0), np.nan)


def _day(days: NDArray[np.int32]) -> Values:
    return np.where(days >= 0, days.astype(np.float64), np.nan)


class Timeline:
    """Days of events that are ordered by day, each yielded once.

    Parameters
    ----------
    since
        Earlier days are skipped: a snapshot covers them.
    """

    def __init__(self, days: Days, since: int | None = None) -> None:
        self._days = days
        self._at = 0 if since is None else int(np.searchsorted(days, since, side="left"))

    @property
    def rest(self) -> slice:
        """Slice of the events not yet yielded."""
        return slice(self._at, len(self._days))

    def until(self, day: int) -> Iterator[tuple[int, slice]]:
        """Yield the days before ``day`` that were not yet yielded, each with the slice of its events."""
        end = int(np.searchsorted(self._days, day, side="left"))
        while self._at < end:
            today = int(self._days[self._at])
            of_day = slice(self._at, int(np.searchsorted(self._days, today, side="right")))
            self._at = of_day.stop
            yield today, of_day


def expand(starts: NDArray[Any], ends: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Expand half-open ranges to positions: the number of the range of each, and the position.

    >>> expand(np.array([0, 5]), np.array([2, 6]))
    (array([0, 0, 1]), array([0, 1, 5]))
    """
    lengths = (ends - starts).astype(np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return owner, starts.astype(np.int64)[owner] + offset
