"""A tiny log as it is judged, good or spoilt in one way for every reason."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from mtl_tasks.core.columns import FILE, ITEM, PARTITION, TIME, USER, label
from mtl_tasks.data.validation import ValidationResult, validate_interactions
from tests.support.logs import AS_OF, DAYS, tiny_items, tiny_log, tiny_scenario

RATING, LIKE = label("rating"), label("like")
ITEMS = tiny_items().rename(columns={"film": ITEM})
FILES = [f"log/dt={day:%Y-%m-%d}/part-0.parquet" for day in pd.date_range("2013-05-01", periods=DAYS)]

# One way to break a row for each reason, on a row that is good otherwise.
SPOILERS: dict[str, tuple[str, Any]] = {
    "null_user": (USER, pd.NA),
    "null_item": (ITEM, pd.NA),
    "null_time": (TIME, pd.NaT),
    "implausible_time": (TIME, pd.Timestamp("9999-12-31", tz="UTC")),
    "outside_partition": (TIME, AS_OF - pd.Timedelta(24 * DAYS, unit="h") - pd.Timedelta(1, unit="us")),
    "unknown_item": (ITEM, 999),
    "label_not_finite:rating": (RATING, np.inf),
    "label_out_of_range:rating": (RATING, 10.5),
    "label_not_finite:like": (LIKE, -np.inf),
    "label_not_binary:like": (LIKE, 0.5),
}


@cache
def _good_log() -> pd.DataFrame:
    rows = tiny_log().rename(columns={"person": USER, "film": ITEM, "seen_at": TIME})
    day = (rows[TIME] - pd.Timestamp(0, tz="UTC")).dt.days
    files = pd.Categorical.from_codes(day - day.min(), categories=pd.Index(FILES))
    labels: dict[str, Any] = {RATING: rows["stars"].astype("float32"), LIKE: rows["liked"].astype("float32")}
    return rows[[USER, ITEM, TIME]].assign(**labels, **{FILE: files}, **{PARTITION: day.astype("int32")})


def good_log() -> pd.DataFrame:
    """Return the tiny log as read_log returns it, as a frame of its own."""
    return _good_log().copy()


def spoil(log: pd.DataFrame, row: int, reason: str) -> pd.DataFrame:
    """Return the log with one row broken for a reason."""
    column, value = SPOILERS[reason]
    if value is pd.NA:
        log = log.astype({column: "Int64"})
    log.loc[row, column] = value
    return log


def repeat(log: pd.DataFrame, row: int) -> pd.DataFrame:
    """Return the log with a row delivered a second time, at the end."""
    return pd.concat([log, log.iloc[[row]]], ignore_index=True)


def contradict(log: pd.DataFrame, row: int) -> pd.DataFrame:
    """Return the log with a row delivered a second time, at the end, with another label."""
    return pd.concat([log, log.iloc[[row]].assign(**{LIKE: 1 - log.loc[row, LIKE]})], ignore_index=True)


def bad_log() -> pd.DataFrame:
    """Return a log with one row for every reason, several for some."""
    log = good_log()
    for row, reason in enumerate(SPOILERS):
        log = spoil(log, 3 * row, reason)
    log = spoil(spoil(log, 40, "label_not_finite:rating"), 41, "unknown_item")
    return contradict(repeat(repeat(log, 50), 50), 50)


def validate(log: pd.DataFrame, **changes: Any) -> ValidationResult:
    defaults = {"validation__max_bad_fraction": 0.5, "validation__duplicates": "quarantine"}
    scenario = tiny_scenario(**{**defaults, **changes})
    return validate_interactions(log, ITEMS, scenario, AS_OF)
