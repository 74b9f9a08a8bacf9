"""Values of rankers and models with user-clustered intervals, and their paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.evaluation.list_documents import Estimate, Measures
from mtl_tasks.metrics.bootstrap import UserBootstrap, measured
from mtl_tasks.metrics.catalog import improvement
from mtl_tasks.metrics.pointwise import Values

Statistic = Callable[[Values], Values]


class Key(NamedTuple):
    """A ranker or model, and a metric of it."""

    name: str
    metric: str


@dataclass(frozen=True)
class Estimates:
    """Values and their bootstrap replicates, which share their draws.

    Attributes
    ----------
    keys
        The c ranker-metric pairs.
    value
        float64 (c,), NaN where undefined.
    replicates
        float64 (replicates, c).
    rows
        int64 (c,): rows in which each is defined.
    confidence
        Confidence level of the intervals.
    """

    keys: tuple[Key, ...]
    value: Values
    replicates: Values
    rows: NDArray[np.int64]
    confidence: float

    def of(self, name: str, metric: str) -> Estimate:
        """Return a value with its interval."""
        at = self.keys.index(Key(name, metric))
        found = measured(self.value[at], self.replicates[:, at], int(self.rows[at]), self.confidence)
        return Estimate.model_validate(found)

    def difference(self, mine: str, other: str, metric: str) -> Estimate:
        """Return the paired difference of two rankers, positive if ``mine`` is better."""
        a, b = self.keys.index(Key(mine, metric)), self.keys.index(Key(other, metric))
        sign = improvement(metric, 1.0, 0.0)
        drawn = sign * (self.replicates[:, a] - self.replicates[:, b])
        rows = int(min(self.rows[a], self.rows[b]))
        found = measured(sign * (self.value[a] - self.value[b]), drawn, rows, self.confidence)
        return Estimate.model_validate(found)

    def measures(self, name: str, references: Iterable[str]) -> Measures:
        """Return all metrics of a ranker, and its differences from the references that were evaluated too."""
        metrics = [key.metric for key in self.keys if key.name == name]
        others = [other for other in references if other != name and any(key.name == other for key in self.keys)]
        return Measures(
            metrics={metric: self.of(name, metric) for metric in metrics},
            versus={other: {metric: self.difference(name, other, metric) for metric in metrics} for other in others},
        )


def estimate(
    users: NDArray[Any],
    keys: Sequence[Key],
    statistic: Statistic,
    rows: NDArray[np.int64],
    *,
    replicates: int,
    seed: int,
    confidence: float,
) -> Estimates:
    """Compute a statistic of the row weights, and its replicates under draws of users.

    Parameters
    ----------
    users
        (n,) user of each row.
    keys
        Names of the c numbers that the statistic returns.
    statistic
        Function of row weights float64 (n,) that returns float64 (c,).
    rows
        int64 (c,): rows in which each number is defined.
    """
    if not len(users):
        undefined = np.full((replicates, len(keys)), np.nan)
        return Estimates(tuple(keys), undefined[0], undefined, rows, confidence)
    drawn = UserBootstrap(users, replicates, seed).statistics(statistic)
    return Estimates(tuple(keys), statistic(np.ones(len(users))), drawn, rows, confidence)


def ratios(numerators: Values, denominators: Values) -> Statistic:
    """Return the statistic that divides weighted sums of columns, float64 (n, c) each; NaN for a sum of 0."""
    count = numerators.shape[1]
    both = np.concatenate([numerators, denominators], axis=1)

    def statistic(weights: Values) -> Values:
        totals = weights @ both
        below = totals[count:]
        return np.where(below > 0, totals[:count] / np.where(below > 0, below, 1.0), np.nan)

    return statistic


def means(values: Values) -> Statistic:
    """Return the statistic that averages each column of float64 (n, c) over its rows that are not NaN."""
    defined = ~np.isnan(values)
    return ratios(np.where(defined, values, 0.0), defined.astype(np.float64))
