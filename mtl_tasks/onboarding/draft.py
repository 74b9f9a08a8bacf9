"""Draft of a scenario for an unknown log; every guess is written with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mtl_tasks.core.errors import ConfigError, nearest
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.data.conversion import is_text
from mtl_tasks.metrics.catalog import metrics_of
from mtl_tasks.onboarding.column_roles import (
    ITEM_WORDS,
    USER_WORDS,
    Column,
    Guess,
    guess_by_content,
    guess_id,
    guess_time,
    guess_type,
)
from mtl_tasks.onboarding.draft_items import item_lines
from mtl_tasks.onboarding.draft_log import Log, look_at_log
from mtl_tasks.onboarding.draft_tasks import Types, find_types, label_lines, type_lines
from mtl_tasks.onboarding.yaml_text import quoted
from mtl_tasks.scenario import SCENARIO_FOLDER, parse_scenario
from mtl_tasks.scenario.document import read_yaml

# Per window, backwards from as_of: its share of the rows, its usual maximum of days, and how many rows are enough.
_SHARES: Final = {
    "test": (0.2, 28, 2_000),
    "blend": (0.08, 7, 1_000),
    "tune": (0.08, 7, 1_000),
    "train": (0.35, 56, 10_000),
}
_FIRST_DAY, _LAST_DAY = 7_305, 47_482  # 1990 to 2099


@dataclass(frozen=True)
class Chosen:
    """Columns that the caller names in place of a guess."""

    user: str | None = None
    item: str | None = None
    time: str | None = None


def write_draft(name: str, events: str, items: str | None, chosen: Chosen, folder: Path = SCENARIO_FOLDER) -> Path:
    """Write the draft of a scenario, and return its path.

    Raises
    ------
    ConfigError
        If the scenario already exists, the name is not valid, or no column looks like a user, an item or a time.
    DataError
        If the log cannot be read.
    """
    path = folder / f"{name}.yaml"
    if path.exists():
        raise ConfigError(
            f"{path}: exists already, and init does not write over it: choose another name or move it away"
        )
    text = draft(name, events, items, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def draft(name: str, events: str, items: str | None, chosen: Chosen) -> str:
    """Return the YAML text of a scenario that loads."""
    log = look_at_log(events)
    source, types = _source(log, items, chosen)
    lines = [
        f"# A draft for {events}.",
        "# What follows `guess:` was guessed: read it, correct what is wrong, and then ask",
        f"#   {PROGRAM} check {name}",
        "# include/scenarios/movies.yaml explains the keys.",
        "",
        f"name: {name}",
        f"title: {quoted(f'What is learned from {Path(events).name}')} # in your words, for reports and the DAG",
        "",
        *source,
        "",
        *(label_lines(log) if types is None else type_lines(log, types)),
        *_left(log),
        "",
        *_windows(log),
        "",
        *_gate(),
    ]
    text = "\n".join(lines) + "\n"
    parse_scenario(read_yaml(text), where=f"the draft of {name}")
    return text


def _source(log: Log, items: str | None, chosen: Chosen) -> tuple[list[str], Types | None]:
    time = _chosen(log, chosen.time, "time") or _needed(log, "time", guess_time(log.left))
    log.used.add(time.column.name)
    log.time = _refuse_other_times(log, time.column)
    user = _chosen(log, chosen.user, "user") or guess_id(log.left, USER_WORDS)
    log.used |= {user.column.name} if user else set()
    item = _chosen(log, chosen.item, "item") or guess_id(log.left, ITEM_WORDS)
    log.used |= {item.column.name} if item else set()
    kind = guess_type(log.left)
    log.used |= {kind.column.name} if kind else set()
    user = user or _needed(log, "user", guess_by_content(log.left))
    log.used.add(user.column.name)
    item = item or _needed(log, "item", guess_by_content(log.left))
    log.used.add(item.column.name)
    types = find_types(log, kind)
    log.used |= {types.value.name} if types and types.value else set()
    lines = [
        "source:",
        f"  events: {quoted(log.path)} # {'a folder with a partition a day' if log.partitioned else 'a single file'}",
        f"  format: {log.format}",
        "  columns:",
        *(f"    {role}: {_named(guess)}" for role, guess in (("user", user), ("item", item), ("time", time))),
        *_clock(time.column),
        *(types.lines if types else []),
        *(item_lines(items, item.column) if items else ["  # items: a table of item attributes helps with new items"]),
    ]
    return lines, types


def _refuse_other_times(log: Log, time: Column) -> Column:
    if not len(time.values) or (time.kind != "time" and time.unit is None):
        what = f"holds {time.kind} and no times" if len(time.values) else "has no value"
        raise ConfigError(
            f"--time {time.name}: the column {what} in {log.path}: name one of timestamps, ISO 8601 texts, or integers "
            "since 1970"
        )
    return time


def _left(log: Log) -> list[str]:
    left = [column.name for column in log.left]
    return [f"  # unused columns: {', '.join(left)}"] if left else []


def _chosen(log: Log, name: str | None, role: str) -> Guess | None:
    if name is None:
        return None
    known = {column.name: column for column in log.columns}
    if name not in known:
        hint = nearest(name, list(known))
        raise ConfigError(f"--{role} {name}: no such column in {log.path}{hint} (it has {', '.join(known)})")
    return Guess(known[name], "")


def _needed(log: Log, role: str, guess: Guess | None) -> Guess:
    if guess is None:
        shown = ", ".join(f"{column.name} ({column.kind})" for column in log.columns)
        raise ConfigError(f"{log.path}: no column looks like the {role}: name it with --{role} (it has {shown})")
    return guess


def _named(guess: Guess) -> str:
    return quoted(guess.column.name) + (f" # guess: {guess.why}" if guess.why else "")


def _clock(time: Column) -> list[str]:
    """Return the line for the unit or zone of the times."""
    if time.unit is not None:
        low, high = time.span
        return [f"  time_unit: {time.unit} # guess: in this unit {low} to {high} are plausible years"]
    if time.kind == "time" and not time.zoned:
        return [
            "  timezone: UTC # guess: the times carry no zone; name the clock that wrote them, such as Europe/Paris"
        ]
    return []


def _windows(log: Log) -> list[str]:
    days = _row_days(log)
    last = int(days.max()) + 1
    edges = [last]
    for share, longest, rows in _SHARES.values():
        edges.append(_start(days, edges[-1], share, longest, rows))
    test, blend, tune, train = (end - start for end, start in pairwise(edges))
    history = max(1, min(14, (edges[-1] - int(days.min())) // 2))  # half of what is left, so that windows can grow
    held = ", ".join(
        f"{name} {((days >= start) & (days < end)).mean():.0%}"
        for name, (end, start) in zip(_SHARES, pairwise(edges), strict=True)
    )
    read = "log spans" if log.whole else f"{len(log.table):,} rows that were read span"
    return [
        "windows: # in days, counted back from as_of; the days before them are history",
        f"  # guess: the {read} {last - int(days.min())} days; shares of rows: {held}",
        f"  train: {train}",
        f"  tune: {tune}",
        f"  blend: {blend}",
        f"  test: {test}",
        f"  min_history: {history}",
    ]


def _start(days: NDArray[np.int64], end: int, share: float, longest: int, rows: int) -> int:
    """Return the first day of a window that ends before ``end``.

    The window has the usual length, or a shorter one that comes closest to its share of the rows. If the usual length
    holds too few rows, the window is longer, up to its share.
    """
    first, counts = np.unique(days[days < end], return_counts=True)
    if not len(first):
        return end - 1
    held = np.cumsum(counts[::-1])[::-1]  # rows from each day on
    by_share = int(first[np.argmin(np.abs(held - share * len(days)))])
    enough = first[held >= rows]
    by_rows = int(enough[-1]) if len(enough) else int(first[0])
    return min(end - 1, max(by_share, min(end - longest, by_rows)))


def _row_days(log: Log) -> NDArray[np.int64]:
    """Return the days since 1970 of the rows that were read, or of the partitions in proportion to their bytes."""
    if log.days is not None:
        return log.days
    assert log.time is not None
    days = _seconds(log.time.values, log.time.unit) // 86_400
    plausible = days[(days >= _FIRST_DAY) & (days < _LAST_DAY)]  # one row of the year 9999 must not set the span
    return np.asarray(plausible if len(plausible) else days, dtype=np.int64)


def _seconds(known: pa.ChunkedArray, unit: str | None) -> NDArray[np.int64]:
    """Return seconds since 1970; times without a zone are taken as UTC."""
    if unit is not None:
        return np.asarray(known, dtype=np.int64) // {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    if is_text(known.type):
        parsed = pd.to_datetime(pd.Series(known.to_pylist()), format="ISO8601", utc=True, errors="coerce").dropna()
        return np.asarray(parsed.dt.as_unit("s").astype("int64"))
    seconds = known.cast(pa.timestamp("s", known.type.tz), safe=False)
    return np.asarray(seconds.cast(pa.int64()), dtype=np.int64)


def _gate() -> list[str]:
    binary, regression = (", ".join(metrics_of(kind)) for kind in ("binary", "regression"))
    return [
        "gate: # without a rule every model is rejected. Run once, look at the metrics, then write what must be met:",
        "  absolute: []",
        f"  # - {{task: …, metric: auc, min: 0.6}} # of a binary task: {binary}",
        f"  # - {{task: …, metric: rmse, max: 1.5}} # of a regression: {regression}",
        "  relative: []",
        "  # - {task: …, metric: auc, margin: 0.01} # at most this much worse than the model published before",
    ]
