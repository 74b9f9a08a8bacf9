"""What each user had done by a day, as one slice of one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.features.coding import Codes
from mtl_tasks.features.sums import Days

Places = NDArray[np.int64]


class Past:
    """Events ordered by user, then day.

    Attributes
    ----------
    items
        int64 (n,) codes.
    values
        (n,): whatever was said of each event.
    """

    def __init__(self, users: Codes, items: Codes, days: Days, values: NDArray[Any], size: int) -> None:
        order = np.lexsort((days, users))  # stable: within a user and day, as given
        self.users, self.items, self.days, self.values = users[order], items[order], days[order], values[order]
        self._first = int(days.min()) if len(days) else 0
        self._span = (int(days.max()) - self._first + 2) if len(days) else 1
        self._place = self.users * self._span + (self.days - self._first)
        self._starts = np.searchsorted(self.users, np.arange(size + 1))

    def of(self, users: Codes, days: Days) -> tuple[Places, Places]:
        """Return where the events of each user before a day start and end."""
        clipped = np.clip(days - self._first, 0, self._span - 1)
        return self._starts[users], np.searchsorted(self._place, users * self._span + clipped, side="left")
