"""Sentences for the expectations of a log, as Great Expectations names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from mtl_tasks.core.columns import DAY
from mtl_tasks.store.documents.data import ExpectationResult

_FLOAT_MAX: Final = 3e38  # bounds beyond it only exclude values that are not finite
_FLAGS: Final = {  # columns that validation adds to mark rows
    "known_item": "Every item of the log is in the item table",
    "copied": "No row is an exact copy of another",
    "repeated": "No two rows have the same user, item and time",
}
_SEEN: Final = re.compile(r"^[\d,]+ of [\d,]+ rows(?: \((?P<reason>.*)\))?$")


def sentence(check: ExpectationResult) -> str:
    """Return an expectation as one sentence with its column and bounds, without a period.

    >>> sentence(ExpectationResult(expectation="expect_column_values_to_not_be_null", column="user_id",
    ...     severity="warning", success=True, observed="", unexpected=0))
    'user_id has a value in every row'
    """
    words = _SENTENCES.get(check.expectation)
    if words is None:
        return f"{_column(check.column)} {check.expectation.removeprefix('expect_').replace('_', ' ')}"
    return words(check, check.arguments)


def seen(check: ExpectationResult) -> str:
    """Return the observed value, without the count of failed rows, which has a column of its own."""
    if check.rows is None:
        return check.observed or ("present" if check.success else "absent")
    return f"{check.rows:,} rows"


def _between(check: ExpectationResult, bounds: Mapping[str, Any]) -> str:
    column, low, high = _column(check.column), bounds.get("min_value"), bounds.get("max_value")
    if low is not None and high is not None and min(abs(low), abs(high)) > _FLOAT_MAX:
        return f"{column} is a finite number or has no value"
    if check.column == DAY and low is not None and high is not None:
        return f"The day of every row is between {_date(low)} and {_date(high)}"
    if low is None or high is None:  # from before bounds were kept
        reason = _SEEN.match(check.observed)
        finite = reason is not None and (reason["reason"] or "").partition(":")[0].endswith("not_finite")
        return f"{column} is a finite number or has no value" if finite else f"{column} is within its bounds"
    return f"{column} is between {low:g} and {high:g} or has no value"


def _in_set(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    if check.column in _FLAGS:
        return _FLAGS[check.column]
    allowed = [
        f"{value:g}" if isinstance(value, int | float) else str(value) for value in arguments.get("value_set", ())
    ]
    values = " or ".join(allowed) if allowed else "one of the allowed values"
    return f"{_column(check.column)} is {values} or has no value"


def _not_null(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    return f"{_column(check.column)} has a value in every row"


def _null(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    share = arguments.get("mostly")
    most = "" if share is None else f" {100 * (1 - share):.4g} % of"
    return f"At most{most or ' the allowed share of'} the rows are set aside"


def _pair(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    return "The day of every row is that of its folder"


def _exists(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    return f"The log has a column {_column(check.column)}"


def _type(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    wanted = arguments.get("type_")
    return f"{_column(check.column)} is of the type {wanted}" if wanted else f"{_column(check.column)} has its type"


def _share(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    return f"{_column(check.column)} has a value in some row (seen: share of the rows with one)"


def _newest(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    oldest = arguments.get("min_value")
    return f"The newest {_column(check.column)} is {oldest} or later" if oldest else "The newest event is recent enough"


def _distinct(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    least = arguments.get("min_value")
    return f"There are rows on at least {least:,} days" if least else "There are rows on every day"


def _row_count(check: ExpectationResult, arguments: Mapping[str, Any]) -> str:
    least = arguments.get("min_value")
    return f"The last day has at least {least:,} rows" if least else "The last day has enough rows"


def _column(name: str | None) -> str:
    """Return a column's name without the kind that validation puts before it.

    >>> _column("label:rating"), _column("context:price")
    ('rating', 'context price')
    """
    return (name or "the log").removeprefix("label:").replace("context:", "context ")


def _date(day: float) -> str:
    return (date(1970, 1, 1) + timedelta(days=int(day))).isoformat()


_SENTENCES: Final[dict[str, Callable[[ExpectationResult, Mapping[str, Any]], str]]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_null": _null,
    "expect_column_pair_values_to_be_equal": _pair,
    "expect_column_to_exist": _exists,
    "expect_column_type_to_be": _type,
    "expect_column_values_to_be_of_type": _type,
    "expect_column_proportion_of_non_null_values_to_be_between": _share,
    "expect_column_max_to_be_between": _newest,
    "expect_column_unique_value_count_to_be_between": _distinct,
    "expect_table_row_count_to_be_between": _row_count,
}
