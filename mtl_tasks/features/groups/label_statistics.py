"""Point-in-time statistics of a label: damped means and biases of users and items, and residuals from them."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.feature_columns import ColumnKind, FeatureColumn, readable, recently
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.interactions import Codes, IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import KeySpace, RunningSums, Timeline, Translation, Values
from mtl_tasks.features.state import GroupState
from mtl_tasks.scenario import Scenario, Task

Columns = dict[str, Values]
_SUMS: Final = ("value", "square", "bias")
_OTHERS: Final = {"user": "items", "item": "users"}  # what a side's labels are compared with


class LabelStatistics(FeatureGroup):
    """Means, biases and residuals of one task's label.

    Each label is first compared with what was known on its day: the item's damped mean, then the user's damped bias
    from such means. The remainder is its ``residual``. All later features are sums of such per-event quantities, which
    do not change once the day is over.

    Attributes
    ----------
    task
        The task or signal.
    users, items, days
        int64 (n,): the labeled events, each on the day on which its label became final.
    residual
        float32 (n,), NaN from the day of the last :meth:`advance` on.

    Parameters
    ----------
    events
        All interactions; those without this label are ignored.
    damping
        Pseudo-events at the prior in every mean.
    since
        Labels that were final on earlier days come from a snapshot.
    """

    def __init__(
        self,
        events: IndexedInteractions,
        name: str,
        task: Task,
        damping: float,
        windows: tuple[int, ...] = (),
        since: int | None = None,
    ) -> None:
        labeled = events.settled(~np.isnan(events.labels[name]))
        self.users, self.items, self.days = labeled.users, labeled.items, labeled.days
        self.residual: NDArray[np.float32] = np.full(len(self.days), np.nan, dtype=np.float32)
        self._value = labeled.labels[name]
        self.name = f"levels.{name}"
        self.task, self._damping, self._windows = name, damping, windows
        self._prior = float(np.mean(task.limits)) if task.limits else 0.5
        self._timeline = Timeline(self.days, since)
        self._everything = RunningSums(KeySpace({"all": 1}), ("value",), (), name)
        self._by_user = RunningSums(KeySpace({"user": len(events.user_ids)}), _SUMS, windows, name)
        self._by_item = RunningSums(KeySpace({"item": len(events.item_ids)}), _SUMS, windows, name)

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        windows = scenario.features.windows
        return [
            column for name, task in scenario.labels.items() for column in _declared(name, mean_kind(task), windows)
        ]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """Return the statistics of every task that has a label column, and of every signal."""
        scenario, events = inputs.scenario, inputs.events
        damping, windows = scenario.features.damping, scenario.features.windows
        return [cls(events, name, scenario.labels[name], damping, windows, inputs.since) for name in events.labels]

    def sums(self) -> dict[str, RunningSums]:
        """See :class:`FeatureGroup`."""
        return {"everything": self._everything, "user": self._by_user, "item": self._by_item}

    def snapshot(self) -> GroupState:
        """Return the running sums, and the residuals of the labels that were final, in order of their days."""
        return GroupState(super().snapshot().sums, {"residual": self.residual[: self._final_count]})

    def restore(self, state: GroupState, translation: Translation) -> None:
        """See :class:`FeatureGroup`."""
        super().restore(state, translation)
        self.residual[: self._final_count] = state.vectors["residual"]

    @property
    def _final_count(self) -> int:
        """Number of labels that were final, and so added, by the day of the last :meth:`advance`."""
        return int(self._timeline.rest.start)

    def advance(self, day: int) -> None:
        """Add the labels that were final before a day."""
        for today, of_day in self._timeline.until(day):
            users, items, value = self.users[of_day], self.items[of_day], self._value[of_day]
            overall = self._overall()
            against_item = value - self._by_item.ever(items).damped_mean("value", overall, self._damping)
            user_bias = self._by_user.ever(users).damped_mean("bias", 0.0, self._damping)
            self.residual[of_day] = against_item - user_bias
            self._everything.add(today, np.zeros(len(value), dtype=np.int64), {"value": value})
            for sums, keys, bias in (
                (self._by_user, users, against_item),
                (self._by_item, items, value - overall - user_bias),
            ):
                sums.advance(today)
                sums.add(today, keys, {"value": value, "square": value**2, "bias": bias})
        self._by_user.advance(day)
        self._by_item.advance(day)

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`; NaN where nothing is known."""
        overall = self._overall()
        columns = {
            **self._side("user", self._by_user, rows.users, overall),
            **self._side("item", self._by_item, rows.items, overall),
        }
        for length in ("", *(f"_{days}d" for days in self._windows)):
            columns[f"{self.task}.level{length}"] = (
                overall + columns[f"user.{self.task}.bias"] + columns[f"item.{self.task}.bias{length}"]
            )
        return columns

    def _overall(self) -> float:
        mean = float(self._everything.ever(np.zeros(1, dtype=np.int64)).mean("value")[0])
        return self._prior if np.isnan(mean) else mean

    def _side(self, side: str, sums: RunningSums, keys: Codes, overall: float) -> Columns:
        prefix, damping = f"{side}.{self.task}", self._damping
        ever = sums.ever(keys)
        columns: dict[str, Any] = {
            f"{prefix}.count": ever.count,
            f"{prefix}.mean": ever.damped_mean("value", overall, damping),
            f"{prefix}.bias": ever.damped_mean("bias", 0.0, damping),
            f"{prefix}.spread": ever.deviation("value", "square"),
        }
        for length in self._windows:
            recent = sums.last(keys, length)
            columns[f"{prefix}.mean_{length}d"] = recent.damped_mean("value", columns[f"{prefix}.mean"], damping)
            columns[f"{prefix}.bias_{length}d"] = recent.damped_mean("bias", columns[f"{prefix}.bias"], damping)
        return columns


