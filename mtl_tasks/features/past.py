"""What each user had done by a day, as one slice of one array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.features.coding import Codes
from mtl_tasks.features.sums import Days

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """Events ordered by user, then day.

    Attributes
    ----------
    users, items, days
        int64 (n,): codes, and day numbers.
    values
        (n,): whatever is said of each event.
    """

    users: Codes
    items: Codes
    days: Days
    values: NDArray[Any]
    _order: Places
    _place: Places
    _starts: Places
    _first: int
    _span: int

    @classmethod
    def of(cls, users: Codes, items: Codes, days: Days, values: NDArray[Any], size: int) -> Self:
        """Order events; ``size`` is how many users there are."""
        order = np.lexsort((days, users))  # stable: within a user and day, as given
        first = int(days.min()) if len(days) else 0
        span = (int(days.max()) - first + 2) if len(days) else 1
        users, items, days, values = users[order], items[order], days[order], values[order]
        starts = np.searchsorted(users, np.arange(size + 1))
        return cls(users, items, days, values, order, users * span + (days - first), starts, first, span)

    def saying(self, values: NDArray[Any]) -> Self:
        """The same events, other values; these in the order in which the events were given."""
        return replace(self, values=values[self._order])

    def before(self, users: Codes, days: Days) -> tuple[Places, Places]:
        """Return where the events of each user before a day start and end."""
        clipped = np.clip(days - self._first, 0, self._span - 1)
        return self._starts[users], np.searchsorted(self._place, users * self._span + clipped, side="left")
