"""Choice and order of a log's files when not all of them are read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd
from upath import UPath

from mtl_tasks.core.days import EPOCH
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.data.database import snapshot_log
from mtl_tasks.data.files import log_files, readable
from mtl_tasks.data.splits import WINDOWS
from mtl_tasks.onboarding.sample import read_sample
from mtl_tasks.scenario import Scenario

HISTORY: Final = "history"
_EVER: Final = 10**6  # a day after any in a log

LogFile = tuple[UPath, str, int | None]  # path, name in messages, day of the partition


def list_entries(
    scenario: Scenario,
    as_of: pd.Timestamp | None,
    root: str | Path,
    kept: UPath,
    rows: int,
    environment: Mapping[str, str],
) -> list[LogFile]:
    """Return the log's files before ``as_of``; for a database the newest days, written into ``kept``."""
    if scenario.source.events is None:
        if as_of is None:
            raise ConfigError("a log in a database needs --as-of: it is asked for the days before it")
        return _newest_days(scenario, day_of(as_of), kept, rows, environment)
    with readable(f"source.events {scenario.source.events!r} in {scenario.file}"):
        found = log_files(scenario.source.events, scenario, root, _EVER if as_of is None else day_of(as_of))
        if not found[0][0].exists():
            raise FileNotFoundError
        return found


def _newest_days(
    scenario: Scenario, as_of_day: int, kept: UPath, rows: int, environment: Mapping[str, str]
) -> list[LogFile]:
    sql = scenario.source.sql
    assert sql is not None
    entries: list[LogFile] = []
    seen = 0
    for day in range(as_of_day - 1, day_of(pd.Timestamp(sql.start, tz="UTC")) - 1, -1):
        asked = sql.model_copy(update={"start": pd.Timestamp(day, unit="D").date()})
        of_day = scenario.model_copy(update={"source": scenario.source.model_copy(update={"sql": asked})})
        (file,) = snapshot_log(of_day, kept, day + 1, environment)
        entries.insert(0, (kept / file.path, file.path, day))
        seen += len(read_sample(kept / file.path, file.path, False, rows).table)
        if seen >= rows:
            break
    return entries


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
