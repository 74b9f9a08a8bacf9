"""Validation of a log: bad rows are quarantined with a reason, and a log that is bad as a whole is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mtl_tasks.core.columns import DAY, FILE, ITEM, KNOWN, PARTITION, REASON, TIME, USER, context, label
from mtl_tasks.core.days import EPOCH, calendar, day_text
from mtl_tasks.core.errors import DataError, quoted
from mtl_tasks.data.validation.expectations import Expectation, Outcome, judge
from mtl_tasks.data.validation.log_checks import (
    bad_fraction_expectation,
    duplicates_error,
    log_expectations,
    schema_expectations,
    unattributed,
    unread_types,
    volume_expectations,
)
from mtl_tasks.data.validation.row_checks import DUPLICATE, Mask, quarantine_codes, row_checks
from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationResult:
    """The validated log.

    Attributes
    ----------
    events
        The good rows, in order, without exact copies if the scenario drops these: user_id, item_id, event_time, day
        (int32), label columns (float32), context columns; in the long layout known_day (int32), the day on which the
        labels become final: labels that do so from as_of on are null.
    quarantine
        The bad rows as read, with their ``file`` and the ``reason``: the first check that they fail.
    report
        Counts, and one entry per expectation; JSON-serializable.
    """

    events: pd.DataFrame
    quarantine: pd.DataFrame
    report: dict[str, Any]


@dataclass(frozen=True)
class ValidatedRows:
    """Rows of a part of the log, each checked by itself and against copies.

    Attributes
    ----------
    record
        Number of rows, and the outcome of every expectation among them; JSON-serializable.
    """

    events: pd.DataFrame
    quarantine: pd.DataFrame
    record: dict[str, Any]


@dataclass(frozen=True)
class FaultPolicy:
    """Policy for faults of the whole log: a run raises them, ``check`` collects them."""

    refuse: Callable[[DataError], None]
    warn: Callable[[str], None]


def _raise(error: DataError) -> None:
    raise error


IN_A_RUN: Final = FaultPolicy(_raise, log.warning)


def validate_interactions(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    say: FaultPolicy = IN_A_RUN,
    whole: bool = True,
    attribution: Mapping[str, Any] | None = None,
) -> ValidationResult:
    """Quarantine bad rows, and refuse a log that is bad as a whole: :func:`validate_rows`, then :func:`validate_log`.

    Parameters and errors are those of these two functions.
    """
    [rows] = validate_rows(interactions, items, scenario, as_of, say=say, attribution=attribution)
    return validate_log([rows.record], rows.events, rows.quarantine, scenario, as_of, say=say, whole=whole)


def validate_rows(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    spans: Sequence[range] | None = None,
    say: FaultPolicy = IN_A_RUN,
    attribution: Mapping[str, Any] | None = None,
) -> list[ValidatedRows]:
    """Quarantine bad rows.

    Parameters
    ----------
    interactions
        As :func:`mtl_tasks.data.interactions.read_log` returns it. From an unpartitioned log, rows from ``as_of`` on
        are left out first: they are the future, not a fault.
    items
        The item table.
    as_of
        UTC midnight.
    spans
        Partition days to return as one part each, ascending; by default all rows are one part.
    say
        Policy for faults.
    attribution
        Counts of the events of a long log, kept in the record.

    Raises
    ------
    DataError
        If the schema is wrong.
    """
    partitioned = PARTITION in interactions
    schema = _check(interactions, schema_expectations(interactions, scenario), say)
    if not partitioned:
        interactions = _without_future(interactions, scenario, as_of)
    checked = _check_rows(interactions, items, scenario, say, partitioned=partitioned)
    slices = [slice(0, len(interactions))] if spans is None else _part_slices(interactions[PARTITION], spans)
    events = _split(_canonical(checked.rows[checked.good], scenario, as_of), checked.good, slices)
    quarantine = _split(checked.quarantine([str(name) for name in interactions]), checked.bad, slices)
    common = {"attribution": dict(attribution or {}), "schema": [outcome.to_json() for outcome in schema]}
    return [
        ValidatedRows(kept, aside, {**checked.counts(part), **common, "checks": checked.outcomes_in(part)})
        for part, kept, aside in zip(slices, events, quarantine, strict=True)
    ]


@dataclass(frozen=True)
class _CheckedRows:
    """Rows of the log with the result of every row check.

    Attributes
    ----------
    rows
        As :func:`~mtl_tasks.data.validation.row_checks.quarantine_codes` returns them.
    good, bad
        Masks of the rows to keep and to quarantine; rows in neither are left out.
    prior
        Mask of the good rows from before the log.
    outcomes, broken
        For each check, its outcome among all rows and the mask of the rows that break it.
    """

    rows: pd.DataFrame
    good: Mask
    bad: Mask
    prior: Mask
    outcomes: list[Outcome]
    broken: list[Mask]

    def quarantine(self, columns: list[str]) -> pd.DataFrame:
        """Return the given columns of the bad rows, and the reason."""
        return self.rows.loc[self.bad, [*columns, REASON]].astype({FILE: "str", REASON: "str"})

    def counts(self, part: slice) -> dict[str, int]:
        """Return the numbers of rows, exact copies and good rows from before the log in a part."""
        copies = (self.rows[REASON] == DUPLICATE).to_numpy()
        return {
            "rows": part.stop - part.start,
            "duplicates": int(copies[part].sum()),
            "prior": int(self.prior[part].sum()),
        }

    def outcomes_in(self, part: slice) -> list[dict[str, Any]]:
        """Return the outcome of each check in a part."""
        return [
            {**outcome.to_json(), "unexpected": int(mask[part].sum()), "observed": outcome.expectation.note}
            for outcome, mask in zip(self.outcomes, self.broken, strict=True)
        ]


def _check_rows(
    interactions: pd.DataFrame, items: pd.DataFrame, scenario: Scenario, say: FaultPolicy, *, partitioned: bool
) -> _CheckedRows:
    """Run the row checks, and divide the rows into good, bad and left out."""
    checks = row_checks(scenario, partitioned)
    rows, codes = quarantine_codes(interactions, items, checks)
    # An expectation reads float32 value by value, which is slow.
    wider = {name: "float64" for name in rows if str(rows[name].dtype) == "float32"}
    outcomes = _check(rows.astype(wider), [check.expectation() for check in checks], say)
    good = codes < 0
    dropped = np.isin(codes, [code for code, check in enumerate(checks) if check.dropped])
    before = scenario.source.prior
    prior = good & (False if before is None else (rows[FILE] == before.path).to_numpy())
    broken = [check.rule.broken(rows) for check in checks]
    return _CheckedRows(rows, good, ~good & ~dropped, prior, outcomes, broken)


def _part_slices(partition: pd.Series, spans: Sequence[range]) -> list[slice]:
    """Return the slice of each part's rows: a log is read in day order."""
    return [slice(*np.searchsorted(partition.to_numpy(), [days.start, days.stop]).tolist()) for days in spans]


