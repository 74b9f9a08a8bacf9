"""Windows of the past and their labeled rows; negatives are drawn where the log has none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.negatives import DRAWN_FOR, draw_negatives
from mtl_tasks.scenario import BOOSTED, Scenario
from mtl_tasks.scenario.rows_needed import room_faults

log = logging.getLogger(__name__)

WINDOWS: Final = ("train", "tune", "blend", "test")
MIN_SAMPLED: Final = 0.25  # share of the negatives that a window should have


@dataclass(frozen=True)
class Windows:
    """Half-open day ranges ``[first, end)`` by window name, ``history`` included."""

    ranges: dict[str, tuple[int, int]]

    @classmethod
    def cut(cls, scenario: Scenario, as_of_day: int, first_day: int) -> Windows:
        """Cut the windows backward from as_of.

        Raises
        ------
        DataError
            If too little of the log is before the train window.
        """
        ranges: dict[str, tuple[int, int]] = {}
        end = as_of_day
        for name in reversed(WINDOWS):
            start = end - getattr(scenario.windows, name)
            ranges[name] = (start, end)
            end = start
        if end - first_day < scenario.windows.min_history:
            distance = f"{abs(end - first_day)} days {'before' if end > first_day else 'after'}"
            raise DataError(
                f"history: the log starts on {day_text(first_day)}, {distance} the train window "
                f"({day_text(end)}), and windows.min_history asks for {scenario.windows.min_history}: choose a later "
                f"as_of or shorten windows.train/tune/blend/test in {scenario.file}"
            )
        ranges["history"] = (first_day, end)
        return cls(ranges)

    def __getitem__(self, window: str) -> tuple[int, int]:
        return self.ranges[window]

    def describe(self) -> dict[str, list[str]]:
        """Return first and last day of each window as ISO dates, both inclusive."""
        return {name: [day_text(first), day_text(end - 1)] for name, (first, end) in sorted(self.ranges.items())}


def log_days(events: pd.DataFrame, prior: int) -> NDArray[np.int32]:
    """Return the days of the log in order, without the day of its ``prior`` good rows from before the log, if any."""
    days: NDArray[np.int32] = np.unique(events[columns.DAY].to_numpy())
    return days[1:] if prior and len(days) > 1 else days


def make_rows(events: pd.DataFrame, scenario: Scenario, windows: Windows) -> pd.DataFrame:
    """Return the labeled rows of the four windows.

    Parameters
    ----------
    events
        Canonical, validated interactions.

    Returns
    -------
    pandas.DataFrame
        user, item, day, window, the context, and a float32 label column per task (NaN: not observed), ordered by day.
        A drawn negative has the context of its positive.

    Raises
    ------
    DataError
        If a window cannot serve its purpose; the message names the setting to change.
    """
    rows = label_rows(events, scenario, windows)
    for fault in window_faults(rows, scenario, windows):
        raise DataError(fault)
    return rows


def label_rows(events: pd.DataFrame, scenario: Scenario, windows: Windows) -> pd.DataFrame:
    """Return the rows of :func:`make_rows` without checking that the windows can serve their purpose."""
    inside = events[events[columns.DAY].between(windows["train"][0], windows["test"][1] - 1)]
    about = scenario.source.context
    context = [columns.context(name) for name in (*about.numbers, *about.categorical)]
    rows = inside[[columns.USER, columns.ITEM, columns.DAY, *context]].copy()
    for name, task in scenario.tasks.items():
        rows[columns.label(name)] = np.float32(1.0) if task.label is None else inside[columns.label(name)]
    if columns.KNOWN in events:
        _forget_unknown(rows, inside[columns.KNOWN].to_numpy(), scenario, windows)
    sampled = [name for name, task in scenario.tasks.items() if task.sampled]
    if sampled:
        rows = _with_negatives(rows, events, scenario, sampled)
    edges = [windows[name][0] for name in WINDOWS]
    codes = np.searchsorted(edges, rows[columns.DAY].to_numpy(), side="right") - 1
    rows[columns.WINDOW] = pd.Categorical.from_codes(codes.astype(np.int8), pd.Index(WINDOWS))
    days = rows[columns.DAY].to_numpy()
    if (days[1:] >= days[:-1]).all():  # as the log is ordered, unless negatives were drawn
        return rows.reset_index(drop=True)
    return rows.sort_values(columns.DAY, kind="stable", ignore_index=True)


def _forget_unknown(rows: pd.DataFrame, known: NDArray[Any], scenario: Scenario, windows: Windows) -> None:
    """Remove, in place, the labels that were not final by the end of their row's window.

    Both positives and negatives: if only negatives had to wait, nearly all last rows of a window would be positives.
    """
    ends = np.array([windows[name][1] for name in WINDOWS])
    late = known >= ends[np.searchsorted(ends, rows[columns.DAY].to_numpy(), side="right")]
    labels = [columns.label(name) for name, task in scenario.tasks.items() if task.label is not None]
    rows.loc[late, labels] = np.float32("nan")


def _with_negatives(rows: pd.DataFrame, events: pd.DataFrame, scenario: Scenario, sampled: list[str]) -> pd.DataFrame:
    settings = scenario.tasks[sampled[0]].negatives
    assert settings is not None
    positive = (rows[[columns.label(name) for name in sampled]] == 1).any(axis=1).to_numpy()
    positives = rows[positive]
    taking = events[_positive(events, scenario, sampled)]
    draws, left_out = draw_negatives(positives, taking, events, settings.per_positive, settings.power, scenario.seed)
    if left_out.any():
        log.warning(
            "%s: %d of %d positives are left out: their items have no earlier positive, and too few other such items "
            "have one on that day to draw negatives from",
            scenario.name,
            left_out.sum(),
            len(positives),
        )
        rows.loc[positives.index[left_out], [columns.label(name) for name in sampled]] = np.float32("nan")
    drawn_for = draws.pop(DRAWN_FOR)
    negatives = positives.iloc[drawn_for].reset_index(drop=True).assign(**draws)
    for name in scenario.tasks:
        negatives[columns.label(name)] = np.float32(0.0 if name in sampled else np.nan)
    return pd.concat([rows, negatives], ignore_index=True)


def _positive(events: pd.DataFrame, scenario: Scenario, sampled: list[str]) -> NDArray[np.bool_]:
    """Whether each event is a positive of one of the tasks, bool (n,)."""
    if any(scenario.tasks[name].label is None for name in sampled):
        return np.ones(len(events), dtype=np.bool_)
    positive: NDArray[np.bool_] = (events[[columns.label(name) for name in sampled]] == 1).any(axis=1).to_numpy()
    return positive


def describe_rows(rows: pd.DataFrame, scenario: Scenario, windows: Windows) -> dict[str, Any]:
    """Count rows, labels and positives by window and task."""
    described: dict[str, Any] = {}
    for window in WINDOWS:
        part = rows[rows[columns.WINDOW] == window]
        first, last = windows.describe()[window]
        described[window] = {"first": first, "last": last, "rows": len(part), "tasks": {}}
        for name, task in scenario.tasks.items():
            label = part[columns.label(name)].dropna()
            entry: dict[str, Any] = {"labelled": len(label)}
            if task.kind == "binary":
                entry["positives"] = int((label == 1).sum())
                if task.sampled:
                    entry |= _describe_sampled(part, name)
            else:
                entry["mean"] = round(float(label.mean()), 4) if len(label) else None
            described[window]["tasks"][name] = entry
    return described


def _describe_sampled(rows: pd.DataFrame, task: str) -> dict[str, Any]:
    """Count negatives per positive, and negatives that repeat another of the same user, item and day."""
    label = rows[columns.label(task)]
    negatives = rows[label == 0]
    positives = int((label == 1).sum())
    return {
        "negatives_per_positive": round(len(negatives) / positives, 2) if positives else None,
        "repeated_negatives": int(negatives.duplicated([columns.USER, columns.ITEM, columns.DAY]).sum()),
    }


def window_faults(rows: pd.DataFrame, scenario: Scenario, windows: Windows) -> Iterator[str]:
    """Yield why windows cannot serve their purpose, each with the setting to change."""
    for id_column, noun in ((columns.USER, "user"), (columns.ITEM, "item")):
        train = rows.loc[rows[columns.WINDOW] == "train", id_column]
        if train.nunique() == 1:
            yield (
                f"train: every row has the same {noun} ({train.iloc[0]}); nothing can be learned from one {noun}: "
                f"check source.columns in {scenario.file}"
            )
    for window in WINDOWS:
        part = rows[rows[columns.WINDOW] == window]
        first, last = windows.describe()[window]
        where = f"{window!r} ({first}..{last}, {len(part):,} rows)"
        if part.empty:
            yield f"{where} is empty: lengthen windows.{window} in {scenario.file} or choose another as_of"
            continue
        for name, task in scenario.tasks.items():
            label = part[columns.label(name)].dropna()
            yield from _task_faults(name, task.kind, label, window, where, scenario.file)
            if window == "train" and set(scenario.members) & set(BOOSTED):
                yield from room_faults(name, len(label), scenario)
            if task.negatives is not None and task.sampled:
                yield from _sampling_faults(name, task.negatives.per_positive, label, where, scenario.file)


def _sampling_faults(name: str, per_positive: int, label: pd.Series[Any], where: str, file: str) -> Iterator[str]:
    positives = int((label == 1).sum())
    drawn = (len(label) - positives) / max(positives, 1)
    if positives and drawn < MIN_SAMPLED * per_positive:
        yield (
            f"{name}: {drawn:.2f} negatives per positive could be drawn in {where}, at least {MIN_SAMPLED:.0%} of "
            f"negatives.per_positive ({per_positive}) are needed: its users had taken most of the items by then; lower "
            f"tasks.{name}.negatives.per_positive in {file}, or log what was shown and not taken (how: logged)"
        )


def _task_faults(name: str, kind: str, label: pd.Series[Any], window: str, where: str, file: str) -> Iterator[str]:
    least = 10
    remedy = f"lengthen windows.{window} in {file}"
    if len(label) < least:
        yield f"{name}: {len(label)} labeled rows in {where}, at least {least} are needed; {remedy}"
    elif kind == "binary":
        positives = int((label == 1).sum())
        for noun, count in (("positives", positives), ("negatives", len(label) - positives)):
            if count < least:
                yield f"{name}: {count} {noun} in {where}, at least {least} are needed; {remedy}"
    elif label.nunique() == 1:
        yield f"{name}: every label is {label.iloc[0]:g} in {where}; nothing can be learned; {remedy}"
