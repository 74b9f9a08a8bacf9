"""Point-in-time affinity by attribute, such as a user's for item genres or an item's for user groups."""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

import numpy as np
import pandas as pd

from mtl_tasks.core.feature_columns import FeatureColumn, readable, recently
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.groups.label_statistics import LabelStatistics, of_tasks
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import KeySpace, RunningSums, Timeline, Values
from mtl_tasks.scenario import AttributeTable, Scenario

Columns = dict[str, Values]
Side = Literal["user", "item"]
RECENT = 28  # days; events of a value within them count as recent
SMOOTHING = 2.0  # pseudo-events at the overall share in a user's share of a value


class Attribute(Protocol):
    """An attribute whose values are known by id and day."""

    @property
    def name(self) -> str:
        """Name of the attribute."""

    @property
    def size(self) -> int:
        """Number of different values."""

    @property
    def labels(self) -> pd.Index[str]:
        """The value of each code."""

    def of(self, codes: Codes, days: Codes) -> tuple[Codes, Codes]:
        """Return the values of many ids, each on a day: position in ``codes``, and value code."""


class AttributeTastes(FeatureGroup):
    """Share, lift and residuals of the row's attribute values, averaged over those values.

    For an item attribute they describe the user, such as the user's liking for the row's genres. For a user attribute
    they describe the item, such as its appeal to users of the row's age group. An attribute that is nearly an id, which
    :class:`~mtl_tasks.features.attribute_values.AttributeLookup` does not list, has no columns.

    Parameters
    ----------
    levels
        By task; they must be advanced to a day before this is.
    whose
        The side that is described; the values are those of the other side.
    since
        Events of earlier days, and labels that were final on them, come from a snapshot.
    """

    def __init__(
        self,
        events: IndexedInteractions,
        attribute: Attribute,
        levels: dict[str, LabelStatistics],
        damping: float,
        whose: Side = "user",
        since: int | None = None,
    ) -> None:
        self._events, self._attribute, self._levels, self._damping = events, attribute, levels, damping
        self._whose: Side = whose
        self.name = f"{whose}_x_{attribute.name}"
        self._timeline = Timeline(events.days, since)
        self._label_timelines = {name: Timeline(level.days, since) for name, level in levels.items()}
        mine: dict[str, int] = {whose: len(events.user_ids if whose == "user" else events.item_ids)}
        theirs = {value_axis(whose, attribute.name): attribute.size}
        self._pairs = KeySpace({**mine, **theirs})
        # By the day a label becomes final, the attribute can have another value.
        self._pairs.learn(*self._met(events, self._timeline.rest)[:2])
        for name, level in levels.items():
            self._pairs.learn(*self._met(level, self._label_timelines[name].rest)[:2])
        self._by_value = RunningSums(KeySpace(theirs), (), (RECENT,))
        self._by_pair = RunningSums(self._pairs)
        self._by_mine = RunningSums(KeySpace(mine))
        self._everything = RunningSums(KeySpace({"all": 1}))
        self._residuals = {name: RunningSums(self._pairs, ("residual",)) for name in levels}

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`; whether an attribute is listed depends on its values, so all are declared."""
        source, tasks = scenario.source, [name for name in scenario.labels if name in scenario.tasks]
        items = [column for name in _listable(source.items) for column in _of_item_attribute(name, tasks)]
        return items + [column for name in _listable(source.users) for column in _of_user_attribute(name, tasks)]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        levels, damping = of_tasks(inputs), inputs.scenario.features.damping
        sides: tuple[tuple[Side, Any], ...] = (("user", inputs.item_attributes), ("item", inputs.user_attributes))
        return [
            cls(inputs.events, attribute, levels, damping, whose, inputs.since)
            for whose, about in sides
            for attribute in about.listed
        ]

    def axes(self) -> dict[str, pd.Index[Any]]:
        """See :class:`FeatureGroup`."""
        return {value_axis(self._whose, self._attribute.name): self._attribute.labels}

    def sums(self) -> dict[str, RunningSums]:
        """See :class:`FeatureGroup`."""
        of = {"value": self._by_value, "pair": self._by_pair, "mine": self._by_mine, "everything": self._everything}
        return {**of, **{f"residual.{name}": sums for name, sums in self._residuals.items()}}

    def advance(self, day: int) -> None:
        """Add the events, and the labels that were final, before a day."""
        for today, of_day in self._timeline.until(day):
            whose, value, _ = self._met(self._events, of_day)
            self._by_value.advance(today)
            self._by_value.add(today, value)
            self._by_pair.add(today, self._pairs.positions(whose, value))
            mine, _ = self._sides(self._events)
            self._by_mine.add(today, mine[of_day])
            self._everything.add(today, np.zeros(of_day.stop - of_day.start, dtype=np.int64))
        self._by_value.advance(day)
        for name, level in self._levels.items():
            for today, of_day in self._label_timelines[name].until(day):
                whose, value, owner = self._met(level, of_day)
                residual = level.residual[of_day][owner].astype(np.float64)
                self._residuals[name].add(today, self._pairs.positions(whose, value), {"residual": residual})

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`."""
        whose, other = self._sides(rows)
        owner, value = self._attribute.of(other, rows.days)
        pairs = self._pairs.positions(whose[owner], value)
        prefix = f"{self._whose}_x_{self._attribute.name}"
        values = np.bincount(owner, minlength=len(rows)).astype(np.float64)

        def average(per_value: Values) -> Values:
            total = np.bincount(owner, weights=per_value, minlength=len(rows))
            return np.where(values > 0, total / np.maximum(values, 1), np.nan)

        mine, met = self._by_mine.ever(whose[owner]).count, self._by_pair.ever(pairs).count
        everyone = self._everything.ever(np.zeros(1, dtype=np.int64)).count[0]
        overall = self._by_value.ever(value).count / max(everyone, 1.0)
        lift = (met + SMOOTHING * overall) / ((mine + SMOOTHING) * np.maximum(overall, 1e-6))
        columns = {
            f"{prefix}.share": average(met / np.maximum(mine, 1.0)),
            f"{prefix}.lift": average(np.log(np.maximum(lift, 1e-6))),
        }
        if self._whose == "user":
            columns[f"item.{self._attribute.name}.count_{RECENT}d"] = average(self._by_value.last(value, RECENT).count)
            columns[f"item.{self._attribute.name}.values"] = values
        for name, sums in self._residuals.items():
            residual = sums.ever(pairs).damped_mean("residual", 0.0, self._damping)
            columns[f"{prefix}.{name}.residual"] = average(residual)
        return columns

    def _sides(self, of: IndexedInteractions | IndexedRows | LabelStatistics) -> tuple[Codes, Codes]:
        return (of.users, of.items) if self._whose == "user" else (of.items, of.users)

    def _met(self, of: IndexedInteractions | LabelStatistics, of_day: slice) -> tuple[Codes, Codes, Codes]:
        """Return, for each value of each event, the described side's code, the value code and the event's position."""
        mine, other = self._sides(of)
        owner, value = self._attribute.of(other[of_day], of.days[of_day])
        return mine[of_day][owner], value, owner


def value_axis(whose: Side, attribute: str) -> str:
    """Return the name of the axis of an attribute's values, given the side that they describe."""
    return f"{'item' if whose == 'user' else 'user'}.{attribute}"


