"""Point-in-time rates under circumstances: how a user, an item and everybody respond where a row is shown."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes
from mtl_tasks.features.sums import RunningSums, Timeline, Values, Vocabulary

Columns = dict[str, Values]
_OTHER: Final = {"user": "item", "item": "user"}


class ContextRates:
    """Means of one label under the kinds of one categorical context, and what goes beyond them.

    ``context.<kind>.<task>.mean`` is everybody's mean under the row's kind, ``user_x_<kind>`` and ``item_x_<kind>``
    those of user and item, damped towards it. ``user.<task>.beyond_<kind>`` is the mean of what a user's labels were
    above what was known of their items under their kinds on the day, and the reverse for items.
    """

    def __init__(self, events: CodedEvents, name: str, task: str, damping: float) -> None:
        self._events = events.settled(~np.isnan(events.labels[task]))
        self._name, self._task, self._damping = name, task, damping
        self._size = len(events.kind_levels[name]) + 1  # one stands for none
        sizes = {"user": len(events.user_ids), "item": len(events.item_ids)}
        kinds = self._events.kinds[name]
        self._pairs = {
            side: Vocabulary(self._key(keys, kinds), sizes[side] * self._size)
            for side, keys in self._sides(self._events)
        }
        self._timeline = Timeline(self._events.days)
        self._by_kind = RunningSums(self._size, ("value",))
        self._everything = RunningSums(1, ("value",))
        self._by_pair = {side: RunningSums(len(pairs), ("value",)) for side, pairs in self._pairs.items()}
        self._beyond = {side: RunningSums(size, ("beyond",)) for side, size in sizes.items()}

    def advance(self, day: int) -> None:
        """Take in the labels that were final before a day."""
        for today, place in self._timeline.until(day):
            kinds, value = self._events.kinds[self._name][place], self._events.labels[self._task][place]
            sides = [(side, keys[place]) for side, keys in self._sides(self._events)]
            means = self._means(dict(sides), kinds)
            self._everything.add(today, np.zeros(len(value), dtype=np.int64), {"value": value})
            self._by_kind.add(today, kinds + 1, {"value": value})
            for side, keys in sides:
                self._by_pair[side].add(today, self._place(side, keys, kinds), {"value": value})
                self._beyond[side].add(today, keys, {"beyond": value - means[_OTHER[side]]})

    def columns(self, rows: CodedRows) -> Columns:
        """Return the columns of rows of the day of the last :meth:`advance`, by name; NaN without a kind."""
        name, task, kinds = self._name, self._task, rows.kinds[self._name]
        sides = dict(self._sides(rows))
        means = self._means(sides, kinds)
        made = {f"context.{name}.{task}.mean": means["everybody"]}
        made |= {f"{side}_x_{name}.{task}.mean": means[side] for side in sides}
        made = {column: np.where(kinds >= 0, values, np.nan) for column, values in made.items()}
        for side, keys in sides.items():
            beyond = self._beyond[side].ever(keys).damped_mean("beyond", 0.0, self._damping)
            made[f"{side}.{task}.beyond_{name}"] = beyond
        return made

    def _means(self, sides: dict[str, Codes], kinds: Codes) -> dict[str, Values]:
        overall = self._everything.ever(np.zeros(1, dtype=np.int64)).mean("value")
        prior = float(np.nan_to_num(overall[0]))
        everybody = self._by_kind.ever(kinds + 1).damped_mean("value", prior, self._damping)
        made = {"everybody": everybody}
        for side, keys in sides.items():
            known = self._by_pair[side].ever(self._place(side, keys, kinds))
            made[side] = known.damped_mean("value", everybody, self._damping)
        return made

    def _key(self, keys: Codes, kinds: Codes) -> Codes:
        return keys * self._size + kinds + 1

    def _place(self, side: str, keys: Codes, kinds: Codes) -> NDArray[np.int64]:
        return self._pairs[side].places(self._key(keys, kinds))

    @staticmethod
    def _sides(of: CodedEvents | CodedRows) -> tuple[tuple[str, Codes], tuple[str, Codes]]:
        return ("user", of.users), ("item", of.items)
