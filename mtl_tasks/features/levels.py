"""Point-in-time levels of a label: damped means and biases of users and items, and what they leave unexplained."""

from __future__ import annotations

import numpy as np

from mtl_tasks.features.aggregates import DailySums, Days, Keys, Values
from mtl_tasks.features.coding import CodedEvents, CodedRows
from mtl_tasks.scenario import Scenario, Task

Columns = dict[str, Values]


class TaskLevels:
    """Levels of one task's label.

    Every event is first measured against what was known on its own day: the item's damped mean, then the user's
    damped bias against those. What remains is the event's ``residual``. All later features are sums of such per-event
    quantities, which do not change once the day is over.

    Parameters
    ----------
    events
        All interactions; those without this label are ignored.
    damping
        Pseudo-events at the prior in every mean.
    """

    def __init__(self, events: CodedEvents, name: str, task: Task, damping: float) -> None:
        labelled = events.settled(~np.isnan(events.labels[name]))
        self.users, self.items, self.days = labelled.users, labelled.items, labelled.days
        self._name, self._damping = name, damping
        self._prior = float(np.mean(task.limits)) if task.limits else 0.5
        value = labelled.labels[name]
        self._everything = DailySums(np.zeros_like(self.days), self.days, {"value": value})
        overall = self._overall(self.days)
        item_mean = DailySums(self.items, self.days, {"value": value}).before(self.items, self.days)
        against_item = value - item_mean.damped_mean("value", overall, damping)
        self._by_user = DailySums(self.users, self.days, {"value": value, "square": value**2, "bias": against_item})
        user_bias = self._by_user.before(self.users, self.days).damped_mean("bias", 0.0, damping)
        self.residual: Values = against_item - user_bias
        self._by_item = DailySums(
            self.items, self.days, {"value": value, "square": value**2, "bias": value - overall - user_bias}
        )

    def columns(self, rows: CodedRows, windows: tuple[int, ...]) -> Columns:
        """Return the label's columns for rows, by name; NaN where there is nothing to tell."""
        overall = self._overall(rows.days)
        user = self._side("user", self._by_user, rows.users, rows.days, overall, windows)
        item = self._side("item", self._by_item, rows.items, rows.days, overall, windows)
        made = {**user, **item}
        for length in ("", *(f"_{days}d" for days in windows)):
            made[f"{self._name}.level{length}"] = (
                overall + made[f"user.{self._name}.bias"] + made[f"item.{self._name}.bias{length}"]
            )
        return made

    def _overall(self, days: Days) -> Values:
        everything = self._everything.before(np.zeros_like(days), days)
        mean = everything.mean("value")
        return np.where(np.isnan(mean), self._prior, mean)

    def _side(
        self, side: str, sums: DailySums, keys: Keys, days: Days, overall: Values, windows: tuple[int, ...]
    ) -> Columns:
        prefix, damping = f"{side}.{self._name}", self._damping
        ever = sums.before(keys, days)
        made = {
            f"{prefix}.count": ever.count,
            f"{prefix}.mean": ever.damped_mean("value", overall, damping),
            f"{prefix}.bias": ever.damped_mean("bias", 0.0, damping),
            f"{prefix}.spread": ever.deviation("value", "square"),
        }
        for length in windows:
            recent = sums.between(keys, days - length, days)
            made[f"{prefix}.mean_{length}d"] = recent.damped_mean("value", made[f"{prefix}.mean"], damping)
            made[f"{prefix}.bias_{length}d"] = recent.damped_mean("bias", made[f"{prefix}.bias"], damping)
        return made


def task_levels(events: CodedEvents, scenario: Scenario) -> dict[str, TaskLevels]:
    """Levels of every task that has a label column, and of every signal."""
    damping = scenario.features.damping
    return {name: TaskLevels(events, name, scenario.labels[name], damping) for name in events.labels}