def _listable(table: AttributeTable | None) -> list[str]:
    """Return the attributes that may be listed, in the order of the list."""
    return [] if table is None else [*table.multi, *table.categorical]


def _of_item_attribute(name: str, tasks: list[str]) -> list[FeatureColumn]:
    words, prefix = readable(name), f"user_x_{name}"
    return [
        FeatureColumn(f"{prefix}.share", "share", f"share of the user's interactions with the item's {words}", "pair"),
        FeatureColumn(
            f"{prefix}.lift",
            "lift",
            f"the user's preference for the item's {words}, relative to all users (log scale)",
            "pair",
        ),
        FeatureColumn(
            f"item.{name}.count_{RECENT}d",
            "count",
            f"interactions with the item's {words}{recently(RECENT)}",
            "attribute",
            days=RECENT,
        ),
        FeatureColumn(f"item.{name}.values", "number", f"number of the item's {words}", "item"),
        *(
            FeatureColumn(
                f"{prefix}.{task}.residual",
                "residual",
                f"{readable(task)} of the user for the item's {words}, beyond the levels",
                "pair",
                task,
            )
            for task in tasks
        ),
    ]


def _of_user_attribute(name: str, tasks: list[str]) -> list[FeatureColumn]:
    words, prefix = readable(name), f"item_x_{name}"
    return [
        FeatureColumn(
            f"{prefix}.share", "share", f"share of the item's interactions with users of the user's {words}", "pair"
        ),
        FeatureColumn(
            f"{prefix}.lift", "lift", f"appeal of the item to users with the user's {words} (log scale)", "pair"
        ),
        *(
            FeatureColumn(
                f"{prefix}.{task}.residual",
                "residual",
                f"{readable(task)} of users of the user's {words} for the item, beyond the levels",
                "pair",
                task,
            )
            for task in tasks
        ),
    ]
