"""Judging a log: every bad row is set aside with its reason, and a bad log is refused."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.columns import DAY, FILE, ITEM, PARTITION, REASON, TIME, USER, label
from mtl_tasks.errors import DataError
from mtl_tasks.events import read_log
from mtl_tasks.expectations import Expectation, judge
from mtl_tasks.sources import list_sources
from mtl_tasks.store import Payload
from mtl_tasks.tables import read_items
from mtl_tasks.validation import ValidationResult, quarantine_codes, row_checks, validate_log
from tests.logs import AS_OF, AS_OF_DAY, DAYS, DOCUMENT, tiny_items, tiny_log, tiny_scenario, write_log, write_partition

RATING, LIKE = label("rating"), label("like")
ITEMS = tiny_items().rename(columns={"film": ITEM})
FILES = [f"log/dt={day:%Y-%m-%d}/part-0.parquet" for day in pd.date_range("2013-05-01", periods=DAYS)]

# One way to break a row for each reason, on a row that is good otherwise.
SPOILERS: dict[str, tuple[str, Any]] = {
    "null_user": (USER, pd.NA),
    "null_item": (ITEM, pd.NA),
    "null_time": (TIME, pd.NaT),
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


def bad_log() -> pd.DataFrame:
    """Return a log with one row for every reason, several for some."""
    log = good_log()
    for row, reason in enumerate(SPOILERS):
        log = spoil(log, 3 * row, reason)
    log = spoil(spoil(log, 40, "label_not_finite:rating"), 41, "unknown_item")
    return repeat(repeat(log, 50), 50)


def validate(log: pd.DataFrame, **changes: Any) -> ValidationResult:
    scenario = tiny_scenario(**{"validation__max_bad_fraction": 0.5, **changes})
    return validate_log(log, ITEMS, scenario, AS_OF)


def test_a_good_log_passes_whole_with_canonical_columns() -> None:
    result = validate(good_log(), validation__max_bad_fraction=0)
    assert {name: str(dtype) for name, dtype in result.events.dtypes.items()} == {
        USER: "int64",
        ITEM: "int64",
        TIME: "datetime64[us, UTC]",
        DAY: "int32",
        RATING: "float32",
        LIKE: "float32",
    }
    pd.testing.assert_frame_equal(result.events.drop(columns=DAY), good_log().drop(columns=[FILE, PARTITION]))
    np.testing.assert_array_equal(result.events[DAY], good_log()[PARTITION])
    assert result.quarantine.empty


def test_a_log_on_disk_is_read_judged_and_cleaned(tmp_path: Path) -> None:
    write_log(tmp_path)
    write_partition(tmp_path, "2013-05-06", tiny_log().tail(10).assign(stars=[11, *[5] * 9]))
    scenario = tiny_scenario()
    files = list_sources(scenario, tmp_path, AS_OF_DAY)
    log = read_log(scenario, files, tmp_path)
    result = validate_log(log, read_items(scenario, files, tmp_path, log[ITEM]), scenario, AS_OF)
    assert result.quarantine[[FILE, REASON]].to_numpy().tolist() == [[FILES[-1], "label_out_of_range:rating"]]
    assert result.quarantine.loc[0, RATING] == 11
    assert len(result.events) == 59


def test_events_and_quarantine_can_be_stored() -> None:
    payload = Payload()
    result = validate(bad_log())
    for frame in (result.events, result.quarantine):
        payload.add_frame("frame", frame)
        stored = pd.read_parquet(io.BytesIO(payload.files["frame.parquet"]))
        pd.testing.assert_frame_equal(stored, frame)


def test_the_report_says_what_was_found() -> None:
    result = validate(bad_log())
    report = result.report
    assert report["success"] is True
    assert (report["rows_read"], report["rows_kept"]) == (62, 49)
    assert report["bad_fraction"] == pytest.approx(13 / 62)
    assert report["max_bad_fraction"] == 0.5
    assert report["quarantined"] == {
        **dict.fromkeys(SPOILERS, 1),
        "duplicate": 2,
        "unknown_item": 2,
        "label_not_finite:rating": 2,
    }
    assert (report["first_day"], report["last_day"]) == ("2013-05-01", "2013-05-06")
    assert report["max_event_time"] == "2013-05-06T12:09:00+00:00"
    ranges = [entry for entry in report["expectations"] if "label_out_of_range:rating" in entry["observed"]]
    assert ranges == [
        {
            "expectation": "expect_column_values_to_be_between",
            "column": RATING,
            "severity": "warning",
            "success": False,
            "observed": "3 of 62 rows (label_out_of_range:rating)",  # the infinite ones are out of range, too
            "unexpected": 3,
        }
    ]


def test_the_report_of_two_runs_is_the_same() -> None:
    assert validate(bad_log()).report == validate(bad_log()).report


def test_great_expectations_counts_the_very_rows_that_are_masked() -> None:
    checks = row_checks(tiny_scenario(), partitioned=True)
    probe, codes = quarantine_codes(bad_log(), ITEMS, checks)
    found = judge(probe, [check.expectation() for check in checks])
    for code, (check, outcome) in enumerate(zip(checks, found, strict=True)):
        assert outcome.unexpected == check.rule.broken(probe).sum() >= (codes == code).sum() > 0, check.reason
        assert not outcome.success


@pytest.mark.parametrize("reason", SPOILERS)
def test_a_bad_row_is_set_aside_with_its_reason(reason: str) -> None:
    result = validate(spoil(good_log(), 7, reason))
    assert result.quarantine[REASON].tolist() == [reason]
    expected = good_log().drop(index=7).drop(columns=[FILE, PARTITION]).reset_index(drop=True)
    pd.testing.assert_frame_equal(result.events.drop(columns=DAY), expected)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 59), st.sampled_from(list(SPOILERS))), max_size=12))
def test_only_spoiled_rows_are_set_aside_each_for_one_of_its_reasons(spoiled: list[tuple[int, str]]) -> None:
    log = good_log()
    for row, reason in spoiled:
        log = spoil(log, row, reason)
    checks = row_checks(tiny_scenario(), partitioned=True)
    _, codes = quarantine_codes(log, ITEMS, checks)
    last = {(row, SPOILERS[reason][0]): reason for row, reason in spoiled}  # a later value replaces an earlier one
    assert set(np.flatnonzero(codes >= 0)) == {row for row, _ in last}
    for row, code in enumerate(codes):
        if code >= 0:
            assert checks[code].reason in {reason for (spoiled_row, _), reason in last.items() if spoiled_row == row}


def test_the_first_failing_check_gives_the_reason() -> None:
    log = spoil(spoil(spoil(good_log(), 5, "label_out_of_range:rating"), 5, "unknown_item"), 5, "null_user")
    assert validate(log).quarantine[REASON].tolist() == ["null_user"]


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


def test_of_repeated_rows_the_first_is_kept() -> None:
    result = validate(repeat(good_log(), 50))
    assert result.quarantine[REASON].tolist() == ["duplicate"]
    assert len(result.events) == 60


def test_a_row_is_not_lost_to_an_earlier_copy_that_is_bad() -> None:
    log = repeat(good_log(), 50)
    log.loc[50, RATING] = np.inf
    result = validate(log)
    assert result.quarantine[REASON].tolist() == ["label_not_finite:rating"]
    assert len(result.events) == 60


def test_a_label_that_was_not_observed_is_no_fault() -> None:
    log = good_log()
    log.loc[:30, [RATING, LIKE]] = np.nan
    result = validate(log, validation__max_bad_fraction=0)
    assert result.events[RATING].isna().sum() == 31


def test_a_label_equal_to_a_limit_that_float32_cannot_hold_is_in_range() -> None:
    scenario = tiny_scenario(tasks={"rating": {"kind": "regression", "label": "stars", "range": [0.1, 0.3]}})
    log = good_log().drop(columns=LIKE)
    log[RATING] = np.float32(0.3)
    assert validate_log(log, ITEMS, scenario, AS_OF).quarantine.empty


def test_without_an_item_table_any_item_is_known() -> None:
    result = validate(spoil(good_log(), 7, "unknown_item"), source__items=None)
    assert result.quarantine.empty


def test_in_a_single_file_the_rows_from_as_of_on_are_the_future_and_no_fault() -> None:
    as_of = AS_OF - pd.Timedelta(days=2)
    result = validate_log(good_log().drop(columns=PARTITION), ITEMS, tiny_scenario(), as_of)
    assert result.events[TIME].max() < as_of
    assert (len(result.events), len(result.quarantine), result.report["rows_read"]) == (40, 0, 40)


def test_a_bad_row_behind_future_ones_keeps_its_reason_and_content() -> None:
    log = spoil(good_log(), 57, "label_out_of_range:rating").drop(columns=PARTITION)
    log.loc[55, TIME] = AS_OF
    log = log.iloc[::-1]
    result = validate(log)
    assert result.quarantine[[USER, RATING, REASON]].to_numpy().tolist() == [[107, 10.5, "label_out_of_range:rating"]]
    assert len(result.events) == 58


def test_too_many_bad_rows_fail_with_reasons_example_and_remedy() -> None:
    log = repeat(spoil(spoil(good_log(), 12, "label_out_of_range:rating"), 13, "label_out_of_range:rating"), 50)
    with pytest.raises(
        DataError,
        match=r"^tiny: 3 of 61 rows are bad \(4\.918%, the limit is 1\.000%\): label_out_of_range:rating 2,"
        r" duplicate 1; for example user_id 102, item_id 4, event_time 2013-05-02 12:02:00\+00:00,"
        r" label:rating 10\.5, label:like 1\.0"
        rf" \(label_out_of_range:rating\) in {FILES[1]}: mend the log, or raise validation\.max_bad_fraction in"
        r" include/scenarios/tiny\.yaml$",
    ):
        validate(log, validation__max_bad_fraction=0.01)


@pytest.mark.parametrize("bad", [1, 3, 6, 12])
def test_as_many_bad_rows_as_tolerated_pass_and_one_more_fails(bad: int) -> None:
    log = good_log()
    log.loc[: bad - 1, RATING] = 11
    assert len(validate(log, validation__max_bad_fraction=bad / 60).quarantine) == bad
    with pytest.raises(DataError, match=f"{bad} of 60 rows are bad"):
        validate(log, validation__max_bad_fraction=(bad - 0.01) / 60)


def test_a_log_without_a_good_row_is_refused() -> None:
    with pytest.raises(DataError, match="60 of 60 rows are bad"):
        validate(good_log().assign(**{RATING: np.float32(11)}), validation__max_bad_fraction=0.999)


@pytest.mark.parametrize(
    "make", [lambda log: log.iloc[:0], lambda log: log.drop(columns=PARTITION).assign(event_time=AS_OF)]
)
def test_a_log_without_an_event_before_as_of_is_refused(make: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(DataError, match="log: no event before 2013-05-07"):
        validate(make(good_log()))


def test_a_stale_log_is_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"log: stale: the newest event before 2013-05-11 is of 2013-05-06 12:09 UTC, 4\.5 days old,"
        r" the limit is 2: load .* or raise validation\.max_age_days in include/scenarios/tiny\.yaml$",
    ):
        validate_log(good_log(), ITEMS, tiny_scenario(), AS_OF + pd.Timedelta(days=4))


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


def test_string_ids_are_judged_alike() -> None:
    log = good_log().astype({USER: "str", ITEM: "str"})
    log.loc[3, ITEM], log.loc[4, USER] = "999", None
    result = validate_log(log, ITEMS.astype({ITEM: "str"}), tiny_scenario(), AS_OF)
    assert result.quarantine[REASON].tolist() == ["unknown_item", "null_user"]
    assert (str(result.events[USER].dtype), str(result.events[ITEM].dtype)) == ("str", "str")


def test_a_check_that_cannot_run_is_not_a_success() -> None:
    expectation = Expectation("ExpectColumnValuesToNotBeNull", {"column": "nowhere"}, "warning")
    [outcome] = judge(good_log(), [expectation])
    assert not outcome.success
    assert outcome.error is not None
    assert "nowhere" in outcome.error


def test_great_expectations_says_nothing_in_our_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        validate(good_log())
    assert {record.name.split(".")[0] for record in caplog.records} == {"mtl_tasks"}


def test_great_expectations_is_not_imported_before_it_runs() -> None:
    code = "import sys, mtl_tasks.validation; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_label_on_the_log_scale_is_judged_as_read_and_handed_on_as_its_logarithm() -> None:
    rating = {"kind": "regression", "label": "stars", "range": [0, 10], "scale": "log"}
    log = good_log()
    log.loc[0, RATING] = 10.5
    result = validate(log, tasks__rating=rating)
    assert result.quarantine[[REASON, RATING]].to_dict("list") == {
        REASON: ["label_out_of_range:rating"],
        RATING: [10.5],
    }
    np.testing.assert_allclose(result.events[RATING], np.log1p(log[RATING].iloc[1:]), rtol=1e-6)


def test_items_that_are_not_in_the_table_can_be_allowed() -> None:
    log = spoil(good_log(), 3, "unknown_item")
    assert validate(log).report["quarantined"] == {"unknown_item": 1}
    allowed = validate(log, source__items={**DOCUMENT["source"]["items"], "missing": "allow"})
    assert allowed.quarantine.empty
    assert (allowed.events[ITEM] == 999).sum() == 1
