"""Context of rows that are not in the log, for recommendations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.days import calendar
from mtl_tasks.scenario import Scenario

_KEYS = {"user": columns.USER, "item": columns.ITEM}


@dataclass(frozen=True)
class ServingContext:
    """Context values known for a future exposure.

    Attributes
    ----------
    last
        Context column to an id column and the last value seen by id; None if no value is used.
    types
        Context column to its dtype in the log.
    weekday
        Weekday at noon UTC; None unless the calendar is part of the context.
    """

    last: dict[str, tuple[str, pd.Series] | None]
    types: dict[str, Any]
    weekday: float | None

    @classmethod
    def of(cls, past: pd.DataFrame, scenario: Scenario, day: int) -> ServingContext:
        """Look up the last values before a day; ``past`` holds the events before it."""
        context = scenario.source.context
        ordered = past.sort_values(columns.TIME, kind="stable") if any(context.serve.values()) else past
        names = [*context.numbers, *context.categorical]
        served = {name: context.serve.get(name) for name in names}
        start = pd.Series([pd.Timestamp(day, unit="D", tz="UTC") + pd.Timedelta(hours=12)])  # weekday of most hours
        zone = scenario.source.timezone
        weekday = calendar(start, zone)[columns.context("weekday")].iloc[0] if context.calendar else None
        return cls(
            {
                columns.context(name): None if by is None else (_KEYS[by], _last(ordered, _KEYS[by], name))
                for name, by in served.items()
            },
            {columns.context(name): past[columns.context(name)].dtype for name in names},
            weekday,
        )

    def add(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add context columns to rows (user, item)."""
        made = {}
        for name, known in self.last.items():
            if known is not None:
                values = rows[known[0]].map(known[1])
            elif name == columns.context("weekday") and self.weekday is not None:
                values = pd.Series(self.weekday, index=rows.index)
            else:
                values = pd.Series(np.nan, index=rows.index)
            made[name] = values.astype(self.types[name])
        return rows.assign(**made)


def _last(ordered: pd.DataFrame, key: str, name: str) -> pd.Series:
    seen = ordered[[key, columns.context(name)]].dropna().drop_duplicates(key, keep="last")
    return seen.set_index(key)[columns.context(name)]
