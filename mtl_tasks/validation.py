"""Judge a log with Great Expectations: bad rows are set aside with a reason, a bad log is refused.

Each row-level check is one value (:class:`RowCheck`) from which both the mask that quarantines rows and the
expectation that counts them are made. Great Expectations decides: whether the schema holds, whether the share of bad
rows is tolerable, and whether what is left is enough and fresh.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.calendar import calendar
from mtl_tasks.columns import DAY, FILE, ITEM, KNOWN, PARTITION, REASON, TIME, USER, context, label
from mtl_tasks.errors import DataError
from mtl_tasks.expectations import Expectation, Outcome, Severity, judge
from mtl_tasks.scenario import Scenario, Task
from mtl_tasks.splits import log_days

log = logging.getLogger(__name__)

Mask = NDArray[np.bool_]

DUPLICATE: Final = "duplicate"
_KNOWN: Final = "known_item"  # bool: the item is in the item table
_REPEAT: Final = "repeated"  # bool: an earlier good row has the same user, item and time
_TRAILING_DAYS: Final = 28
_SHOWN_DAYS: Final = 5
_TOP_REASONS: Final = 5
_FLOAT_MAX: Final = float(np.finfo(np.float32).max)
_ID_TYPES: Final = ["int64", "Int64", "str"]
_TIME_TYPE: Final = "datetime64[us, UTC]"


@dataclass(frozen=True)
class ValidationResult:
    """The judged log.

    Attributes
    ----------
    events
        The good rows, in order: user_id, item_id, event_time, day (int32), label columns (float32); in the long layout
        known_day (int32), in which the labels become final: those that do so from as_of on are null.
    quarantine
        The bad rows as read, with their ``file`` and the ``reason``: the first check that they fail.
    report
        Counts, and one entry an expectation; JSON-able.
    """

    events: pd.DataFrame
    quarantine: pd.DataFrame
    report: dict[str, Any]


class Rule(Protocol):
    """What a single row must satisfy, in two forms that are made from the same fields."""

    def broken(self, frame: pd.DataFrame) -> Mask:
        """Return a mask of the rows that break the rule."""
        ...

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """Return the class name and arguments of the expectation that counts the same rows."""
        ...


@dataclass(frozen=True)
class NotNull:
    """The value is there."""

    column: str

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        return _mask(frame[self.column].isna())

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        return "ExpectColumnValuesToNotBeNull", {"column": self.column}


@dataclass(frozen=True)
class Between:
    """The value, if there is one, is in [low, high]."""

    column: str
    low: float
    high: float

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        values = frame[self.column]
        return _mask((values < self.low) | (values > self.high))

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        limits = {"min_value": self.low, "max_value": self.high}
        return "ExpectColumnValuesToBeBetween", {"column": self.column, **limits}


@dataclass(frozen=True)
class OneOf:
    """The value, if there is one, is one of a few."""

    column: str
    allowed: tuple[Any, ...]

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        values = frame[self.column]
        return _mask(~values.isin(self.allowed) & values.notna())

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        return "ExpectColumnValuesToBeInSet", {"column": self.column, "value_set": list(self.allowed)}


@dataclass(frozen=True)
class Equal:
    """Two values, if both are there, are equal."""

    left: str
    right: str

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        left, right = frame[self.left], frame[self.right]
        return _mask((left != right) & left.notna() & right.notna())

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        columns = {"column_A": self.left, "column_B": self.right}
        return "ExpectColumnPairValuesToBeEqual", {**columns, "ignore_row_if": "either_value_is_missing"}


@dataclass(frozen=True)
class RowCheck:
    """A rule and the reason code of the rows that break it."""

    reason: str
    rule: Rule

    def expectation(self) -> Expectation:
        """Any broken row is worth a warning; how many are too many is one question of the whole log."""
        name, arguments = self.rule.expectation()
        return Expectation(name, arguments, "warning", note=f" ({self.reason})")


def row_checks(scenario: Scenario, partitioned: bool) -> tuple[RowCheck, ...]:
    """Return the row-level checks, in the order in which they claim a row."""
    checks = [
        RowCheck("null_user", NotNull(USER)),
        RowCheck("null_item", NotNull(ITEM)),
        RowCheck("null_time", NotNull(TIME)),
    ]
    if partitioned:  # in a single file the rows from as_of on are simply the future
        checks.append(RowCheck("outside_partition", Equal(DAY, PARTITION)))
    if scenario.source.items is not None and scenario.source.items.missing == "quarantine":
        checks.append(RowCheck("unknown_item", OneOf(_KNOWN, (True,))))
    for name, task in scenario.labels.items():
        checks.extend(_label_checks(name, task))
    checks += [
        RowCheck(f"context_not_finite:{name}", Between(context(name), -_FLOAT_MAX, _FLOAT_MAX))
        for name in scenario.source.context.numeric
    ]
    return (*checks, RowCheck(DUPLICATE, OneOf(_REPEAT, (False,))))


def _label_checks(name: str, task: Task) -> list[RowCheck]:
    """A label that is null was not observed, which is no fault."""
    column = label(name)
    checks = [RowCheck(f"label_not_finite:{name}", Between(column, -_FLOAT_MAX, _FLOAT_MAX))]
    if task.kind == "binary":
        checks.append(RowCheck(f"label_not_binary:{name}", OneOf(column, (0.0, 1.0))))
    elif task.range is not None:
        # Labels are float32: the limits are rounded alike, or a label equal to a limit such as 0.3 would be outside.
        low, high = (float(np.float32(limit)) for limit in task.range)
        checks.append(RowCheck(f"label_out_of_range:{name}", Between(column, low, high)))
    return checks


@dataclass(frozen=True)
class Say:
    """What to do about a fault of the whole log: a run refuses it, and a check before the first run collects it."""

    refuse: Callable[[DataError], None]
    warn: Callable[[str], None]


def _raise(error: DataError) -> None:
    raise error


IN_A_RUN: Final = Say(_raise, log.warning)


def validate_log(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    say: Say = IN_A_RUN,
    whole: bool = True,
) -> ValidationResult:
    """Set bad rows aside, and refuse a log that is bad as a whole.

    Parameters
    ----------
    interactions
        As :func:`mtl_tasks.events.read_log` returns it. Of an unpartitioned log, the rows from ``as_of`` on are
        left out first: they are the future, not a fault.
    items
        The item table.
    as_of
        UTC midnight.
    say
        What to do about each fault; without a row there is nothing to go on with, and that is raised always.
    whole
        False if the interactions are a sample: what only all of them can tell, how old the newest is, days without
        rows and how many the last one has, is then not asked.

    Raises
    ------
    DataError
        If the schema is wrong, no row is before ``as_of``, more than ``validation.max_bad_fraction`` of the rows are
        bad, a label column is empty, the log is stale, or its last day is thin (if that is ``critical``).
    """
    [judged] = judge_rows(interactions, items, scenario, as_of, say=say)
    return judge_log([judged.record], judged.events, judged.quarantine, scenario, as_of, say=say, whole=whole)


@dataclass(frozen=True)
class JudgedRows:
    """Rows of the log, each judged by itself and by the rows of its day.

    Attributes
    ----------
    record
        How many there were, and what every expectation found among them; JSON-able.
    """

    events: pd.DataFrame
    quarantine: pd.DataFrame
    record: dict[str, Any]


def judge_rows(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    days: Sequence[int] | None = None,
    say: Say = IN_A_RUN,
) -> list[JudgedRows]:
    """Set bad rows aside.

    Parameters
    ----------
    days
        Partitions to hand back one by one; by default the rows are handed back together.

    Raises
    ------
    DataError
        If the schema is wrong.
    """
    partitioned = PARTITION in interactions
    outcomes = _judge(interactions, _schema_expectations(interactions, scenario), say)
    if not partitioned:
        interactions = _without_future(interactions, scenario, as_of)
    checks = row_checks(scenario, partitioned)
    probe, codes = quarantine_codes(interactions, items, checks)
    labels = {name: "float64" for name in probe if str(probe[name].dtype) == "float32"}
    per_row = _judge(
        probe.astype(labels), [check.expectation() for check in checks], say
    )  # float32 goes value by value
    broken = [check.rule.broken(probe) for check in checks]
    good = codes < 0
    events = _canonical(probe[good], scenario, as_of)
    quarantine = probe.loc[~good, [*interactions.columns, REASON]].astype({FILE: "str", REASON: "str"})
    places = [slice(None)] if days is None else _places(interactions[PARTITION].to_numpy(), days)
    judged = []
    for place in places:
        kept = good[place]
        first, first_bad = int(good[: place.start or 0].sum()), int((~good[: place.start or 0]).sum())
        counts = [int(mask[place].sum()) for mask in broken]
        found = [
            {**outcome.to_json(), "unexpected": count, "observed": outcome.expectation.note}
            for outcome, count in zip(per_row, counts, strict=True)
        ]
        judged.append(
            JudgedRows(
                events.iloc[first : first + int(kept.sum())].reset_index(drop=True),
                quarantine.iloc[first_bad : first_bad + int((~kept).sum())].reset_index(drop=True),
                {"rows": len(kept), "schema": [outcome.to_json() for outcome in outcomes], "checks": found},
            )
        )
    return judged


def _places(partition: NDArray[np.int32], days: Sequence[int]) -> list[slice]:
    """Where the rows of each partition are: a log is read a day after the other."""
    return [slice(*np.searchsorted(partition, [day, day + 1]).tolist()) for day in days]


def judge_log(
    records: Sequence[Mapping[str, Any]],
    events: pd.DataFrame,
    quarantine: pd.DataFrame,
    scenario: Scenario,
    as_of: pd.Timestamp,
    *,
    say: Say = IN_A_RUN,
    whole: bool = True,
) -> ValidationResult:
    """Refuse a log that is bad as a whole; for parameters and errors see :func:`validate_log`.

    Parameters
    ----------
    records
        Of the parts that ``events`` and ``quarantine`` were joined from.
    """
    reasons = _reasons(len(events), quarantine)
    if reasons.empty:
        raise DataError(
            f"{scenario.source.log}: no event before {as_of:%Y-%m-%d} (source in {scenario.file}):"
            " choose a later as_of or add the data"
        )
    fraction = _bad_fraction_expectation(reasons[REASON], quarantine, scenario)
    outcomes = _judge(reasons, [fraction], say)
    if events.empty:
        raise DataError(fraction.failure)
    outcomes += _judge(events, _log_expectations(events, scenario, as_of, whole), say)
    if whole:
        outcomes += _judge(*_volume(events, scenario), say)
    log.info("%s: kept %d of %d rows", scenario.name, len(events), len(reasons))
    entries = [*_joined_outcomes(records), *(outcome.to_json() for outcome in outcomes)]
    return ValidationResult(events, quarantine, _report(events, quarantine, entries, scenario))


def _reasons(good: int, quarantine: pd.DataFrame) -> pd.DataFrame:
    """A row for every row of the log, with the reason for which it was set aside, if it was."""
    codes, kinds = pd.factorize(quarantine[REASON])
    return pd.DataFrame({REASON: pd.Categorical.from_codes(np.append(np.full(good, -1), codes), categories=kinds)})


def _joined_outcomes(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was found in all parts together: rows are counted over all of them."""
    rows = sum(record["rows"] for record in records)
    schema = [
        {**entries[0], "success": all(entry["success"] for entry in entries)}
        for entries in zip(*(record["schema"] for record in records), strict=True)
    ]
    joined = []
    for entries in zip(*(record["checks"] for record in records), strict=True):
        unexpected = sum(entry["unexpected"] for entry in entries)
        observed = f"{unexpected:,} of {rows:,} rows{entries[0]['observed']}"
        joined.append({**entries[0], "success": unexpected == 0, "observed": observed, "unexpected": unexpected})
    return schema + joined


