"""The draft of a scenario for an unknown log: every guess stands in it with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from mtl_tasks.errors import ConfigError, nearest
from mtl_tasks.intake.draft_items import item_lines
from mtl_tasks.intake.draft_log import Log, look_at_log
from mtl_tasks.intake.draft_tasks import Types, find_types, label_lines, type_lines
from mtl_tasks.intake.roles import (
    ITEM_WORDS,
    USER_WORDS,
    Column,
    Guess,
    guess_by_content,
    guess_id,
    guess_time,
    guess_type,
)
from mtl_tasks.intake.yaml_text import quoted
from mtl_tasks.scenario import SCENARIO_FOLDER, parse_scenario


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
        If there is such a scenario already, the name cannot be one, or no column looks like a user, an item or a time.
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
        f"#   python -m mtl_tasks check {name}",
        "# include/scenarios/movies.yaml explains the keys.",
        "",
        f"name: {name}",
        f"title: {quoted(f'What is learnt from {Path(events).name}')} # in your words, for reports and the DAG",
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
    parse_scenario(yaml.safe_load(text), where=f"the draft of {name}")
    return text


def _source(log: Log, items: str | None, chosen: Chosen) -> tuple[list[str], Types | None]:
    time = _chosen(log, chosen.time, "time") or _needed(log, "time", guess_time(log.left))
    log.used.add(time.column.name)
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


def _left(log: Log) -> list[str]:
    left = [column.name for column in log.left]
    return [f"  # columns without a purpose: {', '.join(left)}"] if left else []


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
        raise ConfigError(f"{log.path}: no column can be told to be the {role}: name it with --{role} (it has {shown})")
    return guess


def _named(guess: Guess) -> str:
    return quoted(guess.column.name) + (f" # guess: {guess.why}" if guess.why else "")


def _clock(time: Column) -> list[str]:
    """Unit or zone of the times."""
    if time.unit is not None:
        return [
            f"  time_unit: {time.unit} # guess: in this unit {time.found.low} to {time.found.high} are plausible years"
        ]
    if time.kind == "time" and not time.zoned:
        return [
            "  timezone: UTC # guess: the times carry no zone; name the clock that wrote them, such as Europe/Paris"
        ]
    return []


def _windows(log: Log) -> list[str]:
    days, why = _span(log)
    test = min(28, max(1, round(0.2 * days)))
    tune = min(7, max(1, round(0.08 * days)))
    train = min(56, max(1, round(0.35 * days)))
    history = max(1, min(14, (days - train - 2 * tune - test) // 2))  # half of what is left, so that windows can grow
    return [
        f"windows: # guess: {why}; in days, counted back from as_of; the days before them are history",
        *(
            f"  {name}: {length}"
            for name, length in (("train", train), ("tune", tune), ("blend", tune), ("test", test))
        ),
        f"  min_history: {history}",
    ]


def _span(log: Log) -> tuple[int, str]:
    """Days that the log covers, and how that is known."""
    if log.days is not None:
        return log.days, f"the partitions span {log.days} days"
    time = next(c for c in log.columns if c.name in log.used and (c.kind == "time" or c.unit is not None))
    low, high = (_instant(value, time.unit) for value in _ends(time.values))
    days = int((high - low) / 86_400) + 1
    return (
        days,
        f"the {'log spans' if log.whole else f'{len(log.table):,} rows that were read span'} {days} days",
    )


def _ends(values: pa.ChunkedArray) -> tuple[Any, Any]:
    """The smallest and the largest value, but for what is so rare that it stands for a missing one."""
    ordered = values.take(pc.sort_indices(values))
    aside = len(ordered) // 1000
    if pa.types.is_timestamp(ordered.type):
        ordered = ordered.cast(pa.timestamp("us", ordered.type.tz), safe=False)
    return ordered[aside].as_py(), ordered[len(ordered) - 1 - aside].as_py()


def _instant(value: Any, unit: str | None) -> float:
    """Seconds since 1970."""
    if unit is not None:
        return float(value) / {"s": 1, "ms": 1e3, "us": 1e6}[unit]
    moment = pd.Timestamp(value)
    return (moment if moment.tzinfo else moment.tz_localize("UTC")).timestamp()


def _gate() -> list[str]:
    return [
        "gate: # without a rule every model is rejected. Run once, look at the metrics, then write what must be met:",
        "  absolute: []",
        "  # - {task: …, metric: auc, min: 0.6} # of a binary task: auc, pr_auc, log_loss, calibration_error",
        "  # - {task: …, metric: rmse, max: 1.5} # of a regression: rmse, mae",
        "  relative: []",
        "  # - {task: …, metric: auc, margin: 0.01} # at most this much worse than the model published before",
    ]
