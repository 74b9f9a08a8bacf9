"""What each user had done by a day, as one slice of one array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.arrays import stable_argsort
from mtl_tasks.features.interactions import Codes
from mtl_tasks.features.running_sums import Days

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class UserHistory:
    """Events ordered by user, then day.

    Attributes
    ----------
    items
        int64 (n,) codes.
    values
        (n,): whatever is said of each event.
    """

    items: Codes
    values: NDArray[Any]
    _order: Positions
    _place: Positions
    _starts: Positions
    _first: int
    _span: int

    @classmethod
    def of(cls, users: Codes, items: Codes, days: Days, values: NDArray[Any], size: int) -> Self:
        """Order events; ``size`` is how many users there are."""
        order = stable_argsort(users, days)  # within a user and day, as given
        first = int(days.min()) if len(days) else 0
        span = (int(days.max()) - first + 2) if len(days) else 1
        place = users[order] * span + (days[order] - first)
        starts = np.searchsorted(place, np.arange(size + 1) * span)
        return cls(items[order], values[order], order, place, starts, first, span)

    @property
    def users(self) -> Codes:
        """int64 (n,) codes."""
        users: Codes = self._place // self._span
        return users

    @property
    def days(self) -> Days:
        """int64 (n,) day numbers."""
        days: Days = self._place % self._span + self._first
        return days

    def with_values(self, values: NDArray[Any]) -> Self:
        """The same events, other values; these in the order in which the events were given."""
        return replace(self, values=values[self._order])

    def before(self, users: Codes, days: Days) -> tuple[Positions, Positions]:
        """Return where the events of each user before a day start and end."""
        clipped = np.clip(days - self._first, 0, self._span - 1)
        return self._starts[users], np.searchsorted(self._place, users * self._span + clipped, side="left")