def quarantine_codes(
    interactions: pd.DataFrame, items: pd.DataFrame, checks: Sequence[RowCheck]
) -> tuple[pd.DataFrame, NDArray[np.int16]]:
    """Find each row's first broken check.

    Returns
    -------
    tuple
        The rows with the columns that the checks read (the day, whether the item is known, whether the row repeats
        one that is good so far) and ``reason`` (category, null if good); and per row the position of the first
        broken check, -1 if none.
    """
    probe = interactions.reset_index(drop=True)
    # A float, so that a missing time has a missing day.
    probe[DAY] = np.floor((probe[TIME] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1))
    probe[_KNOWN] = probe[ITEM].isin(items[ITEM]) | probe[ITEM].isna()
    codes = np.full(len(probe), -1, dtype=np.int16)
    for code, check in enumerate(checks):
        if check.reason == DUPLICATE:  # last: a good row must not be lost to an earlier copy that is bad
            probe[_REPEAT] = False
            probe.loc[codes < 0, _REPEAT] = probe.loc[codes < 0, [USER, ITEM, TIME]].duplicated()
        codes[(codes < 0) & check.rule.broken(probe)] = code
    probe[REASON] = pd.Categorical.from_codes(codes, categories=pd.Index([check.reason for check in checks]))
    return probe, codes


