"""Interactions and rows as integer codes into sorted id arrays; every feature is computed from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import id_array, stable_argsort
from mtl_tasks.scenario import Scenario

Codes = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class IndexedInteractions:
    """Interactions ordered by day, then user, so that those counted together are adjacent.

    Attributes
    ----------
    user_ids, item_ids
        Sorted unique ids of the interactions and of the rows they were encoded with.
    users, items, days
        int64 (n,) codes and day numbers.
    final_days
        int64 (n,): the day on which the labels became final, that of the event or later.
    labels
        Task or signal to float64 (n,), NaN where not observed; only those with a label column.
    category_codes
        Categorical context to int64 (n,) category codes, -1 for none.
    categories
        Categorical context to its categories.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    users: Codes
    items: Codes
    days: Codes
    final_days: Codes
    labels: dict[str, Values]
    category_codes: dict[str, Codes] = field(default_factory=dict)
    categories: dict[str, pd.Index[Any]] = field(default_factory=dict)

    def before(self, day: int) -> IndexedInteractions:
        """Return the interactions before a day, as views."""
        n = int(np.searchsorted(self.days, day, side="left"))
        return self._at(slice(n))

    def settled(self, mask: NDArray[np.bool_]) -> IndexedInteractions:
        """Return the masked interactions, each on the day on which its labels became final."""
        if self.final_days is self.days and mask.all():  # nothing to drop or reorder; a copy would take gigabytes
            return self
        positions = np.flatnonzero(mask)
        chosen = self._at(positions[np.argsort(self.final_days[positions], kind="stable")])
        return replace(chosen, days=chosen.final_days)

    def _at(self, positions: slice | NDArray[np.intp]) -> IndexedInteractions:
        labels = {task: label[positions] for task, label in self.labels.items()}
        return replace(
            self,
            users=self.users[positions],
            items=self.items[positions],
            days=self.days[positions],
            final_days=self.final_days[positions],
            labels=labels,
            category_codes={name: codes[positions] for name, codes in self.category_codes.items()},
        )


@dataclass(frozen=True)
class IndexedRows:
    """Rows to make features for: int64 (n,) codes and day numbers; a row may use only events before its day.

    ``category_codes`` are those of its context, as in :class:`IndexedInteractions`; ``numbers`` is its numeric
    context, float32.
    """

    users: Codes
    items: Codes
    days: Codes
    category_codes: dict[str, Codes] = field(default_factory=dict)
    numbers: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.days)

    def at(self, positions: NDArray[Any]) -> IndexedRows:
        """Return some of the rows."""
        category_codes = {name: codes[positions] for name, codes in self.category_codes.items()}
        numbers = {name: values[positions] for name, values in self.numbers.items()}
        return IndexedRows(self.users[positions], self.items[positions], self.days[positions], category_codes, numbers)


def positive_weight(events: IndexedInteractions, scenario: Scenario) -> Values:
    """Return the summed weights of each interaction's signals; 1 for all if no signal has a weight.

    An exposure without a signal is not positive: the item may be recommended again, and no preference was shown.
    """
    signals = scenario.taste_signals
    weight = np.full(len(events.days), 0.0 if signals else 1.0)
    for name, value in signals.items():
        weight += value * (events.labels[name] == 1 if name in events.labels else 1.0)
    return weight


def positive_confidence(positives: IndexedInteractions, scenario: Scenario) -> NDArray[np.float32]:
    """Return the confidence of each positive interaction, for the preference factors."""
    return (1.0 + scenario.factors.alpha * positive_weight(positives, scenario)).astype(np.float32)


def positive_mask(events: IndexedInteractions, scenario: Scenario) -> NDArray[np.bool_]:
    """Return the mask of the positive interactions."""
    return positive_weight(events, scenario) > 0


def positive_interactions(events: IndexedInteractions, scenario: Scenario) -> IndexedInteractions:
    """Return the positive interactions, each on the day on which its labels became final."""
    return events.settled(positive_mask(events, scenario))


def encode(events: pd.DataFrame, rows: pd.DataFrame, scenario: Scenario) -> tuple[IndexedInteractions, IndexedRows]:
    """Encode interactions (sorted by day, then user) and rows with one vocabulary."""
    users, event_users, row_users = _vocabulary(events[columns.USER], rows[columns.USER])
    items, event_items, row_items = _vocabulary(events[columns.ITEM], rows[columns.ITEM])
    days = events[columns.DAY].to_numpy().astype(np.int64)
    order = stable_argsort(days, event_users)
    labels = {name: events[columns.label(name)].to_numpy().astype(np.float64)[order] for name in scenario.labels}
    categories = {
        name: _categories(columns.context(name), events, rows) for name in scenario.source.context.categorical
    }
    days = days[order]
    final_days = events[columns.KNOWN].to_numpy().astype(np.int64)[order] if columns.KNOWN in events else days
    category_codes = {name: _codes(events[columns.context(name)], categories[name])[order] for name in categories}
    coded = IndexedInteractions(
        users, items, event_users[order], event_items[order], days, final_days, labels, category_codes, categories
    )
    coded_rows = IndexedRows(row_users, row_items, rows[columns.DAY].to_numpy().astype(np.int64))
    return coded, with_context(coded_rows, rows, coded, scenario)


def with_context(rows: IndexedRows, raw: pd.DataFrame, events: IndexedInteractions, scenario: Scenario) -> IndexedRows:
    """Add the context in ``raw`` to encoded rows; a category unknown to the interactions becomes none."""
    category_codes = {
        name: _codes(raw[columns.context(name)], categories) for name, categories in events.categories.items()
    }
    names = scenario.source.context.feature_numbers
    numbers = {name: raw[columns.context(name)].to_numpy(dtype=np.float32) for name in names}
    return replace(rows, category_codes=category_codes, numbers=numbers)


def _categories(name: str, events: pd.DataFrame, rows: pd.DataFrame) -> pd.Index[Any]:
    """Return the categories of interactions and rows, sorted."""
    of_events, of_rows = (table[name].astype("category").cat.categories for table in (events, rows))
    return of_events.union(of_rows)


def _codes(values: pd.Series[Any], categories: pd.Index[Any]) -> Codes:
    """Encode a categorical context column; -1 for none."""
    return values.astype("category").cat.set_categories(categories).cat.codes.to_numpy().astype(np.int64)


def _vocabulary(events: pd.Series[Any], rows: pd.Series[Any]) -> tuple[NDArray[Any], Codes, Codes]:
    codes, ids = pd.factorize(pd.concat([events, rows], ignore_index=True), sort=True)
    coded = codes.astype(np.int64)
    return id_array(pd.Index(ids)), coded[: len(events)], coded[len(events) :]
