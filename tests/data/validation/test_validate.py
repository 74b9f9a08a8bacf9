"""Judging a log: every bad row is set aside with its reason, and a bad log is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.columns import DAY, FILE, ITEM, PARTITION, REASON, TIME, USER
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.validation import validate_interactions
from mtl_tasks.store.artifacts import Payload
from tests.data.validation.sample import FILES, ITEMS, LIKE, RATING, SPOILERS, bad_log, good_log, spoil, validate
from tests.support.logs import AS_OF, AS_OF_DAY, list_sources, tiny_log, tiny_scenario, write_log, write_partition


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
    result = validate_interactions(log, read_items(scenario, files, tmp_path, log[ITEM]), scenario, AS_OF)
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
    assert (report["rows_read"], report["rows_kept"]) == (63, 48)
    assert report["bad_fraction"] == pytest.approx(15 / 63)
    assert report["max_bad_fraction"] == 0.5
    assert report["quarantined"] == {
        **dict.fromkeys(SPOILERS, 1),
        "duplicate": 2,
        "conflicting_duplicate": 1,
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
            "observed": "3 of 63 rows (label_out_of_range:rating)",  # the infinite ones are out of range, too
            "unexpected": 3,
            "arguments": {"min_value": 0.0, "max_value": 10.0},
        }
    ]


def test_the_report_of_two_runs_is_the_same() -> None:
    assert validate(bad_log()).report == validate(bad_log()).report


@pytest.mark.faults(12)
def test_in_a_single_file_the_rows_from_as_of_on_are_the_future_and_no_fault() -> None:
    as_of = AS_OF - pd.Timedelta(days=2)
    result = validate_interactions(good_log().drop(columns=PARTITION), ITEMS, tiny_scenario(), as_of)
    assert result.events[TIME].max() < as_of
    assert (len(result.events), len(result.quarantine), result.report["rows_read"]) == (40, 0, 40)


def test_a_bad_row_behind_future_ones_keeps_its_reason_and_content() -> None:
    log = spoil(good_log(), 57, "label_out_of_range:rating").drop(columns=PARTITION)
    log.loc[55, TIME] = AS_OF
    log = log.iloc[::-1]
    result = validate(log)
    assert result.quarantine[[USER, RATING, REASON]].to_numpy().tolist() == [[107, 10.5, "label_out_of_range:rating"]]
    assert len(result.events) == 58


def test_a_log_without_a_good_row_is_refused() -> None:
    with pytest.raises(DataError, match="60 of 60 rows are bad"):
        validate(good_log().assign(**{RATING: np.float32(11)}), validation__max_bad_fraction=0.999)


@pytest.mark.parametrize(
    "make", [lambda log: log.iloc[:0], lambda log: log.drop(columns=PARTITION).assign(event_time=AS_OF)]
)
def test_a_log_without_an_event_before_as_of_is_refused(make: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(DataError, match="log: no event before 2013-05-07"):
        validate(make(good_log()))


def test_string_ids_are_judged_alike() -> None:
    log = good_log().astype({USER: "str", ITEM: "str"})
    log.loc[3, ITEM], log.loc[4, USER] = "999", None
    result = validate_interactions(log, ITEMS.astype({ITEM: "str"}), tiny_scenario(), AS_OF)
    assert result.quarantine[REASON].tolist() == ["unknown_item", "null_user"]
    assert (str(result.events[USER].dtype), str(result.events[ITEM].dtype)) == ("str", "str")


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
