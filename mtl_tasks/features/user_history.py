"""Each user's interactions before a day, as one slice of one array."""

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
    """Interactions ordered by user, then day.

    Attributes
    ----------
    items
        int64 (n,) codes.
    values
        (n,) value of each interaction.
    """

    items: Codes
    values: NDArray[Any]
    _order: Positions
    _keys: Positions
    _starts: Positions
    _first: int
    _span: int

    @classmethod
    def of(cls, users: Codes, items: Codes, days: Days, values: NDArray[Any], size: int) -> Self:
        """Order interactions; ``size`` is the number of users."""
        order = stable_argsort(users, days)  # keeps the given order within a user and day
        first = int(days.min()) if len(days) else 0
        span = (int(days.max()) - first + 2) if len(days) else 1
        keys = users[order] * span + (days[order] - first)
        starts = np.searchsorted(keys, np.arange(size + 1) * span)
        return cls(items[order], values[order], order, keys, starts, first, span)

    @property
    def users(self) -> Codes:
        """int64 (n,) codes."""
        users: Codes = self._keys // self._span
        return users

    @property
    def days(self) -> Days:
        """int64 (n,) day numbers."""
        days: Days = self._keys % self._span + self._first
        return days

    def with_values(self, values: NDArray[Any]) -> Self:
        """Return the same interactions with other values, given in the original order."""
        return replace(self, values=values[self._order])

    def before(self, users: Codes, days: Days) -> tuple[Positions, Positions]:
        """Return the start and end positions of each user's interactions before a day."""
        clipped = np.clip(days - self._first, 0, self._span - 1)
        return self._starts[users], np.searchsorted(self._keys, users * self._span + clipped, side="left")
