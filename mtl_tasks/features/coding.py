"""Events and rows as integer codes into sorted id arrays: what every feature is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    known
        int64 (n,): the day in which the labels became final, that of the event or later.
    labels
        Task to float64 (n,), NaN where not observed; tasks with a label column only.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    users: Codes
    items: Codes
    days: Codes
    known: Codes
    labels: dict[str, Values]

    def before(self, day: int) -> CodedEvents:
        """Those before a day (views)."""
        n = int(np.searchsorted(self.days, day, side="left"))
        return self._at(slice(n))

    def settled(self, mask: NDArray[np.bool_]) -> CodedEvents:
        """Some of the events as one hears of their labels: the day is that in which these became final."""
        positions = np.flatnonzero(mask)
        chosen = self._at(positions[np.argsort(self.known[positions], kind="stable")])
        return replace(chosen, days=chosen.known)

    def _at(self, positions: slice | NDArray[np.intp]) -> CodedEvents:
        labels = {task: label[positions] for task, label in self.labels.items()}
        users, items = self.users[positions], self.items[positions]
        return replace(
            self, users=users, items=items, days=self.days[positions], known=self.known[positions], labels=labels
        )


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
    """Those interactions only, each on the day in which it was known that the item was taken."""
    return events.settled(taken_mask(events, scenario))


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
    known = events[columns.KNOWN].to_numpy().astype(np.int64)[order] if columns.KNOWN in events else days[order]
    coded = CodedEvents(users, items, event_users[order], event_items[order], days[order], known, labels)
    return coded, CodedRows(row_users, row_items, rows[columns.DAY].to_numpy().astype(np.int64))


def _vocabulary(events: pd.Series[Any], rows: pd.Series[Any]) -> tuple[NDArray[Any], Codes, Codes]:
    codes, ids = pd.factorize(pd.concat([events, rows], ignore_index=True), sort=True)
    coded = codes.astype(np.int64)
    return id_array(pd.Index(ids)), coded[: len(events)], coded[len(events) :]
