"""Values of rankers and models with user-clustered intervals, and their paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.metrics.bootstrap import UserBootstrap, measured
from mtl_tasks.metrics.catalog import improvement
from mtl_tasks.metrics.ranking import Values
from mtl_tasks.store.documents.lists import Measures
from mtl_tasks.store.documents.measurements import Measurement

Statistic = Callable[[Values], Values]
_LEFT_OUT: Final = 0.2  # share of the users that a subsample leaves out


class Key(NamedTuple):
    """A ranker or model, and a metric of it."""

    name: str
    metric: str


@dataclass(frozen=True)
class Interval:
    """Settings of user-clustered intervals: seed and number of the draws, and the confidence level."""

    seed: int
    replicates: int = 200
    confidence: float = 0.95


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

    def joined(self, other: Estimates) -> Estimates:
        """Add values of other keys."""
        return Estimates(
            keys=self.keys + other.keys,
            value=np.append(self.value, other.value),
            replicates=np.concatenate([self.replicates, other.replicates], axis=1),
            rows=np.append(self.rows, other.rows),
            confidence=self.confidence,
        )

    def of(self, name: str, metric: str) -> Measurement:
        """Return a value with its interval."""
        at = self.keys.index(Key(name, metric))
        found = measured(self.value[at], self.replicates[:, at], int(self.rows[at]), self.confidence)
        return Measurement.model_validate(found)

    def difference(self, mine: str, other: str, metric: str) -> Measurement:
        """Return the paired difference of two rankers, positive if ``mine`` is better."""
        a, b = self.keys.index(Key(mine, metric)), self.keys.index(Key(other, metric))
        sign = improvement(metric, 1.0, 0.0)
        drawn = sign * (self.replicates[:, a] - self.replicates[:, b])
        rows = int(min(self.rows[a], self.rows[b]))
        found = measured(sign * (self.value[a] - self.value[b]), drawn, rows, self.confidence)
        return Measurement.model_validate(found)

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
    interval: Interval,
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
    interval
        Draws and confidence level.
    """
    if not len(users):
        undefined = np.full((interval.replicates, len(keys)), np.nan)
        return Estimates(tuple(keys), undefined[0], undefined, rows, interval.confidence)
    drawn = UserBootstrap(users, interval.replicates, interval.seed).statistics(statistic)
    return Estimates(tuple(keys), statistic(np.ones(len(users))), drawn, rows, interval.confidence)


def estimate_by_subsamples(
    users: NDArray[Any],
    keys: Sequence[Key],
    statistic: Statistic,
    rows: NDArray[np.int64],
    interval: Interval,
) -> Estimates:
    """Compute a statistic of all rows together, and replicates of it that leave out a fifth of the users each.

    Coverage and Gini coefficient depend on how many different users there are. A bootstrap draw has a third fewer: both
    shift, and their intervals hold the mean too rarely. A subsample has no user twice. Its deviations are scaled as in
    the delete-d jackknife (Shao & Wu 1989). A single user has no interval. The parameters are those of
    :func:`estimate`.
    """
    codes = np.unique(users, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    left_out = max(1, round(_LEFT_OUT * count))
    value = statistic(np.ones(len(users))) if count else np.full(len(keys), np.nan)
    drawn = np.full((interval.replicates, len(keys)), np.nan)
    rng = np.random.default_rng(interval.seed)
    for number in range(interval.replicates if count > left_out else 0):
        kept = np.ones(count)
        kept[rng.permutation(count)[:left_out]] = 0.0
        drawn[number] = statistic(kept[codes])
    defined = np.isfinite(drawn)
    center = np.where(defined, drawn, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    scale = np.sqrt((count - left_out) / left_out) if count > left_out else 0.0
    return Estimates(tuple(keys), value, value + scale * (drawn - center), rows, interval.confidence)


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
