"""Cut the past into windows and make the labelled rows of each; negatives are drawn where the log has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns
from mtl_tasks.errors import DataError
from mtl_tasks.ids import id_array
from mtl_tasks.ordering import ordered_by, starts_of
from mtl_tasks.scenario import Scenario

WINDOWS: Final = ("train", "tune", "blend", "test")
DRAWN_FOR: Final = "drawn_for"
MAX_DRAWS: Final = 20  # redraws of a negative that the user had already taken, before it is given up


@dataclass(frozen=True)
class Windows:
    """Half-open day ranges ``[first, end)`` by window name, ``history`` included."""

    ranges: dict[str, tuple[int, int]]

    @classmethod
    def cut(cls, scenario: Scenario, as_of_day: int, first_day: int) -> Windows:
        """Cut backwards from as_of.

        Raises
        ------
        DataError
            If too little of the log lies before the train window.
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
        """First and last day of each window as ISO dates, both inclusive."""
        return {name: [day_text(first), day_text(end - 1)] for name, (first, end) in sorted(self.ranges.items())}


def log_days(events: pd.DataFrame, scenario: Scenario) -> NDArray[np.int32]:
    """Days of the log in order, without that of what was before it."""
    days: NDArray[np.int32] = np.unique(events[columns.DAY].to_numpy())
    return days[1:] if scenario.source.prior is not None and len(days) > 1 else days


def day_text(day: int) -> str:
    """ISO date of a day number."""
    return str(np.datetime64(int(day), "D"))


def make_rows(events: pd.DataFrame, scenario: Scenario, windows: Windows) -> pd.DataFrame:
    """Return the labelled rows of the four windows.

    Parameters
    ----------
    events
        Canonical, validated interactions.

    Returns
    -------
    pandas.DataFrame
        user, item, day, window, the context, and a float32 label column a task (NaN: not observed), ordered by day.
        A drawn negative has the context of its positive.

    Raises
    ------
    DataError
        If a window cannot serve its purpose; the message names the knob to turn.
    """
    rows = label_rows(events, scenario, windows)
    for fault in window_faults(rows, scenario, windows):
        raise DataError(fault)
    return rows


def label_rows(events: pd.DataFrame, scenario: Scenario, windows: Windows) -> pd.DataFrame:
    """As :func:`make_rows`, whether or not the windows can serve their purpose."""
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
    """Take away, in place, the labels that were not final yet at the end of their row's window.

    Those of both kinds: if only the negatives had to wait, a window's last rows would nearly all be positives.
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
    draws = draw_negatives(positives, events, settings.per_positive, settings.power, scenario.seed)
    drawn_for = draws.pop(DRAWN_FOR)
    negatives = positives.iloc[drawn_for].reset_index(drop=True).assign(**draws)
    for name in scenario.tasks:
        negatives[columns.label(name)] = np.float32(0.0 if name in sampled else np.nan)
    return pd.concat([rows, negatives], ignore_index=True)


def draw_negatives(
    positives: pd.DataFrame, events: pd.DataFrame, per_positive: int, power: float, seed: int
) -> dict[str, NDArray[Any]]:
    """Draw items that a user did not take, by the popularity of the positive's own day.

    A day's draws depend on the seed, the day and the log up to that day only, so that runs at different as_of
    share them. An item that the user took on that day or before is never drawn.

    Returns
    -------
    dict
        user, item and day (n,), and ``drawn_for``: the place in ``positives`` of the one that each was drawn for.
    """
    # Sorted codes of (user, item) pairs with the first day of each, to look "taken by then" up without a loop.
    users, user_code = np.unique(id_array(events[columns.USER]), return_inverse=True)
    items, item_code = np.unique(id_array(events[columns.ITEM]), return_inverse=True)
    days = events[columns.DAY].to_numpy()
    pairs = user_code.astype(np.int64) * len(items) + item_code
    order = ordered_by(pairs, days)
    ordered = pairs[order]
    first = starts_of(ordered)
    taken, taken_day = ordered[first], days[order][first]

    found: list[tuple[NDArray[Any], ...]] = []
    positive_users, positive_items = id_array(positives[columns.USER]), id_array(positives[columns.ITEM])
    for group, places in positives.groupby(columns.DAY, sort=True).indices.items():
        day, places_of_day = int(str(group)), np.asarray(places)
        rng = np.random.default_rng([seed, day])
        codes, counts = np.unique(np.searchsorted(items, positive_items[places_of_day]), return_counts=True)
        chance = counts.astype(np.float64) ** power
        cumulative = np.cumsum(chance) / chance.sum()
        by_user = places_of_day[np.lexsort((positive_items[places_of_day], positive_users[places_of_day]))]
        drawn_for = np.repeat(by_user, per_positive)
        who = np.searchsorted(users, positive_users[drawn_for]).astype(np.int64)
        what = np.full(len(who), -1, dtype=np.int64)
        open_ = np.arange(len(who))
        for _ in range(MAX_DRAWS):
            drawn = codes[np.minimum(np.searchsorted(cumulative, rng.random(len(open_))), len(codes) - 1)]
            pair = who[open_] * len(items) + drawn
            place = np.minimum(np.searchsorted(taken, pair), len(taken) - 1)
            refused = (taken[place] == pair) & (taken_day[place] <= day)
            what[open_[~refused]] = drawn[~refused]
            open_ = open_[refused]
        kept = what >= 0
        day_all = np.full(kept.sum(), day, dtype=np.int32)
        found.append((users[who[kept]], items[what[kept]], day_all, drawn_for[kept]))
    names = (columns.USER, columns.ITEM, columns.DAY, DRAWN_FOR)
    if not found:
        return dict(zip(names, (users[:0], items[:0], days[:0], np.zeros(0, dtype=np.intp)), strict=True))
    return {name: np.concatenate(part) for name, part in zip(names, zip(*found, strict=True), strict=True)}


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
            else:
                entry["mean"] = round(float(label.mean()), 4) if len(label) else None
            described[window]["tasks"][name] = entry
    return described


def window_faults(rows: pd.DataFrame, scenario: Scenario, windows: Windows) -> Iterator[str]:
    """Yield why windows cannot serve their purpose, each with the knob to turn."""
    for id_column, noun in ((columns.USER, "user"), (columns.ITEM, "item")):
        train = rows.loc[rows[columns.WINDOW] == "train", id_column]
        if train.nunique() == 1:
            yield (
                f"train: every row has the same {noun} ({train.iloc[0]}); nothing can be learnt from one {noun}: "
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
            yield from _task_faults(name, task.kind, part[columns.label(name)].dropna(), window, where, scenario.file)


def _task_faults(name: str, kind: str, label: pd.Series[Any], window: str, where: str, file: str) -> Iterator[str]:
    least = 10
    remedy = f"lengthen windows.{window} in {file}"
    if len(label) < least:
        yield f"{name}: {len(label)} labelled rows in {where}, at least {least} are needed; {remedy}"
    elif kind == "binary":
        positives = int((label == 1).sum())
        for noun, count in (("positives", positives), ("negatives", len(label) - positives)):
            if count < least:
                yield f"{name}: {count} {noun} in {where}, at least {least} are needed; {remedy}"
    elif label.nunique() == 1:
        yield f"{name}: every label is {label.iloc[0]:g} in {where}; nothing can be learnt; {remedy}"
