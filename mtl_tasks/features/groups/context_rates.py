"""Point-in-time rates by context: label means of a user, an item and everybody in a row's context."""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
import pandas as pd

from mtl_tasks.core.feature_columns import ColumnKind, FeatureColumn, Subject, readable
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.groups.label_statistics import mean_kind, of_tasks
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import KeySpace, Positions, RunningSums, Timeline, Values
from mtl_tasks.scenario import Scenario

Columns = dict[str, Values]
_SIDES: Final = ("user", "item")
_IN_CONTEXT: Final[dict[str, Subject]] = {"user": "user_context", "item": "item_context"}


class ContextRates(FeatureGroup):
    """Means of one label by category of one context, and deviations from them.

    ``context.<context>.<task>.mean`` is everybody's mean in the row's category; ``user_x_<context>.<task>.mean`` and
    ``item_x_<context>.<task>.mean`` are those of user and item, damped toward it. They are NaN for a row without a
    category. ``user.<task>.beyond_<context>`` is the damped mean of a user's labels minus the means that were known, on
    their day, for their items in their category; the reverse holds for items.

    Parameters
    ----------
    context
        Name of the context.
    since
        Labels that were final on earlier days come from a snapshot.
    """

    def __init__(
        self, events: IndexedInteractions, context: str, task: str, damping: float, since: int | None = None
    ) -> None:
        self.name = f"context.{context}.{task}"
        self._name, self._task, self._damping = context, task, damping
        self._categories = events.categories[context]
        self._labeled = labeled = events.settled(~np.isnan(events.labels[task]))
        self._timeline = Timeline(labeled.days, since)
        axis = {category_axis(context): len(events.categories[context]) + 1}  # code 0 is none
        sizes = {"user": len(events.user_ids), "item": len(events.item_ids)}
        self._pairs = {side: KeySpace({side: sizes[side], **axis}) for side in _SIDES}
        rest = self._timeline.rest
        for side, codes in (("user", labeled.users), ("item", labeled.items)):
            self._pairs[side].learn(codes[rest], labeled.category_codes[context][rest] + 1)
        self._everything = RunningSums(KeySpace({"all": 1}), ("value",))
        self._by_category = RunningSums(KeySpace(axis), ("value",))
        self._by_pair = {side: RunningSums(self._pairs[side], ("value",)) for side in _SIDES}
        self._beyond = {side: RunningSums(KeySpace({side: sizes[side]}), ("beyond",)) for side in _SIDES}

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        return [
            column
            for task, settings in scenario.labels.items()
            if task in scenario.tasks
            for context in scenario.source.context.categorical
            for column in _declared(context, task, mean_kind(settings))
        ]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        events, damping = inputs.events, inputs.scenario.features.damping
        return [
            cls(events, name, task, damping, inputs.since)
            for task in of_tasks(inputs)
            for name in events.category_codes
        ]

    def axes(self) -> dict[str, pd.Index[Any]]:
        """See :class:`FeatureGroup`."""
        return {category_axis(self._name): self._categories.insert(0, "")}

    def sums(self) -> dict[str, RunningSums]:
        """See :class:`FeatureGroup`."""
        of = {"everything": self._everything, "kind": self._by_category}
        of |= {f"pair.{side}": sums for side, sums in self._by_pair.items()}
        return of | {f"beyond.{side}": sums for side, sums in self._beyond.items()}

    def advance(self, day: int) -> None:
        """Add the labels that were final before a day."""
        for today, of_day in self._timeline.until(day):
            users, items = self._labeled.users[of_day], self._labeled.items[of_day]
            category = self._labeled.category_codes[self._name][of_day] + 1
            value = self._labeled.labels[self._task][of_day]
            means = self._means(users, items, category)
            self._beyond["user"].add(today, users, {"beyond": value - means["item"]})
            self._beyond["item"].add(today, items, {"beyond": value - means["user"]})
            self._everything.add(today, np.zeros(len(value), dtype=np.int64), {"value": value})
            self._by_category.add(today, category, {"value": value})
            for side, positions in self._pair_positions(users, items, category).items():
                self._by_pair[side].add(today, positions, {"value": value})

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`."""
        name, task = self._name, self._task
        category = rows.category_codes[name] + 1
        means = self._means(rows.users, rows.items, category)
        columns = {f"context.{name}.{task}.mean": means["everybody"]}
        columns |= {f"{side}_x_{name}.{task}.mean": means[side] for side in _SIDES}
        columns = {column: np.where(category > 0, values, np.nan) for column, values in columns.items()}
        for side, key in (("user", rows.users), ("item", rows.items)):
            columns[f"{side}.{task}.beyond_{name}"] = (
                self._beyond[side].ever(key).damped_mean("beyond", 0.0, self._damping)
            )
        return columns

    def _means(self, users: Codes, items: Codes, category: Codes) -> dict[str, Values]:
        """Return the means by category; a category without labels gets the overall mean."""
        overall = np.nan_to_num(self._everything.ever(np.zeros(1, dtype=np.int64)).mean("value"))
        everybody = self._by_category.ever(category).damped_mean("value", overall, self._damping)
        means = {"everybody": everybody}
        for side, positions in self._pair_positions(users, items, category).items():
            known = self._by_pair[side].ever(positions)
            means[side] = known.damped_mean("value", everybody, self._damping)
        return means

    def _pair_positions(self, users: Codes, items: Codes, category: Codes) -> dict[str, Positions]:
        return {
            "user": self._pairs["user"].positions(users, category),
            "item": self._pairs["item"].positions(items, category),
        }


def category_axis(context: str) -> str:
    """Return the name of the axis of a context's categories."""
    return f"context.{context}"


def _declared(context: str, task: str, mean: ColumnKind) -> list[FeatureColumn]:
    words, where = readable(task), readable(context)
    return [
        FeatureColumn(f"context.{context}.{task}.mean", mean, f"mean {words} under this {where}", "context", task),
        *(
            FeatureColumn(
                f"{side}_x_{context}.{task}.mean",
                mean,
                f"mean {words} of the {side} under this {where}",
                _IN_CONTEXT[side],
                task,
            )
            for side in _SIDES
        ),
        *(
            FeatureColumn(
                f"{side}.{task}.beyond_{context}",
                "bias",
                f"{words} of the {side} beyond its {where}",
                _IN_CONTEXT[side],
                task,
            )
            for side in _SIDES
        ),
    ]
