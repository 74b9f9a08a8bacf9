"""Point-in-time tastes by a multi-valued item attribute, such as genres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.aggregates import DailySums, Values, expand
from mtl_tasks.features.coding import CodedEvents, CodedRows
from mtl_tasks.features.levels import TaskLevels

Columns = dict[str, Values]
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


def attribute_columns(
    events: CodedEvents, rows: CodedRows, attribute: MultiValued, levels: dict[str, TaskLevels], damping: float
) -> Columns:
    """Return the user's share, lift and residual of the row's attribute values, averaged over those values."""
    owner, value = attribute.of(rows.items)
    users, days = rows.users[owner], rows.days[owner]
    prefix = f"user_x_{attribute.name}"

    def average(per_value: Values) -> Values:
        count = np.bincount(owner, minlength=len(rows))
        total = np.bincount(owner, weights=per_value, minlength=len(rows))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    event, event_value = attribute.of(events.items)
    by_value = DailySums(event_value, events.days[event])
    by_pair = DailySums(events.users[event] * attribute.size + event_value, events.days[event])
    everyone = np.maximum(DailySums(np.zeros_like(events.days), events.days).before(0 * days, days).count, 1.0)
    mine = DailySums(events.users, events.days).before(users, days).count
    met = by_pair.before(users * attribute.size + value, days).count
    overall = by_value.before(value, days).count / everyone
    lift = (met + SMOOTHING * overall) / ((mine + SMOOTHING) * np.maximum(overall, 1e-6))
    made = {
        f"{prefix}.share": average(met / np.maximum(mine, 1.0)),
        f"{prefix}.lift": average(np.log(np.maximum(lift, 1e-6))),
        f"item.{attribute.name}.count_28d": average(by_value.between(value, days - 28, days).count),
        f"item.{attribute.name}.values": np.bincount(owner, minlength=len(rows)).astype(np.float64),
    }
    for name, level in levels.items():
        event, event_value = attribute.of(level.items)
        keys = level.users[event] * attribute.size + event_value
        sums = DailySums(keys, level.days[event], {"residual": level.residual[event]})
        residual = sums.before(users * attribute.size + value, days).damped_mean("residual", 0.0, damping)
        made[f"{prefix}.{name}.residual"] = average(residual)
    return made
