"""Point-in-time activity: counts and recency of users and items, a user's usual items, and an item's usual users."""

from __future__ import annotations

from typing import Final, Self

import numpy as np

from mtl_tasks.core.feature_columns import FeatureColumn, Subject, readable, recently
from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import KeySpace, RunningSums, Timeline, Values
from mtl_tasks.scenario import Scenario

Columns = dict[str, Values]
_TRAITS: Final = {  # with their descriptions
    "popularity": "popularity (log scale)",
    "popularity_7d": "7-day popularity (log scale)",
    "age": "age (log scale)",
}
_SIDES: Final[tuple[Subject, ...]] = ("user", "item")


class Activity(FeatureGroup):
    """Counts, recency, and the distance of an item from its user's usual items.

    Parameters
    ----------
    about
        Attributes of the items.
    since
        Events of earlier days come from a snapshot.
    """

    name = "activity"

    def __init__(
        self, events: IndexedInteractions, about: AttributeLookup, windows: tuple[int, ...], since: int | None = None
    ) -> None:
        users, items = KeySpace({"user": len(events.user_ids)}), KeySpace({"item": len(events.item_ids)})
        self._events, self._about, self._windows = events, about, windows
        self._timeline = Timeline(events.days, since)
        self._by_user = RunningSums(users, (), windows, dated=True)
        self._by_item = RunningSums(items, (), tuple({1, 7, *windows}), dated=True)
        self._habits = RunningSums(users, tuple(_TRAITS))
        self._usual = {name: RunningSums(users, (name,)) for name in about.measures}
        self._takers = RunningSums(items, ("experience",))

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        windows, items = scenario.features.windows, scenario.source.items
        columns = [column for side in _SIDES for column in _of_side(side, windows)]
        if 1 not in windows:
            columns.append(_count("item", 1))
        measures = () if items is None else (*items.numeric, *items.times)
        traits = {**_TRAITS, **{name: readable(name) for name in measures if name not in _TRAITS}}
        columns += [column for name, words in traits.items() for column in _of_trait(name, words)]
        experience = "experience of the item's users (log of their interactions)"
        less = "the user's experience minus that of the item's users (log scale)"
        return [
            *columns,
            FeatureColumn("item.takers_experience", "usual", experience, "item"),
            FeatureColumn("user_x_item.experience_minus_takers", "difference", less, "pair"),
        ]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        return [cls(inputs.events, inputs.item_attributes, inputs.scenario.features.windows, inputs.since)]

    def sums(self) -> dict[str, RunningSums]:
        """See :class:`FeatureGroup`."""
        usual = {f"usual.{name}": sums for name, sums in self._usual.items()}
        of = {"user": self._by_user, "item": self._by_item, "habits": self._habits, "takers": self._takers}
        return {**of, **usual}

    def advance(self, day: int) -> None:
        """Add the events before a day."""
        for today, of_day in self._timeline.until(day):
            self._turn(today)
            users, items = self._events.users[of_day], self._events.items[of_day]
            traits = self._traits(items, self._events.days[of_day])
            self._habits.add(today, users, {name: traits[name] for name in _TRAITS})
            for name, sums in self._usual.items():
                known = np.isfinite(traits[name])
                sums.add(today, users[known], {name: traits[name][known]})
            self._takers.add(today, items, {"experience": np.log1p(self._by_user.ever(users).count)})
            self._by_user.add(today, users)
            self._by_item.add(today, items)
        self._turn(day)

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`."""
        columns: Columns = {}
        for side, sums, keys in (("user", self._by_user, rows.users), ("item", self._by_item, rows.items)):
            ever = sums.ever(keys)
            columns[f"{side}.count"] = ever.count
            columns[f"{side}.days_since_last"] = rows.days - ever.last_day()
            columns[f"{side}.days_since_first"] = rows.days - ever.first_day()
            for length in self._windows:
                columns[f"{side}.count_{length}d"] = sums.last(keys, length).count
        columns["item.count_1d"] = self._by_item.last(rows.items, 1).count
        columns |= self._distance_from_habit(rows)
        usual = self._takers.ever(rows.items).mean("experience")
        columns["item.takers_experience"] = usual
        columns["user_x_item.experience_minus_takers"] = np.log1p(columns["user.count"]) - usual
        return columns

    def _turn(self, day: int) -> None:
        self._by_user.advance(day)
        self._by_item.advance(day)

    def _traits(self, items: Codes, days: Codes) -> Columns:
        """Return the current traits of items, on scales on which distances are meaningful."""
        ever = self._by_item.ever(items)
        traits = {
            "popularity": np.log1p(ever.count),
            "popularity_7d": np.log1p(self._by_item.last(items, 7).count),
            "age": np.log1p(np.nan_to_num(days - ever.first_day())),
        }
        return traits | self._about.numbers(items, days)

    def _distance_from_habit(self, rows: IndexedRows) -> Columns:
        columns: Columns = {}
        for name, trait in self._traits(rows.items, rows.days).items():
            habit = self._usual.get(name, self._habits).ever(rows.users).mean(name)
            columns[f"user.usual_{name}"] = habit
            columns[f"user_x_item.{name}_minus_usual"] = trait - habit
        return columns


def _of_side(side: Subject, windows: tuple[int, ...]) -> list[FeatureColumn]:
    ends = [
        FeatureColumn(f"{side}.days_since_{end}", "days", f"days since the {end} interaction of the {side}", side)
        for end in ("last", "first")
    ]
    return [_count(side, None), *ends, *(_count(side, days) for days in windows)]


def _count(side: Subject, days: int | None) -> FeatureColumn:
    name = f"{side}.count" if days is None else f"{side}.count_{days}d"
    return FeatureColumn(name, "count", f"interactions of the {side}{recently(days)}", side, days=days)


def _of_trait(name: str, words: str) -> list[FeatureColumn]:
    return [
        FeatureColumn(f"user.usual_{name}", "usual", f"usual {words} of the user's items", "user"),
        FeatureColumn(
            f"user_x_item.{name}_minus_usual",
            "difference",
            f"{words} of the item, less what is usual for the user",
            "pair",
        ),
    ]
