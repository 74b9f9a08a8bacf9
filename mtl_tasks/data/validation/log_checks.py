"""Checks of the log as a whole: schema, share of bad rows, freshness, completeness and volume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from mtl_tasks.core.columns import DAY, FILE, ITEM, REASON, TIME, USER, context, label
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError, quoted
from mtl_tasks.data.attribution import REASONS
from mtl_tasks.data.splits import log_days
from mtl_tasks.data.validation.expectations import Expectation, Severity
from mtl_tasks.data.validation.row_checks import IMPLAUSIBLE_TIME
from mtl_tasks.scenario import Scenario

_TRAILING_DAYS: Final = 28
_SHOWN_DAYS: Final = 5
_TOP_REASONS: Final = 5
_ID_TYPES: Final = ["int64", "Int64", "str"]
_TIME_TYPE: Final = "datetime64[us, UTC]"


def schema_expectations(interactions: pd.DataFrame, scenario: Scenario) -> list[Expectation]:
    """Return the expected columns and types; where several types are allowed, the column's own is expected."""
    labels = [*(label(name) for name in scenario.labels), *(context(name) for name in scenario.source.context.numeric)]
    types = {USER: _ID_TYPES, ITEM: _ID_TYPES, TIME: [_TIME_TYPE], FILE: ["category"]}
    types |= {name: ["float32"] for name in labels}
    expectations = []
    for column, allowed in types.items():
        remedy = "make the table with read_log"
        missing = f"{scenario.name}: the log has no column {column!r}: {remedy}"
        expectations.append(Expectation("ExpectColumnToExist", {"column": column}, "critical", missing))
        found = str(interactions[column].dtype) if column in interactions else None
        arguments = {"column": column, "type_": found if found in allowed else allowed[0]}
        wrong = f"{scenario.name}: column {column!r} is {found}, expected {' or '.join(allowed)}: {remedy}"
        expectations.append(Expectation("ExpectColumnTypeToBe", arguments, "critical", wrong))
    return expectations


def bad_fraction_expectation(reasons: pd.Series, quarantine: pd.DataFrame, scenario: Scenario) -> Expectation:
    """Return the expectation that limits the share of bad rows."""
    limit = scenario.validation.max_bad_fraction
    counts = reasons.value_counts()
    bad = len(quarantine)
    shown = ", ".join(f"{reason} {count:,}" for reason, count in counts.head(_TOP_REASONS).items())
    failure = (
        f"{scenario.name}: {bad:,} of {len(reasons):,} rows are bad ({bad / len(reasons):.3%}, the limit is"
        f" {limit:.3%}): {shown}; {_example(quarantine)}{_about_times(counts, scenario)}: fix the log, or raise"
        f" validation.max_bad_fraction in {scenario.file}"
    )
    # The tolerance keeps a share equal to the limit from failing by the rounding of 1 - limit.
    arguments = {"column": REASON, "mostly": max(0.0, 1 - limit - 1e-12)}
    return Expectation("ExpectColumnValuesToBeNull", arguments, "critical", failure)


def duplicates_error(copies: int, rows: int, scenario: Scenario) -> DataError:
    """Return the error for exact copies, where the scenario refuses them."""
    return DataError(
        f"{scenario.name}: {copies:,} of {rows:,} rows are exact copies of another (validation.duplicates is refuse):"
        f" write each row once, or set validation.duplicates to drop in {scenario.file}"
    )


def unattributed(name: str, counts: Mapping[str, Any], scenario: Scenario) -> str:
    """Describe how many events of a label's type follow no exposure, why, and the remedy."""
    events, lost = counts["events"], counts["events"] - counts["joined"]
    reasons = ", ".join(f"{counts[reason]:,} {words}" for reason, words in REASONS.items() if counts[reason])
    return (
        f"{name}: {lost:,} of {events:,} events of the type {counts['type']!r} ({lost / events:.1%}, the limit is"
        f" {scenario.validation.unattributed_limit(name):.1%}) follow no exposure and count in no label: {reasons}:"
        " correct the clock or the ids that wrote them, or change source.long.attribution_hours or"
        f" validation.max_unattributed in {scenario.file}"
    )


def unread_types(unread: Mapping[str, Any], scenario: Scenario) -> str | None:
    """Describe the event types that the scenario does not read; mark those that are other spellings of one it reads."""
    long = scenario.source.long
    if not unread["types"] or long is None:
        return None
    read = {kind.strip().lower(): kind for kind in (long.exposure, *(str(t.label) for t in scenario.labels.values()))}
    shown = []
    for kind, count in unread["most"].items():
        alike = read.get(kind.strip().lower())
        shown.append(f"{kind!r} {count:,}" + (f" (differs in spelling from {alike!r})" if alike else ""))
    listed = quoted(": " + ", ".join(shown) + (", …" if unread["types"] > len(shown) else "")) if shown else ""
    return (
        f"{scenario.name}: types in column {long.type!r} that the scenario does not read: {unread['types']:,}, with"
        f" {unread['events']:,} events{listed}"
    )


