"""Choice and order of a log's files when not all of them are read."""

from __future__ import annotations

import itertools
from typing import Final

import pandas as pd

from mtl_tasks.core.days import EPOCH
from mtl_tasks.data.files import LogFile
from mtl_tasks.data.sources import LogSource
from mtl_tasks.data.splits import WINDOWS
from mtl_tasks.onboarding.sample import read_sample
from mtl_tasks.scenario import Scenario

HISTORY: Final = "history"


def list_entries(source: LogSource, as_of: pd.Timestamp | None, rows: int) -> list[LogFile]:
    """Return the log's files before ``as_of``; of a source that is queried, only the newest with ``rows`` rows."""
    entries: list[LogFile] = []
    seen = 0
    for entry in source.newest_first(None if as_of is None else day_of(as_of)):
        entries.append(entry)
        if source.queried:
            path, name, _ = entry
            seen += len(read_sample(path, name, False, rows).table)
            if seen >= rows:
                break
    return entries[::-1]


def in_turn(entries: list[LogFile], scenario: Scenario, as_of_day: int) -> list[LogFile]:
    """Return the newest file of each window, then the next of each, so that the first ones cover every window."""
    edges = {"test": as_of_day}
    for window, earlier in itertools.pairwise((*reversed(WINDOWS), HISTORY)):
        edges[earlier] = edges[window] - getattr(scenario.windows, window)
    groups: dict[str, list[LogFile]] = {window: [] for window in edges}
    for entry in reversed(entries):
        day = as_of_day - 1 if entry[2] is None else entry[2]
        groups[next((w for w in WINDOWS[::-1] if day >= edges[w] - getattr(scenario.windows, w)), HISTORY)].append(
            entry
        )
    return [entry for turn in itertools.zip_longest(*groups.values()) for entry in turn if entry is not None]


def day_of(moment: pd.Timestamp) -> int:
    """Return the UTC days since 1970-01-01."""
    return int((moment - EPOCH) // pd.Timedelta(days=1))