def _split(rows: pd.DataFrame, mask: Mask, slices: Sequence[slice]) -> list[pd.DataFrame]:
    """Divide the rows that a mask selected from the log into its parts."""
    before = np.append(0, np.cumsum(mask))
    return [rows.iloc[before[part.start] : before[part.stop]].reset_index(drop=True) for part in slices]


def _without_future(interactions: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp) -> pd.DataFrame:
    latest = pd.Timestamp(scenario.validation.latest, tz="UTC")
    future = (interactions[TIME].ge(as_of) & interactions[TIME].lt(latest)).to_numpy()  # later times are implausible
    if future.any():
        log.info("%s: left out %d rows from %s on", scenario.name, future.sum(), f"{as_of:%Y-%m-%d}")
    return interactions[~future]


def _canonical(good: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp) -> pd.DataFrame:
    labels, about = [label(name) for name in scenario.labels], scenario.source.context
    read = [context(name) for name in (*about.numeric, *about.categorical)]
    frame = good[[USER, ITEM, TIME, DAY, *labels, *read]].reset_index(drop=True)
    whole = {name: "int64" for name in (USER, ITEM) if pd.api.types.is_integer_dtype(frame[name])}
    frame = frame.astype({**whole, DAY: "int32"})
    for name, task in scenario.tasks.items():
        if task.scale == "log":
            frame[label(name)] = np.log1p(frame[label(name)])
    for name in about.categorical:
        values = frame[context(name)]
        frame[context(name)] = values.where(values != "").astype("category")
    if about.calendar:
        frame = frame.assign(**calendar(frame[TIME], scenario.source.timezone))
    if scenario.source.long is not None:
        closed = frame[TIME] + pd.Timedelta(hours=scenario.source.long.attribution_hours)
        frame[KNOWN] = ((closed - EPOCH) // pd.Timedelta(days=1)).astype("int32")
        frame.loc[closed >= as_of, labels] = np.float32("nan")  # the attribution window is still open
    return frame


def validate_log(
    records: Sequence[Mapping[str, Any]],
    events: pd.DataFrame,
    quarantine: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    say: FaultPolicy = IN_A_RUN,
    whole: bool = True,
) -> ValidationResult:
    """Refuse a log that is bad as a whole.

    Parameters
    ----------
    records, events, quarantine
        As :func:`validate_rows` returns them; one record for each part that the frames were joined from.
    as_of
        UTC midnight.
    say
        Policy for faults; a log without good rows always raises.
    whole
        False if the rows are a sample: checks that need all rows are then skipped (unattributed events, age of the
        newest row, missing days, rows of the last day).

    Raises
    ------
    DataError
        If no row is before ``as_of``, a row has an exact copy (if the scenario refuses that), more than
        ``validation.max_bad_fraction`` of the rows are bad, more than ``validation.max_unattributed`` of the events of
        a label's type follow no exposure, a label column is empty, the log is stale, lacks days (if the scenario
        refuses that), or has too few rows on its last day (if that is ``critical``).
    """
    reasons = _reasons(len(events), quarantine)
    if reasons.empty:
        raise DataError(
            f"{scenario.source.log}: no event before {as_of:%Y-%m-%d} (source in {scenario.file}):"
            " choose a later as_of or add the data"
        )
    copies = sum(record["duplicates"] for record in records)
    if copies and scenario.validation.duplicates == "refuse":
        say.refuse(duplicates_error(copies, sum(record["rows"] for record in records), scenario))
    attribution = records[0]["attribution"]  # a log in the long layout has one part
    if attribution:
        _check_attribution(attribution, scenario, say, whole)
    fraction = bad_fraction_expectation(reasons[REASON], quarantine, scenario)
    outcomes = _check(reasons, [fraction], say)
    if events.empty:
        raise DataError(fraction.failure)
    prior = sum(record["prior"] for record in records)
    outcomes += _check(events, log_expectations(events, scenario, as_of, whole, prior), say)
    if whole:
        outcomes += _check(*volume_expectations(events, scenario, prior), say)
    log.info("%s: kept %d of %d rows", scenario.name, len(events), len(reasons))
    entries = [*_joined_outcomes(records, events), *(outcome.to_json() for outcome in outcomes)]
    report = _report(events, quarantine, (copies, prior, attribution), entries, scenario)
    return ValidationResult(events, quarantine, report)


def _check_attribution(attribution: Mapping[str, Any], scenario: Scenario, say: FaultPolicy, whole: bool) -> None:
    """Warn of unread and unattributed events, and refuse a log with too many of the latter of a type."""
    unread = unread_types(attribution["unread"], scenario)
    if unread:
        say.warn(unread)
    for name, counts in attribution["labels"].items() if whole else ():  # a sample may lack their exposures
        if counts["joined"] < counts["events"]:
            text = unattributed(name, counts, scenario)
            share = 1 - counts["joined"] / counts["events"]
            if share > scenario.validation.unattributed_limit(name):
                say.refuse(DataError(text))
            else:
                say.warn(text)


def _reasons(good: int, quarantine: pd.DataFrame) -> pd.DataFrame:
    """Return one row per row of the log, with the reason of its quarantine, if any."""
    codes, reasons = pd.factorize(quarantine[REASON])
    return pd.DataFrame({REASON: pd.Categorical.from_codes(np.append(np.full(good, -1), codes), categories=reasons)})


def with_type(entry: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the outcome of a column's type with the type of other rows; unchanged if the column was not found."""
    if not entry["observed"]:
        return {**entry}
    return {**entry, "observed": dtype, "arguments": {**entry["arguments"], "type_": dtype}}


def _joined_outcomes(records: Sequence[Mapping[str, Any]], events: pd.DataFrame) -> list[dict[str, Any]]:
    """Join the outcomes of all parts: counts are summed, and id types are those of the joined rows."""
    rows = sum(record["rows"] for record in records)
    schema = []
    for entries in zip(*(record["schema"] for record in records), strict=True):
        entry = {**entries[0], "success": all(entry["success"] for entry in entries)}
        if entry["column"] in (USER, ITEM):
            entry = with_type(entry, str(events[entry["column"]].dtype))
        schema.append(entry)
    joined = []
    for entries in zip(*(record["checks"] for record in records), strict=True):
        unexpected = sum(entry["unexpected"] for entry in entries)
        observed = f"{unexpected:,} of {rows:,} rows{entries[0]['observed']}"
        joined.append({**entries[0], "success": unexpected == 0, "observed": observed, "unexpected": unexpected})
    return schema + joined


def _check(frame: pd.DataFrame, expectations: Sequence[Expectation], say: FaultPolicy) -> list[Outcome]:
    """As :func:`judge`, and refuse critical failures and checks that could not run."""
    outcomes = judge(frame, expectations) if expectations else []
    for outcome in outcomes:
        expectation = outcome.expectation
        if not outcome.success and expectation.severity == "critical":
            say.refuse(DataError(expectation.failure))
        elif outcome.error is not None:
            say.refuse(
                DataError(
                    f"{outcome.type} on {expectation.arguments}: could not be checked{quoted(f': {outcome.error}')}"
                )
            )
        elif not outcome.success:
            say.warn(expectation.failure or f"{outcome.observed} fail {outcome.type}")
    return outcomes


def _report(
    events: pd.DataFrame,
    quarantine: pd.DataFrame,
    counted: tuple[int, int, Mapping[str, Any]],
    outcomes: list[dict[str, Any]],
    scenario: Scenario,
) -> dict[str, Any]:
    copies, prior, attribution = counted
    counts = quarantine[REASON].value_counts(sort=False)
    rule = scenario.validation.duplicates
    read = len(events) + len(quarantine) + (copies if rule == "drop" else 0)
    return {
        "success": all(outcome["success"] for outcome in outcomes if outcome["severity"] == "critical"),
        "rows_read": read,
        "rows_kept": len(events),
        "prior": prior,
        "bad_fraction": len(quarantine) / read,
        "max_bad_fraction": scenario.validation.max_bad_fraction,
        "duplicates": {"rows": copies, "rule": rule},
        "attribution": dict(attribution),
        "quarantined": {str(reason): int(count) for reason, count in counts.items()},
        "expectations": outcomes,
        "first_day": day_text(int(events[DAY].min())),
        "last_day": day_text(int(events[DAY].max())),
        "max_event_time": events[TIME].max().isoformat(),
    }
