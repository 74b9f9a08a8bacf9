"""Point-in-time tastes by an attribute: genres of items to a user, groups of users to an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.features.aggregates import DailySums, Values, expand
from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes
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

    @classmethod
    def of_kinds(cls, name: str, texts: pd.Series[str]) -> MultiValued:
        """Take each text as one value; empty or missing means none."""
        filled = (texts.fillna("") != "").to_numpy()
        codes, uniques = pd.factorize(texts[filled], sort=True)
        starts = np.concatenate([[0], np.cumsum(filled)]).astype(np.int64)
        return cls(name, starts, codes.astype(np.int64), len(uniques))

    def of(self, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """List the values of many items: position in ``items``, and value."""
        owner, position = expand(self.starts[items], self.starts[items + 1])
        return owner, self.values[position]


class Attribute(Protocol):
    """An attribute whose values are known by id and day."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def size(self) -> int:
        """Number of different values."""

    def of(self, codes: Codes, days: Codes) -> tuple[Codes, Codes]:
        """List the values of many ids, each on a day: position in ``codes``, and value."""


def attribute_columns(
    events: CodedEvents, rows: CodedRows, attribute: Attribute, levels: dict[str, TaskLevels], damping: float
) -> Columns:
    """Return the user's share, lift and residual of the row's attribute values, averaged over those values."""
    made = _affinity(events, rows, attribute, levels, damping, "user")
    owner, value = attribute.of(rows.items, rows.days)
    days = rows.days[owner]
    event, event_value = attribute.of(events.items, events.days)
    by_value = DailySums(event_value, events.days[event])
    recent = by_value.between(value, days - 28, days).count
    made[f"item.{attribute.name}.count_28d"] = _average(recent, owner, len(rows))
    made[f"item.{attribute.name}.values"] = np.bincount(owner, minlength=len(rows)).astype(np.float64)
    return made


def audience_columns(
    events: CodedEvents, rows: CodedRows, attribute: Attribute, levels: dict[str, TaskLevels], damping: float
) -> Columns:
    """Return the same of an attribute of users: how much the row's item is for users with the row's values."""
    return _affinity(events, rows, attribute, levels, damping, "item")


def _affinity(
    events: CodedEvents,
    rows: CodedRows,
    attribute: Attribute,
    levels: dict[str, TaskLevels],
    damping: float,
    who: Literal["user", "item"],
) -> Columns:
    """Share, lift and residuals of values for ``who``; the values are those of the other side."""

    def sides(of: CodedEvents | CodedRows | TaskLevels) -> tuple[Codes, Codes]:
        return (of.users, of.items) if who == "user" else (of.items, of.users)

    whose, other = sides(rows)
    owner, value = attribute.of(other, rows.days)
    key, days = whose[owner] * attribute.size + value, rows.days[owner]
    prefix = f"{who}_x_{attribute.name}"

    event_whose, event_other = sides(events)
    event, event_value = attribute.of(event_other, events.days)
    by_value = DailySums(event_value, events.days[event])
    by_pair = DailySums(event_whose[event] * attribute.size + event_value, events.days[event])
    everyone = np.maximum(DailySums(np.zeros_like(events.days), events.days).before(0 * days, days).count, 1.0)
    mine = DailySums(event_whose, events.days).before(whose[owner], days).count
    met = by_pair.before(key, days).count
    overall = by_value.before(value, days).count / everyone
    lift = (met + SMOOTHING * overall) / ((mine + SMOOTHING) * np.maximum(overall, 1e-6))
    made = {f"{prefix}.share": met / np.maximum(mine, 1.0), f"{prefix}.lift": np.log(np.maximum(lift, 1e-6))}
    for name, level in levels.items():
        level_whose, level_other = sides(level)
        event, event_value = attribute.of(level_other, level.days)
        keys = level_whose[event] * attribute.size + event_value
        sums = DailySums(keys, level.days[event], {"residual": level.residual[event]})
        made[f"{prefix}.{name}.residual"] = sums.before(key, days).damped_mean("residual", 0.0, damping)
    return {name: _average(values, owner, len(rows)) for name, values in made.items()}


def _average(per_value: Values, owner: Codes, rows: int) -> Values:
    """Mean over the values of each row; NaN for a row without values."""
    count = np.bincount(owner, minlength=rows)
    total = np.bincount(owner, weights=per_value, minlength=rows)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