def _judge(frame: pd.DataFrame, expectations: Sequence[Expectation], say: Say) -> list[Outcome]:
    """As :func:`judge`, and refuse what fails critically, or any check that could not run."""
    outcomes = judge(frame, expectations) if expectations else []
    for outcome in outcomes:
        expectation = outcome.expectation
        if not outcome.success and expectation.severity == "critical":
            say.refuse(DataError(expectation.failure))
        elif outcome.error is not None:
            say.refuse(DataError(f"{outcome.type} on {expectation.arguments}: could not be checked: {outcome.error}"))
        elif not outcome.success:
            say.warn(expectation.failure or f"{outcome.observed} fail {outcome.type}")
    return outcomes


def _mask(values: pd.Series) -> Mask:
    return values.fillna(False).to_numpy(dtype=bool)


def _without_future(interactions: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp) -> pd.DataFrame:
    future = _mask(interactions[TIME] >= as_of)
    if future.any():
        log.info("%s: left out %d rows from %s on", scenario.name, future.sum(), f"{as_of:%Y-%m-%d}")
    return interactions[~future]


def _schema_expectations(interactions: pd.DataFrame, scenario: Scenario) -> list[Expectation]:
    """Ids may be of several types: the column's own is expected if it is one of them, else the first."""
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


def _bad_fraction_expectation(reasons: pd.Series, quarantine: pd.DataFrame, scenario: Scenario) -> Expectation:
    """Return the one expectation that decides whether the bad rows are too many."""
    limit = scenario.validation.max_bad_fraction
    counts = reasons.value_counts()
    bad = len(quarantine)
    shown = ", ".join(f"{reason} {count:,}" for reason, count in counts.head(_TOP_REASONS).items())
    failure = (
        f"{scenario.name}: {bad:,} of {len(reasons):,} rows are bad ({bad / len(reasons):.3%}, the limit is"
        f" {limit:.3%}): {shown}; {_example(quarantine)}: mend the log, or raise validation.max_bad_fraction in"
        f" {scenario.file}"
    )
    # The tiny allowance keeps a share that equals the limit from failing by a rounding of 1 - limit.
    arguments = {"column": REASON, "mostly": max(0.0, 1 - limit - 1e-12)}
    return Expectation("ExpectColumnValuesToBeNull", arguments, "critical", failure)


