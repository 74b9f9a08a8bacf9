"""Every expectation of a log is one sentence with its column, its bounds and what was seen."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_tasks.report.expectation_text import seen, sentence
from mtl_tasks.store.documents.data import ExpectationResult


def check(name: str, column: str | None, observed: str = "0 of 10 rows (why)", **arguments: Any) -> ExpectationResult:
    return ExpectationResult(
        expectation=f"expect_{name}",
        column=column,
        severity="warning",
        success=True,
        observed=observed,
        unexpected=0,
        arguments=arguments,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            check("column_values_to_be_between", "label:rating", min_value=0.0, max_value=10.0),
            "rating is between 0 and 10 or has no value",
        ),
        (
            check("column_values_to_be_between", "context:price", min_value=-3.4e38, max_value=3.4e38),
            "context price is a finite number or has no value",
        ),
        (
            check("column_values_to_be_between", "day", min_value=7305, max_value=47481),
            "The day of every row is between 1990-01-01 and 2099-12-31",
        ),
        (check("column_values_to_be_in_set", "label:buy", value_set=[0.0, 1.0]), "buy is 0 or 1 or has no value"),
        (check("column_values_to_be_in_set", "copied", value_set=[False]), "No row is an exact copy of another"),
        (check("column_pair_values_to_be_equal", None), "The day of every row is that of its folder"),
        (check("column_values_to_be_null", "reason", mostly=0.999), "At most 0.1 % of the rows are set aside"),
        (check("column_type_to_be", "user_id", type_="int64"), "user_id is of the type int64"),
        (check("column_unique_value_count_to_be_between", "day", min_value=63), "There are rows on at least 63 days"),
        (check("table_row_count_to_be_between", None, min_value=1588), "The last day has at least 1,588 rows"),
        (
            check("column_max_to_be_between", "event_time", min_value="2024-03-02T00:00:00+00:00"),
            "The newest event_time is 2024-03-02T00:00:00+00:00 or later",
        ),
        (check("something_new", "label:buy"), "buy something new"),
    ],
)
def test_an_expectation_is_a_sentence(given: ExpectationResult, expected: str) -> None:
    assert sentence(given) == expected


def test_a_run_from_before_bounds_were_kept_has_sentences_without_them() -> None:
    assert sentence(
        check("column_values_to_be_between", "label:rating", "0 of 9 rows (label_out_of_range:rating)")
    ) == ("rating is within its bounds")
    finite = check("column_values_to_be_between", "label:rating", "0 of 9 rows (label_not_finite:rating)")
    assert sentence(finite) == "rating is a finite number or has no value"
    assert sentence(check("table_row_count_to_be_between", None)) == "The last day has enough rows"


def test_what_was_seen_is_a_value_or_the_number_of_rows() -> None:
    assert seen(check("column_values_to_not_be_null", "user_id", "3 of 1,200 rows (null_user)")) == "1,200 rows"
    assert seen(check("column_type_to_be", "user_id", "int64")) == "int64"
    assert seen(check("column_to_exist", "user_id", "")) == "present"
