"""Point-in-time rates under circumstances: how a user, an item and everybody respond where a row is shown."""

from __future__ import annotations

import numpy as np

from mtl_tasks.features.aggregates import DailySums, Values
from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes

Columns = dict[str, Values]


def context_columns(events: CodedEvents, rows: CodedRows, tasks: list[str], damping: float) -> Columns:
    """Return, for every categorical context and label, means under the row's kind, and what goes beyond them.

    ``context.<kind>.<task>.mean`` is everybody's mean under the kind, ``user_x_<kind>`` and ``item_x_<kind>`` those of
    user and item, damped towards it. ``user.<task>.beyond_<kind>`` is the mean of what a user's labels were above what
    was known of their items under their kinds on the day, and the reverse for items; NaN without a kind.

    Parameters
    ----------
    tasks
        Names of the labels.
    """
    made: Columns = {}
    for task in tasks:
        labelled = events.settled(~np.isnan(events.labels[task]))
        for name in events.kinds:
            kinds = int(max(events.kinds[name].max(initial=-1), rows.kinds[name].max(initial=-1))) + 2  # one is none
            made |= _Rates(labelled, name, task, kinds, damping).columns(rows)
    return made


class _Rates:
    """Rates of one label under one kind of circumstance."""

    def __init__(self, events: CodedEvents, name: str, task: str, kinds: int, damping: float) -> None:
        self._name, self._task, self._kinds, self._damping = name, task, kinds, damping
        value, self._days = events.labels[task], events.days
        kind = events.kinds[name] + 1
        self._everything = DailySums(np.zeros_like(self._days), self._days, {"value": value})
        self._by_kind = DailySums(kind, self._days, {"value": value})
        keys = {"user": events.users, "item": events.items}
        pairs = {side: key * kinds + kind for side, key in keys.items()}
        self._by_pair = {side: DailySums(pair, self._days, {"value": value}) for side, pair in pairs.items()}
        then = self._means(events.users, events.items, events.kinds[name], self._days)
        self._beyond = {
            side: DailySums(key, self._days, {"beyond": value - then[other]})
            for (side, key), other in zip(keys.items(), ("item", "user"), strict=True)
        }

    def _means(self, users: Codes, items: Codes, kinds: Codes, days: Codes) -> dict[str, Values]:
        """Means under a kind; a kind that no label was observed under has everybody's."""
        kind = kinds + 1
        overall = self._everything.before(np.zeros_like(days), days).mean("value")
        everybody = self._by_kind.before(kind, days).damped_mean("value", np.nan_to_num(overall), self._damping)
        made = {"everybody": everybody}
        for side, key in (("user", users), ("item", items)):
            known = self._by_pair[side].before(key * self._kinds + kind, days)
            made[side] = known.damped_mean("value", everybody, self._damping)
        return made

    def columns(self, rows: CodedRows) -> Columns:
        """Return the columns for rows."""
        name, task = self._name, self._task
        means = self._means(rows.users, rows.items, rows.kinds[name], rows.days)
        known = rows.kinds[name] >= 0
        made = {f"context.{name}.{task}.mean": means["everybody"]}
        made |= {f"{side}_x_{name}.{task}.mean": means[side] for side in ("user", "item")}
        made = {column: np.where(known, values, np.nan) for column, values in made.items()}
        for side, key in (("user", rows.users), ("item", rows.items)):
            beyond = self._beyond[side].before(key, rows.days).damped_mean("beyond", 0.0, self._damping)
            made[f"{side}.{task}.beyond_{name}"] = beyond
        return made
