"""User-clustered bootstrap: people are drawn with replacement, each with all of their rows.

Rows of one person are not independent, so that resampling rows would understate the spread (Cameron, Gelbach & Miller
2008). Every quantity of one evaluation shares the same draws, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.pointwise import Prepared, Values

Key = TypeVar("Key")
Measured = dict[str, float | int | None]


class UserBootstrap:
    """Draws of users for a table of rows.

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
        """Every metric under the same draws, float64 (replicates,) each."""
        values = {key: np.empty(self._replicates) for key in prepared}
        for number, drawn in enumerate(self._draws()):
            weights = drawn[self._code].astype(np.float64)
            for key, metric in prepared.items():
                values[key][number] = metric.under(weights)
        return values

    def means(self, values: Values) -> Values:
        """The mean of one value a row under each draw, float64 (replicates,)."""
        total = np.bincount(self._code, weights=values, minlength=self._users)
        rows = np.bincount(self._code, minlength=self._users)
        return np.array([drawn @ total / (drawn @ rows) for drawn in self._draws()])

    def _draws(self) -> Iterator[NDArray[np.int64]]:
        """How often each user was drawn; the same sequence at every call."""
        rng = np.random.default_rng(self._seed)
        for _ in range(self._replicates):
            yield np.bincount(rng.integers(0, self._users, self._users), minlength=self._users)


def interval(replicates: Values, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile interval; (None, None) when more than 1 % of the replicates are undefined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < 0.99 * len(replicates) or not len(defined):
        return None, None
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def measured(value: float, replicates: Values, rows: int, confidence: float = 0.95) -> Measured:
    """A value with its interval and row count, fit for JSON: what cannot be computed is null."""
    low, high = interval(replicates, confidence)
    return {"value": float(value) if np.isfinite(value) else None, "low": low, "high": high, "rows": int(rows)}
