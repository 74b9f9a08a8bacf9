"""Of the log as a whole: what is refused, what is a warning, and what the message says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.columns import PARTITION, TIME, USER
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.validation import validate_interactions
from tests.data.validation.sample import FILES, ITEMS, LIKE, RATING, good_log, repeat, spoil, validate
from tests.support.logs import AS_OF, AS_OF_DAY, DAYS, tiny_scenario


@pytest.mark.parametrize("severity", ["warn", "refuse"])
def test_days_missing_in_the_middle_are_named(severity: str, caplog: pytest.LogCaptureFixture) -> None:
    log = good_log()
    log = log[~(log[PARTITION] - AS_OF_DAY + DAYS).isin([2, 3])]
    named = r"log: no row on 2 of the 6 days from 2013-05-01 to 2013-05-06: 2013-05-03, 2013-05-04: load them"
    if severity == "refuse":
        with pytest.raises(DataError, match=f"^{named}"):
            validate(log, validation__missing_days=severity)
    else:
        with caplog.at_level(logging.WARNING):
            assert validate(log, validation__missing_days=severity).report["success"]
        assert re.search(named, caplog.text)


def test_a_log_without_a_gap_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    validate(good_log(), validation__missing_days="refuse")
    assert "no row on" not in caplog.text


@pytest.mark.faults(14)
def test_too_many_bad_rows_fail_with_reasons_example_and_remedy() -> None:
    log = repeat(spoil(spoil(good_log(), 12, "label_out_of_range:rating"), 13, "label_out_of_range:rating"), 50)
    with pytest.raises(
        DataError,
        match=r"^tiny: 3 of 61 rows are bad \(4\.918%, the limit is 1\.000%\): label_out_of_range:rating 2,"
        r" duplicate 1; for example user_id 102, item_id 4, event_time 2013-05-02 12:02:00\+00:00,"
        r" label:rating 10\.5, label:like 1\.0"
        rf" \(label_out_of_range:rating\) in {FILES[1]}: fix the log, or raise validation\.max_bad_fraction in"
        r" include/scenarios/tiny\.yaml$",
    ):
        validate(log, validation__max_bad_fraction=0.01)


@pytest.mark.faults(14)
@pytest.mark.parametrize("bad", [1, 3, 6, 12])
def test_as_many_bad_rows_as_tolerated_pass_and_one_more_fails(bad: int) -> None:
    log = good_log()
    log.loc[: bad - 1, RATING] = 11
    assert len(validate(log, validation__max_bad_fraction=bad / 60).quarantine) == bad
    with pytest.raises(DataError, match=f"{bad} of 60 rows are bad"):
        validate(log, validation__max_bad_fraction=(bad - 0.01) / 60)


def test_a_stale_log_is_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"log: stale: the newest event before 2013-05-11 is of 2013-05-06 12:09 UTC, 4\.5 days old,"
        r" the limit is 2: load .* or raise validation\.max_age_days in include/scenarios/tiny\.yaml$",
    ):
        validate_interactions(good_log(), ITEMS, tiny_scenario(), AS_OF + pd.Timedelta(days=4))


def test_bad_rows_cannot_make_a_stale_log_fresh() -> None:
    log = spoil(good_log(), 3, "outside_partition")
    log = log[(log[PARTITION] < AS_OF_DAY - 4)]
    with pytest.raises(DataError, match="stale: the newest event before 2013-05-07 is of 2013-05-02"):
        validate(log)


def test_a_thin_last_day_is_a_warning_unless_the_scenario_says_critical() -> None:
    log = good_log().head(51)
    assert validate(log).report["expectations"][-1] == {
        "expectation": "expect_table_row_count_to_be_between",
        "column": None,
        "severity": "warning",
        "success": False,
        "observed": "1 rows on 2013-05-06; 10.0 a day in the 5 days before",
        "unexpected": 0,
        "arguments": {"min_value": 2},
    }
    with pytest.raises(
        DataError, match=r"log: 2013-05-06 has 1 rows, the 5 days before it 10\.0 a day, the limit is 0\.2"
    ):
        validate(log, validation__volume_severity="critical")


def test_a_log_of_one_day_has_no_volume_to_compare_with() -> None:
    log = good_log().tail(10)
    assert "row_count" not in validate(log).report["expectations"][-1]["expectation"]


def test_a_label_column_without_a_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"rating: column 'stars' \(tasks\.rating\.label .*\) has no value in any row"):
        validate(good_log().assign(**{RATING: np.float32("nan")}))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda log: log.drop(columns=LIKE), "the log has no column 'label:like'"),
        (lambda log: log.astype({RATING: "float64"}), "column 'label:rating' is float64, expected float32"),
        (lambda log: log.astype({USER: "float64"}), "column 'user_id' is float64, expected int64 or Int64 or str"),
        (
            lambda log: log.assign(event_time=log[TIME].dt.tz_localize(None)),
            "'event_time' is datetime64.us., expected datetime64.us, UTC.",
        ),
    ],
)
def test_a_table_that_read_log_would_not_make_is_refused(
    make: Callable[[pd.DataFrame], pd.DataFrame], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        validate(make(good_log()))
