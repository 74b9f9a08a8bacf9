"""Point-in-time activity: how much, how lately and what kind of items users take, and who takes an item."""

from __future__ import annotations

import numpy as np

from mtl_tasks.features.aggregates import DailySums, Values
from mtl_tasks.features.coding import CodedEvents, CodedRows
from mtl_tasks.features.side import SideTable

Columns = dict[str, Values]


def activity_columns(events: CodedEvents, rows: CodedRows, about: SideTable, windows: tuple[int, ...]) -> Columns:
    """Return counts, recency, and the distance of an item from what its user usually takes.

    Parameters
    ----------
    about
        What is known of the items.
    """
    made: Columns = {}
    by_user = DailySums(events.users, events.days)
    by_item = DailySums(events.items, events.days)
    for side, sums, keys in (("user", by_user, rows.users), ("item", by_item, rows.items)):
        ever = sums.before(keys, rows.days)
        made[f"{side}.count"] = ever.count
        made[f"{side}.days_since_last"] = rows.days - ever.last_day()
        made[f"{side}.days_since_first"] = rows.days - ever.first_day()
        for length in windows:
            made[f"{side}.count_{length}d"] = sums.between(keys, rows.days - length, rows.days).count
    made["item.count_1d"] = by_item.between(rows.items, rows.days - 1, rows.days).count
    event_traits = _item_traits(by_item, events.items, events.days, about)
    row_traits = _item_traits(by_item, rows.items, rows.days, about)
    made |= _distance_from_habit(events, rows, event_traits, row_traits)
    made |= _audience(events, rows, by_user, made["user.count"])
    return made


def _item_traits(by_item: DailySums, items: np.ndarray, days: np.ndarray, about: SideTable) -> Columns:
    """What an item was on a day, on scales on which a distance means something."""
    ever = by_item.before(items, days)
    traits = {
        "popularity": np.log1p(ever.count),
        "popularity_7d": np.log1p(by_item.between(items, days - 7, days).count),
        "age": np.log1p(np.nan_to_num(days - ever.first_day())),
    }
    return traits | about.numbers(items, days)


def _distance_from_habit(events: CodedEvents, rows: CodedRows, event_traits: Columns, row_traits: Columns) -> Columns:
    made: Columns = {}
    for name, trait in event_traits.items():
        known = np.isfinite(trait)
        sums = DailySums(events.users[known], events.days[known], {name: trait[known]})
        habit = sums.before(rows.users, rows.days).mean(name)
        made[f"user.usual_{name}"] = habit
        made[f"user_x_item.{name}_minus_usual"] = row_traits[name] - habit
    return made


def _audience(events: CodedEvents, rows: CodedRows, by_user: DailySums, user_count: Values) -> Columns:
    experience = np.log1p(by_user.before(events.users, events.days).count)
    takers = DailySums(events.items, events.days, {"experience": experience}).before(rows.items, rows.days)
    usual = takers.mean("experience")
    return {"item.takers_experience": usual, "user_x_item.experience_minus_takers": np.log1p(user_count) - usual}
