"""Of each row: whether it is set aside, and for which reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.columns import DAY, FILE, ITEM, PARTITION, REASON, TIME
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.validation import validate_interactions
from mtl_tasks.data.validation.expectations import judge
from mtl_tasks.data.validation.row_checks import quarantine_codes, row_checks
from tests.data.validation.sample import (
    ITEMS,
    LIKE,
    RATING,
    SPOILERS,
    bad_log,
    contradict,
    good_log,
    repeat,
    spoil,
    validate,
)
from tests.support.logs import AS_OF, DOCUMENT, tiny_scenario


def test_great_expectations_counts_the_very_rows_that_are_masked() -> None:
    checks = row_checks(tiny_scenario(), partitioned=True)
    probe, codes = quarantine_codes(bad_log(), ITEMS, checks)
    found = judge(probe, [check.expectation() for check in checks])
    for code, (check, outcome) in enumerate(zip(checks, found, strict=True)):
        assert outcome.unexpected == check.rule.broken(probe).sum() >= (codes == code).sum() > 0, check.reason
        assert not outcome.success


@pytest.mark.faults(14)
@pytest.mark.parametrize("reason", SPOILERS)
def test_a_bad_row_is_set_aside_with_its_reason(reason: str) -> None:
    result = validate(spoil(good_log(), 7, reason))
    assert result.quarantine[REASON].tolist() == [reason]
    expected = good_log().drop(index=7).drop(columns=[FILE, PARTITION]).reset_index(drop=True)
    pd.testing.assert_frame_equal(result.events.drop(columns=DAY), expected)


@settings(max_examples=30)
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


def test_exact_copies_are_left_out_and_counted_whatever_their_share(caplog: pytest.LogCaptureFixture) -> None:
    log = pd.concat([good_log(), good_log(), good_log()], ignore_index=True)
    result = validate(log, validation__duplicates="drop", validation__max_bad_fraction=0)
    pd.testing.assert_frame_equal(result.events, validate(good_log()).events)
    assert result.quarantine.empty
    assert result.report["duplicates"] == {"rows": 120, "rule": "drop"}
    assert (result.report["rows_read"], result.report["bad_fraction"]) == (180, 0)
    assert "120 of 180 rows (duplicate, left out) fail" in caplog.text


def test_exact_copies_are_refused_where_the_scenario_says_so() -> None:
    problem = (
        r"^tiny: 1 of 61 rows are exact copies of another .*validation\.duplicates to drop in include/scenarios/tiny"
    )
    with pytest.raises(DataError, match=problem):
        validate(repeat(good_log(), 50), validation__duplicates="refuse")
    assert len(validate(good_log(), validation__duplicates="refuse").events) == 60


@pytest.mark.parametrize("rule", ["drop", "quarantine"])
def test_a_copy_with_another_label_is_no_exact_one_and_set_aside(rule: str) -> None:
    log = repeat(contradict(good_log(), 50), 50)
    result = validate(log, validation__duplicates=rule)
    assert result.quarantine[REASON].tolist() == ["conflicting_duplicate", "duplicate"][: 1 + (rule == "quarantine")]
    assert len(result.events) == 60


@pytest.mark.faults(15)
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


@pytest.mark.faults(15)
def test_a_label_equal_to_a_limit_that_float32_cannot_hold_is_in_range() -> None:
    scenario = tiny_scenario(tasks={"rating": {"kind": "regression", "label": "stars", "range": [0.1, 0.3]}})
    log = good_log().drop(columns=LIKE)
    log[RATING] = np.float32(0.3)
    assert validate_interactions(log, ITEMS, scenario, AS_OF).quarantine.empty


def test_without_an_item_table_any_item_is_known() -> None:
    result = validate(spoil(good_log(), 7, "unknown_item"), source__items=None)
    assert result.quarantine.empty


def test_items_that_are_not_in_the_table_can_be_allowed() -> None:
    log = spoil(good_log(), 3, "unknown_item")
    assert validate(log).report["quarantined"] == {"unknown_item": 1}
    allowed = validate(log, source__items={**DOCUMENT["source"]["items"], "missing": "allow"})
    assert allowed.quarantine.empty
    assert (allowed.events[ITEM] == 999).sum() == 1


@pytest.mark.parametrize("time", ["0001-01-02", "1970-01-20T12:00", "1989-12-31T23:59:59.999999", "2100-01-01"])
def test_a_time_that_no_row_can_have_is_set_aside_also_in_a_single_file(time: str) -> None:
    log = good_log().drop(columns=PARTITION)
    log.loc[7, TIME] = pd.Timestamp(time, tz="UTC")
    result = validate(log)
    assert result.quarantine[REASON].tolist() == ["implausible_time"]
    assert len(result.events) == 59


@pytest.mark.parametrize("time", ["1990-01-01", "2099-12-31T23:59:59.999999"])
def test_the_span_of_plausible_times_is_the_scenarios(time: str) -> None:
    log = good_log().drop(columns=PARTITION)
    log.loc[7, TIME] = pd.Timestamp(time, tz="UTC")
    assert validate(log).quarantine.empty  # the later one is of the future, which is no fault
    limits = {"validation__earliest": "2013-01-01", "validation__latest": "2014-01-01"}
    assert validate(log, **limits).quarantine[REASON].tolist() == ["implausible_time"]


def test_times_of_another_unit_are_named_with_the_keys() -> None:
    log = good_log().drop(columns=PARTITION)
    log.loc[::3, TIME] = pd.Timestamp("9999-12-31", tz="UTC")
    problem = r"implausible_time 20; .*validation\.earliest \(1990-01-01\).*of another unit than source\.time_unit s"
    with pytest.raises(DataError, match=problem):
        validate(log, validation__max_bad_fraction=0.1, source__time_unit="s")
