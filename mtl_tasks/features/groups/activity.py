"""Point-in-time activity: counts and recency of users and items, a user's usual items, and an item's usual users."""

from __future__ import annotations

import numpy as np

from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import KeySpace, RunningSums, Timeline, Values

Columns = dict[str, Values]
_TRAITS = ("popularity", "popularity_7d", "age")


class Activity:
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
        self._habits = RunningSums(users, _TRAITS)
        self._usual = {name: RunningSums(users, (name,)) for name in about.measures}
        self._takers = RunningSums(items, ("experience",))

    def memory(self) -> dict[str, RunningSums]:
        """Return the running sums by name."""
        usual = {f"usual.{name}": sums for name, sums in self._usual.items()}
        of = {"user": self._by_user, "item": self._by_item, "habits": self._habits, "takers": self._takers}
        return {**of, **usual}

    def advance(self, day: int) -> None:
        """Add the events before a day."""
        for today, place in self._timeline.until(day):
            self._turn(today)
            users, items = self._events.users[place], self._events.items[place]
            traits = self._traits(items, self._events.days[place])
            self._habits.add(today, users, {name: traits[name] for name in _TRAITS})
            for name, sums in self._usual.items():
                known = np.isfinite(traits[name])
                sums.add(today, users[known], {name: traits[name][known]})
            self._takers.add(today, items, {"experience": np.log1p(self._by_user.ever(users).count)})
            self._by_user.add(today, users)
            self._by_item.add(today, items)
        self._turn(day)

    def columns(self, rows: IndexedRows) -> Columns:
        """Return the columns of rows of the day of the last :meth:`advance`, by name."""
        made: Columns = {}
        for side, sums, keys in (("user", self._by_user, rows.users), ("item", self._by_item, rows.items)):
            ever = sums.ever(keys)
            made[f"{side}.count"] = ever.count
            made[f"{side}.days_since_last"] = rows.days - ever.last_day()
            made[f"{side}.days_since_first"] = rows.days - ever.first_day()
            for length in self._windows:
                made[f"{side}.count_{length}d"] = sums.last(keys, length).count
        made["item.count_1d"] = self._by_item.last(rows.items, 1).count
        made |= self._distance_from_habit(rows)
        usual = self._takers.ever(rows.items).mean("experience")
        made["item.takers_experience"] = usual
        made["user_x_item.experience_minus_takers"] = np.log1p(made["user.count"]) - usual
        return made

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
        made: Columns = {}
        for name, trait in self._traits(rows.items, rows.days).items():
            habit = self._usual.get(name, self._habits).ever(rows.users).mean(name)
            made[f"user.usual_{name}"] = habit
            made[f"user_x_item.{name}_minus_usual"] = trait - habit
        return made
