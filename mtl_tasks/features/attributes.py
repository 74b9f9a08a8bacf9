"""Point-in-time tastes by a multi-valued item attribute, such as genres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes
from mtl_tasks.features.levels import TaskLevels
from mtl_tasks.features.sums import RunningSums, Timeline, Values, Vocabulary, expand

Columns = dict[str, Values]
RECENT = 28  # days in which the events of a value count as recent
SMOOTHING = 2.0  # pseudo-events at the overall share in a user's share of a value


@dataclass(frozen=True)
class MultiValued:
    """Values of an attribute by item: item ``i`` has ``values[starts[i]:starts[i + 1]]``."""

    name: str
    starts: NDArray[np.int64]
    values: NDArray[np.int64]
    size: int

    @classmethod
    def parse(cls, name: str, texts: pd.Series[str]) -> MultiValued:
        """Parse '|'-separated texts, one an item in code order; empty or missing means no value."""
        parts = texts.fillna("").str.split("|").explode()
        filled = (parts != "").to_numpy()
        counts = np.bincount(np.cumsum(~parts.index.duplicated()) - 1, weights=filled, minlength=len(texts))
        codes, uniques = pd.factorize(parts[filled], sort=True)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(name, starts, codes.astype(np.int64), len(uniques))

    def of(self, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """List the values of many items: position in ``items``, and value."""
        owner, position = expand(self.starts[items], self.starts[items + 1])
        return owner, self.values[position]


class AttributeTastes:
    """The user's share, lift and residual of the row's attribute values, averaged over those values.

    Parameters
    ----------
    levels
        By task; they must be advanced to a day before this is.
    """

    def __init__(
        self, events: CodedEvents, attribute: MultiValued, levels: dict[str, TaskLevels], damping: float
    ) -> None:
        self._events, self._attribute, self._levels, self._damping = events, attribute, levels, damping
        owner, value = attribute.of(events.items)
        pairs = events.users[owner] * attribute.size + value
        self._pairs = Vocabulary(pairs, len(events.user_ids) * attribute.size)
        self._timeline = Timeline(events.days)
        self._label_timelines = {name: Timeline(level.days) for name, level in levels.items()}
        self._by_value = RunningSums(attribute.size, (), (RECENT,))
        self._by_pair = RunningSums(len(self._pairs))
        self._by_user = RunningSums(len(events.user_ids))
        self._residuals = {name: RunningSums(len(self._pairs), ("residual",)) for name in levels}
        self._everyone = 0

    def advance(self, day: int) -> None:
        """Take in what happened before a day."""
        for today, place in self._timeline.until(day):
            users, items = self._events.users[place], self._events.items[place]
            owner, value = self._attribute.of(items)
            self._by_value.advance(today)
            self._by_value.add(today, value)
            self._by_pair.add(today, self._pairs_of(users[owner], value))
            self._by_user.add(today, users)
            self._everyone += len(users)
        self._by_value.advance(day)
        for name, level in self._levels.items():
            for today, place in self._label_timelines[name].until(day):
                owner, value = self._attribute.of(level.items[place])
                residual = level.residual[place][owner].astype(np.float64)
                pairs = self._pairs_of(level.users[place][owner], value)
                self._residuals[name].add(today, pairs, {"residual": residual})

    def columns(self, rows: CodedRows) -> Columns:
        """Return the columns of rows of the day of the last :meth:`advance`, by name."""
        owner, value = self._attribute.of(rows.items)
        users = rows.users[owner]
        pairs = self._pairs_of(users, value)
        prefix = f"user_x_{self._attribute.name}"
        values = np.bincount(owner, minlength=len(rows)).astype(np.float64)

        def average(per_value: Values) -> Values:
            total = np.bincount(owner, weights=per_value, minlength=len(rows))
            return np.where(values > 0, total / np.maximum(values, 1), np.nan)

        mine, met = self._by_user.ever(users).count, self._by_pair.ever(pairs).count
        overall = self._by_value.ever(value).count / max(self._everyone, 1)
        lift = (met + SMOOTHING * overall) / ((mine + SMOOTHING) * np.maximum(overall, 1e-6))
        made = {
            f"{prefix}.share": average(met / np.maximum(mine, 1.0)),
            f"{prefix}.lift": average(np.log(np.maximum(lift, 1e-6))),
            f"item.{self._attribute.name}.count_{RECENT}d": average(self._by_value.last(value, RECENT).count),
            f"item.{self._attribute.name}.values": values,
        }
        for name, sums in self._residuals.items():
            residual = sums.ever(pairs).damped_mean("residual", 0.0, self._damping)
            made[f"{prefix}.{name}.residual"] = average(residual)
        return made

    def _pairs_of(self, users: Codes, values: Codes) -> Codes:
        return self._pairs.places(users * self._attribute.size + values)
