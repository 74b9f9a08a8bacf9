"""Checks of single rows of the log, and the reason codes of rows that fail.

Each check is one value (:class:`RowCheck`), which gives both the mask that quarantines rows and the expectation that
counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.columns import DAY, ITEM, PARTITION, REASON, TIME, USER, context, label
from mtl_tasks.core.days import EPOCH
from mtl_tasks.data.validation.expectations import Expectation
from mtl_tasks.scenario import Scenario, Task

Mask = NDArray[np.bool_]

DUPLICATE: Final = "duplicate"
IMPLAUSIBLE_TIME: Final = "implausible_time"
_KNOWN: Final = "known_item"  # bool: the item is in the item table
CONFLICTING: Final = "conflicting_duplicate"
_FLOAT_MAX: Final = float(np.finfo(np.float32).max)


class Rule(Protocol):
    """A condition on a single row, as a mask and as an expectation of the same fields."""

    def broken(self, frame: pd.DataFrame) -> Mask:
        """Return a mask of the rows that break the rule."""
        ...

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """Return the class name and arguments of the expectation that counts the same rows."""
        ...


@dataclass(frozen=True)
class NotNull:
    """The value is not null."""

    column: str

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        return _mask(frame[self.column].isna())

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        return "ExpectColumnValuesToNotBeNull", {"column": self.column}


@dataclass(frozen=True)
class Between:
    """The value, unless null, is in [low, high]."""

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
    """The value, unless null, is in ``allowed``."""

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
    """Two values, unless one is null, are equal."""

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
class First:
    """No earlier row that is good so far has the same values; the column ``flag`` marks rows for which one has."""

    columns: tuple[str, ...]
    flag: str

    def mark(self, frame: pd.DataFrame, good: Mask) -> None:
        """Fill the column ``flag``."""
        frame[self.flag] = False
        frame.loc[good, self.flag] = frame.loc[good, list(self.columns)].duplicated()

    def broken(self, frame: pd.DataFrame) -> Mask:
        """See :class:`Rule`."""
        return _mask(frame[self.flag])

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """See :class:`Rule`."""
        return "ExpectColumnValuesToBeInSet", {"column": self.flag, "value_set": [False]}


@dataclass(frozen=True)
class RowCheck:
    """A rule and the reason code of the rows that break it.

    Attributes
    ----------
    dropped
        Whether those rows are left out rather than quarantined as bad.
    """

    reason: str
    rule: Rule
    dropped: bool = False

    def expectation(self) -> Expectation:
        """Return an expectation that only warns: the limit on bad rows is a check of the whole log."""
        name, arguments = self.rule.expectation()
        return Expectation(name, arguments, "warning", note=f" ({self.reason}{', left out' * self.dropped})")


def row_checks(scenario: Scenario, partitioned: bool) -> tuple[RowCheck, ...]:
    """Return the row-level checks, in the order in which they claim a row."""
    checks = [
        RowCheck("null_user", NotNull(USER)),
        RowCheck("null_item", NotNull(ITEM)),
        RowCheck("null_time", NotNull(TIME)),
        RowCheck(IMPLAUSIBLE_TIME, Between(DAY, *plausible_days(scenario))),
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
    return (*checks, *_copy_checks(scenario))


def _copy_checks(scenario: Scenario) -> list[RowCheck]:
    """Return the checks for copies: equal in every column read, except labels of a long log, which copies share."""
    key, about = (USER, ITEM, TIME), scenario.source.context
    labels = scenario.labels if scenario.source.long is None else ()
    content = [*(label(name) for name in labels), *(context(name) for name in (*about.numeric, *about.categorical))]
    return [
        RowCheck(DUPLICATE, First((*key, *content), "copied"), dropped=scenario.validation.duplicates == "drop"),
        RowCheck(CONFLICTING, First(key, "repeated")),
    ]


def plausible_days(scenario: Scenario) -> tuple[int, int]:
    """Return the first and the last plausible day of a row (UTC days since 1970-01-01)."""
    settings, epoch = scenario.validation, EPOCH.date()
    return (settings.earliest - epoch).days, (settings.latest - epoch).days - 1


def _label_checks(name: str, task: Task) -> list[RowCheck]:
    """Return the checks of a label; null means that it was not observed, which is not a fault."""
    column = label(name)
    checks = [RowCheck(f"label_not_finite:{name}", Between(column, -_FLOAT_MAX, _FLOAT_MAX))]
    if task.kind == "binary":
        checks.append(RowCheck(f"label_not_binary:{name}", OneOf(column, (0.0, 1.0))))
    elif task.range is not None:
        # Labels are float32: without the same rounding, a label equal to a limit such as 0.3 would be outside.
        low, high = (float(np.float32(limit)) for limit in task.range)
        checks.append(RowCheck(f"label_out_of_range:{name}", Between(column, low, high)))
    return checks


def quarantine_codes(
    interactions: pd.DataFrame, items: pd.DataFrame, checks: Sequence[RowCheck]
) -> tuple[pd.DataFrame, NDArray[np.int16]]:
    """Find each row's first broken check.

    Returns
    -------
    tuple
        The rows with the columns that the checks read (the day, whether the item is known, whether the row copies
        or repeats one that is good so far) and ``reason`` (category, null if good); and per row the position of the
        first broken check, -1 if none.
    """
    probe = interactions.reset_index(drop=True)
    # A float, so that a missing time has a missing day.
    probe[DAY] = np.floor((probe[TIME] - EPOCH) / pd.Timedelta(days=1))
    probe[_KNOWN] = probe[ITEM].isin(items[ITEM]) | probe[ITEM].isna()
    codes = np.full(len(probe), -1, dtype=np.int16)
    for code, check in enumerate(checks):
        if isinstance(check.rule, First):  # last: a good row must not be lost to an earlier copy that is bad
            check.rule.mark(probe, codes < 0)
        codes[(codes < 0) & check.rule.broken(probe)] = code
    probe[REASON] = pd.Categorical.from_codes(codes, categories=pd.Index([check.reason for check in checks]))
    return probe, codes


def _mask(values: pd.Series) -> Mask:
    return values.fillna(False).to_numpy(dtype=bool)