def _example(quarantine: pd.DataFrame) -> str:
    if quarantine.empty:
        return ""
    row = quarantine.iloc[0]
    columns = [USER, ITEM, TIME, *(name for name in map(str, quarantine) if name.startswith(label("")))]
    values = ", ".join(f"{name} {row[name]}" for name in columns)
    return f"for example {values} ({row[REASON]}) in {row[FILE]}"


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
        kinds = frame[context(name)]
        frame[context(name)] = kinds.where(kinds != "").astype("category")
    if about.calendar:
        frame = frame.assign(**calendar(frame[TIME], scenario.source))
    if scenario.source.long is not None:
        closed = frame[TIME] + pd.Timedelta(hours=scenario.source.long.attribution_hours)
        frame[KNOWN] = ((closed - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(days=1)).astype("int32")
        frame.loc[closed >= as_of, labels] = np.float32("nan")  # what the exposure leads to is not over yet
    return frame


def _log_expectations(events: pd.DataFrame, scenario: Scenario, as_of: pd.Timestamp, whole: bool) -> list[Expectation]:
    """Return what must hold of the good rows together: every label observed somewhere, fresh, and no day missing."""
    expectations = []
    for name, task in scenario.labels.items():
        where = f"{scenario.label_key(name)} in {scenario.file}"
        failure = f"{name}: column {task.label!r} ({where}) has no value in any row"
        arguments = {"column": label(name), "min_value": 0, "strict_min": True}
        kind = "ExpectColumnProportionOfNonNullValuesToBeBetween"
        expectations.append(Expectation(kind, arguments, "critical", f"{failure}: map the right column"))
    if whole:
        expectations += [_freshness(events, scenario, as_of), _completeness(events, scenario)]
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


def _completeness(events: pd.DataFrame, scenario: Scenario) -> Expectation:
    """Every day between the first and the last has a row."""
    present = log_days(events, scenario)
    span = int(present[-1] - present[0]) + 1
    missing = np.setdiff1d(np.arange(present[0], present[-1]), present)
    shown = ", ".join(_iso(int(day)) for day in missing[:_SHOWN_DAYS]) + (", …" if len(missing) > _SHOWN_DAYS else "")
    failure = (
        f"{scenario.source.log}: no row on {len(missing):,} of the {span:,} days from {_iso(int(present[0]))} to"
        f" {_iso(int(present[-1]))}: {shown}: load them, or set validation.missing_days to warn in {scenario.file}"
    )
    severity: Severity = "critical" if scenario.validation.missing_days == "refuse" else "warning"
    arguments = {"column": DAY, "min_value": span + (1 if scenario.source.prior else 0)}
    return Expectation("ExpectColumnUniqueValueCountToBeBetween", arguments, severity, failure)


def _volume(events: pd.DataFrame, scenario: Scenario) -> tuple[pd.DataFrame, list[Expectation]]:
    """Return the last day's rows, and that they are enough compared with the days before, if there are any."""
    settings, present = scenario.validation, log_days(events, scenario)
    last, first = int(present[-1]), int(present[0])
    rows = events[events[DAY] == last]
    days = min(_TRAILING_DAYS, last - first)
    if not days:
        return rows, []
    mean = int(events[DAY].between(last - days, last - 1).sum()) / days
    failure = (
        f"{scenario.source.log}: {_iso(last)} has {len(rows):,} rows, the {days} days before it {mean:,.1f} a day,"
        f" the limit is {settings.min_daily_ratio:g} of that: load the rest of the day,"
        f" or lower validation.min_daily_ratio in {scenario.file}"
    )
    arguments = {"min_value": math.ceil(settings.min_daily_ratio * mean)}
    note = f" rows on {_iso(last)}; {mean:,.1f} a day in the {days} days before"
    return rows, [Expectation("ExpectTableRowCountToBeBetween", arguments, settings.volume_severity, failure, note)]


def _iso(day: int) -> str:
    return f"{pd.Timestamp(day, unit='D'):%Y-%m-%d}"


def _report(
    events: pd.DataFrame, quarantine: pd.DataFrame, outcomes: list[dict[str, Any]], scenario: Scenario
) -> dict[str, Any]:
    counts = quarantine[REASON].value_counts(sort=False)
    read = len(events) + len(quarantine)
    return {
        "success": all(outcome["success"] for outcome in outcomes if outcome["severity"] == "critical"),
        "rows_read": read,
        "rows_kept": len(events),
        "bad_fraction": len(quarantine) / read,
        "max_bad_fraction": scenario.validation.max_bad_fraction,
        "quarantined": {str(reason): int(count) for reason, count in counts.items()},
        "expectations": outcomes,
        "first_day": _iso(int(events[DAY].min())),
        "last_day": _iso(int(events[DAY].max())),
        "max_event_time": events[TIME].max().isoformat(),
    }