def of_tasks(inputs: GroupInputs) -> dict[str, LabelStatistics]:
    """Return the statistics of the tasks, without those of signals, by task."""
    return {group.task: group for group in inputs.groups(LabelStatistics) if group.task in inputs.scenario.tasks}


def mean_kind(task: Task) -> Literal["rate", "mean"]:
    """Return the kind of a column of means of a task's label."""
    return "rate" if task.kind == "binary" else "mean"


def _declared(task: str, mean: ColumnKind, windows: tuple[int, ...]) -> list[FeatureColumn]:
    words = readable(task)
    levels = [
        FeatureColumn(
            f"{task}.level{_ending(days)}",
            "baseline",
            f"{words} expected from the levels of user and item{recently(days)}",
            "pair",
            task,
            days,
        )
        for days in (None, *windows)
    ]
    return [*_of_side("user", task, mean, windows), *_of_side("item", task, mean, windows), *levels]


def _of_side(
    side: Literal["user", "item"], task: str, mean: ColumnKind, windows: tuple[int, ...]
) -> list[FeatureColumn]:
    prefix, words = f"{side}.{task}", readable(task)

    def recent(days: int | None) -> list[FeatureColumn]:
        bias = f"{words} of the {side} beyond what the {_OTHERS[side]} explain{recently(days)}"
        return [
            FeatureColumn(
                f"{prefix}.mean{_ending(days)}", mean, f"mean {words} of the {side}{recently(days)}", side, task, days
            ),
            FeatureColumn(f"{prefix}.bias{_ending(days)}", "bias", bias, side, task, days),
        ]

    return [
        FeatureColumn(f"{prefix}.count", "count", f"times that {words} was observed of the {side}", side, task),
        *recent(None),
        FeatureColumn(f"{prefix}.spread", "spread", f"spread of the {side}'s {words} (standard deviation)", side, task),
        *(column for days in windows for column in recent(days)),
    ]


def _ending(days: int | None) -> str:
    return "" if days is None else f"_{days}d"