def _about_times(counts: pd.Series, scenario: Scenario) -> str:
    if not counts.get(IMPLAUSIBLE_TIME, 0):
        return ""
    settings, unit = scenario.validation, scenario.source.time_unit
    span = f"before validation.earliest ({settings.earliest}) or from validation.latest ({settings.latest}) on"
    return f"; a time {span} is implausible" + (f", often of another unit than source.time_unit {unit}" if unit else "")


def _example(quarantine: pd.DataFrame) -> str:
    if quarantine.empty:
        return ""
    row = quarantine.iloc[0]
    columns = [USER, ITEM, TIME, *(name for name in map(str, quarantine) if name.startswith(label("")))]
    values = quoted(" ".join(["", ", ".join(f"{name} {row[name]}" for name in columns)]))
    return f"for example{values} ({row[REASON]}) in {row[FILE]}"


def log_expectations(
    events: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp, whole: bool, prior: int
) -> list[Expectation]:
    """Return the expectations of all good rows: every label observed; of a ``whole`` log, fresh and no day missing.

    ``prior`` is the number of rows from before the log.
    """
    expectations = []
    for name, task in scenario.labels.items():
        where = f"{scenario.label_key(name)} in {scenario.file}"
        failure = f"{name}: column {task.label!r} ({where}) has no value in any row"
        arguments = {"column": label(name), "min_value": 0, "strict_min": True}
        kind = "ExpectColumnProportionOfNonNullValuesToBeBetween"
        expectations.append(Expectation(kind, arguments, "critical", f"{failure}: map the right column"))
    if whole:
        expectations += [_freshness(events, scenario, as_of), _completeness(events, scenario, prior)]
    return expectations


def _freshness(events: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp) -> Expectation:
    allowed = scenario.validation.max_age_days
    newest = events[TIME].max()
    failure = (
        f"{scenario.source.log}: stale: the newest event before {as_of:%Y-%m-%d} is of {newest:%Y-%m-%d %H:%M} UTC,"
        f" {(as_of - newest) / pd.Timedelta(days=1):.1f} days old, the limit is {allowed}: load the missing days,"
        f" choose an earlier as_of, or raise validation.max_age_days in {scenario.file}"
    )
    oldest = as_of - pd.Timedelta(days=allowed)
    note = f"; at least {oldest.isoformat()}"
    return Expectation("ExpectColumnMaxToBeBetween", {"column": TIME, "min_value": oldest}, "critical", failure, note)


def _completeness(events: pd.DataFrame, scenario: Scenario, prior: int) -> Expectation:
    """Expect a row on every day between the first and the last."""
    present = log_days(events, prior)
    span = int(present[-1] - present[0]) + 1
    missing = np.setdiff1d(np.arange(present[0], present[-1]), present)
    shown = ", ".join(day_text(int(day)) for day in missing[:_SHOWN_DAYS]) + (
        ", …" if len(missing) > _SHOWN_DAYS else ""
    )
    failure = (
        f"{scenario.source.log}: no row on {len(missing):,} of the {span:,} days from {day_text(int(present[0]))} to"
        f" {day_text(int(present[-1]))}: {shown}: load them"
    )
    severity: Severity = "warning"
    if scenario.validation.missing_days == "refuse":
        severity, failure = "critical", f"{failure}, or set validation.missing_days to warn in {scenario.file}"
    arguments = {"column": DAY, "min_value": span + (1 if prior else 0)}
    return Expectation("ExpectColumnUniqueValueCountToBeBetween", arguments, severity, failure)


def volume_expectations(events: pd.DataFrame, scenario: Scenario, prior: int) -> tuple[pd.DataFrame, list[Expectation]]:
    """Return the last day's rows, and the expectation that they are enough compared with earlier days, if any."""
    settings, present = scenario.validation, log_days(events, prior)
    last, first = int(present[-1]), int(present[0])
    rows = events[events[DAY] == last]
    days = min(_TRAILING_DAYS, last - first)
    if not days:
        return rows, []
    mean = int(events[DAY].between(last - days, last - 1).sum()) / days
    failure = (
        f"{scenario.source.log}: {day_text(last)} has {len(rows):,} rows, the {days} days before it {mean:,.1f} a day,"
        f" the limit is {settings.min_daily_ratio:g} of that: load the rest of the day,"
        f" or lower validation.min_daily_ratio in {scenario.file}"
    )
    arguments = {"min_value": math.ceil(settings.min_daily_ratio * mean)}
    note = f" rows on {day_text(last)}; {mean:,.1f} a day in the {days} days before"
    return rows, [Expectation("ExpectTableRowCountToBeBetween", arguments, settings.volume_severity, failure, note)]
