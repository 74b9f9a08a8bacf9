"""User-clustered bootstrap: users are drawn with replacement, each with all of their rows.

Rows of one user are not independent, so resampling rows would understate the spread (Cameron, Gelbach & Miller 2008).
All quantities of one evaluation share the same draws, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.catalog import Prepared
from mtl_tasks.metrics.ranking import Values

Key = TypeVar("Key")
Measured = dict[str, float | int | None]


class UserBootstrap:
    """Bootstrap draws of the users of a table.

    Parameters
    ----------
    users
        (n,) id of each row's user.
    replicates
        Number of draws.
    """

    def __init__(self, users: NDArray[Any], replicates: int, seed: int) -> None:
        ids, self._code = np.unique(users, return_inverse=True)
        self._users = len(ids)
        self._replicates = replicates
        self._seed = seed

    def replicate(self, prepared: Mapping[Key, Prepared]) -> dict[Key, Values]:
        """Return every metric under the same draws, float64 (replicates,) each."""
        values = {key: np.empty(self._replicates) for key in prepared}
        for number, drawn in enumerate(self._draws()):
            weights = drawn[self._code].astype(np.float64)
            for key, metric in prepared.items():
                values[key][number] = metric.under(weights)
        return values

    def means(self, values: Values) -> Values:
        """Return the mean of per-row values under each draw, float64 (replicates,)."""
        total = np.bincount(self._code, weights=values, minlength=self._users)
        rows = np.bincount(self._code, minlength=self._users)
        return np.array([drawn @ total / (drawn @ rows) for drawn in self._draws()])

    def statistics(self, statistic: Callable[[Values], Values]) -> Values:
        """Return a statistic of the row weights (n,) under each draw, float64 (replicates, statistics)."""
        return np.stack([statistic(drawn[self._code].astype(np.float64)) for drawn in self._draws()])

    def _draws(self) -> Iterator[NDArray[np.int64]]:
        """Yield how often each user is drawn; the sequence is the same at every call."""
        rng = np.random.default_rng(self._seed)
        for _ in range(self._replicates):
            yield np.bincount(rng.integers(0, self._users, self._users), minlength=self._users)


def interval(replicates: Values, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Return the percentile interval; (None, None) if more than 1 % of the replicates are undefined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < 0.99 * len(replicates) or not len(defined):
        return None, None
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def measured(value: float, replicates: Values, rows: int, confidence: float = 0.95) -> Measured:
    """Return a JSON-serializable value with its interval and row count; undefined numbers are None."""
    low, high = interval(replicates, confidence)
    return {"value": float(value) if np.isfinite(value) else None, "low": low, "high": high, "rows": int(rows)}
