"""Point-in-time rates under circumstances: how a user, an item and everybody respond where a row is shown."""

from __future__ import annotations

import numpy as np

from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes
from mtl_tasks.features.sums import RunningSums, Timeline, Values, Vocabulary

Columns = dict[str, Values]
_SIDES = ("user", "item")


class ContextRates:
    """Means of one label under each kind of one categorical context, and what goes beyond them.

    ``context.<kind>.<task>.mean`` is everybody's mean under the kind, ``user_x_<kind>`` and ``item_x_<kind>`` those of
    user and item, damped towards it; these are NaN for a row without a kind. ``user.<task>.beyond_<kind>`` is the mean
    of what a user's labels were above what was known of their items under their kinds on the day, and the reverse for
    items.

    Parameters
    ----------
    name
        Of the context.
    """

    def __init__(self, events: CodedEvents, name: str, task: str, damping: float) -> None:
        self._name, self._task, self._damping = name, task, damping
        self._kinds = len(events.levels[name]) + 1  # the first is none
        self._labelled = labelled = events.settled(~np.isnan(events.labels[task]))
        self._timeline = Timeline(labelled.days)
        self._everything = RunningSums(1, ("value",))
        self._by_kind = RunningSums(self._kinds, ("value",))
        sizes = {"user": len(events.user_ids), "item": len(events.item_ids)}
        keys = self._keys(labelled.users, labelled.items, labelled.kinds[name] + 1)
        self._pairs = {side: Vocabulary(keys[side], sizes[side] * self._kinds) for side in _SIDES}
        self._by_pair = {side: RunningSums(len(self._pairs[side]), ("value",)) for side in _SIDES}
        self._beyond = {side: RunningSums(sizes[side], ("beyond",)) for side in _SIDES}

    def advance(self, day: int) -> None:
        """Take in the labels that were final before a day."""
        for today, place in self._timeline.until(day):
            users, items = self._labelled.users[place], self._labelled.items[place]
            kind, value = self._labelled.kinds[self._name][place] + 1, self._labelled.labels[self._task][place]
            means = self._means(users, items, kind)
            self._beyond["user"].add(today, users, {"beyond": value - means["item"]})
            self._beyond["item"].add(today, items, {"beyond": value - means["user"]})
            self._everything.add(today, np.zeros(len(value), dtype=np.int64), {"value": value})
            self._by_kind.add(today, kind, {"value": value})
            for side, key in self._keys(users, items, kind).items():
                self._by_pair[side].add(today, self._pairs[side].places(key), {"value": value})

    def columns(self, rows: CodedRows) -> Columns:
        """Return the columns of rows of the day of the last :meth:`advance`, by name."""
        name, task = self._name, self._task
        kind = rows.kinds[name] + 1
        means = self._means(rows.users, rows.items, kind)
        made = {f"context.{name}.{task}.mean": means["everybody"]}
        made |= {f"{side}_x_{name}.{task}.mean": means[side] for side in _SIDES}
        made = {column: np.where(kind > 0, values, np.nan) for column, values in made.items()}
        for side, key in (("user", rows.users), ("item", rows.items)):
            made[f"{side}.{task}.beyond_{name}"] = (
                self._beyond[side].ever(key).damped_mean("beyond", 0.0, self._damping)
            )
        return made

    def _means(self, users: Codes, items: Codes, kind: Codes) -> dict[str, Values]:
        """Means under a kind; a kind that no label was observed under has everybody's."""
        overall = np.nan_to_num(self._everything.ever(np.zeros(1, dtype=np.int64)).mean("value"))
        everybody = self._by_kind.ever(kind).damped_mean("value", overall, self._damping)
        made = {"everybody": everybody}
        for side, key in self._keys(users, items, kind).items():
            known = self._by_pair[side].ever(self._pairs[side].places(key))
            made[side] = known.damped_mean("value", everybody, self._damping)
        return made

    def _keys(self, users: Codes, items: Codes, kind: Codes) -> dict[str, Codes]:
        return {"user": users * self._kinds + kind, "item": items * self._kinds + kind}
