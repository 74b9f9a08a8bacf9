"""Events and rows as integer codes into sorted id arrays: what every feature is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns
from mtl_tasks.ids import id_array
from mtl_tasks.scenario import Scenario

Codes = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class CodedEvents:
    """Interactions ordered by day.

    Attributes
    ----------
    user_ids, item_ids
        Sorted unique ids of the events and of the rows they were coded with.
    users, items, days
        int64 (n,) codes and day numbers.
    labels
        Task to float64 (n,), NaN where not observed; tasks with a label column only.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    users: Codes
    items: Codes
    days: Codes
    labels: dict[str, Values]

    def before(self, day: int) -> CodedEvents:
        """Those before a day (views)."""
        n = int(np.searchsorted(self.days, day, side="left"))
        labels = {task: label[:n] for task, label in self.labels.items()}
        return CodedEvents(self.user_ids, self.item_ids, self.users[:n], self.items[:n], self.days[:n], labels)


@dataclass(frozen=True)
class CodedRows:
    """Rows to make features for: int64 (n,) codes and day numbers; a row may know events before its day only."""

    users: Codes
    items: Codes
    days: Codes

    def __len__(self) -> int:
        return len(self.days)

    def at(self, positions: NDArray[Any]) -> CodedRows:
        """Some of the rows."""
        return CodedRows(self.users[positions], self.items[positions], self.days[positions])


def taken_mask(events: CodedEvents, scenario: Scenario) -> NDArray[np.bool_]:
    """Interactions in which the item was taken: positives of a binary task; all of them without such a task.

    An exposure that led to nothing is not taken: the item may be offered again, and it says nothing of taste.
    """
    binary = scenario.tasks_of("binary")
    taken = np.full(len(events.days), not binary)
    for name in binary:
        taken |= True if scenario.tasks[name].label is None else events.labels[name] == 1
    return taken


def taken_events(events: CodedEvents, scenario: Scenario) -> CodedEvents:
    """Those interactions only."""
    taken = taken_mask(events, scenario)
    labels = {task: label[taken] for task, label in events.labels.items()}
    return CodedEvents(
        events.user_ids, events.item_ids, events.users[taken], events.items[taken], events.days[taken], labels
    )


def encode(events: pd.DataFrame, rows: pd.DataFrame, scenario: Scenario) -> tuple[CodedEvents, CodedRows]:
    """Code events (put in order of day) and rows with one vocabulary."""
    users, event_users, row_users = _vocabulary(events[columns.USER], rows[columns.USER])
    items, event_items, row_items = _vocabulary(events[columns.ITEM], rows[columns.ITEM])
    days = events[columns.DAY].to_numpy().astype(np.int64)
    order = np.argsort(days, kind="stable")
    labels = {
        name: events[columns.label(name)].to_numpy().astype(np.float64)[order]
        for name, task in scenario.tasks.items()
        if task.label is not None
    }
    coded = CodedEvents(users, items, event_users[order], event_items[order], days[order], labels)
    return coded, CodedRows(row_users, row_items, rows[columns.DAY].to_numpy().astype(np.int64))


def _vocabulary(events: pd.Series[Any], rows: pd.Series[Any]) -> tuple[NDArray[Any], Codes, Codes]:
    codes, ids = pd.factorize(pd.concat([events, rows], ignore_index=True), sort=True)
    coded = codes.astype(np.int64)
    return id_array(pd.Index(ids)), coded[: len(events)], coded[len(events) :]
