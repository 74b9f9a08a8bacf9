"""The day of a run: parsed once, compared, and passed on as an ISO date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mtl_tasks.core.days import EPOCH, AsOf
from mtl_tasks.core.errors import ConfigError

TODAY = AsOf.parse("2026-01-01")


@given(st.dates(min_value=date(1900, 1, 1)))
def test_a_date_has_three_forms_that_agree(day: date) -> None:
    as_of = AsOf.parse(str(day))
    assert as_of.iso == str(as_of) == str(day)
    assert as_of.timestamp == pd.Timestamp(str(day), tz="UTC")
    assert as_of == AsOf(as_of.day) == AsOf.of(as_of.timestamp)
    assert as_of.day == (as_of.timestamp - EPOCH).days


def test_the_day_of_a_time_is_its_utc_day() -> None:
    assert AsOf.of(datetime(2013, 8, 25, 23, 59, tzinfo=UTC)).iso == "2013-08-25"
    assert AsOf.of(datetime(2013, 8, 25, 1, tzinfo=timezone(timedelta(hours=2)))).iso == "2013-08-24"


def test_days_are_ordered() -> None:
    assert AsOf.parse("2013-08-31") < AsOf.parse("2013-09-01")


@pytest.mark.faults(11)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "as_of is missing: give a date"),
        ("25.8.2013", "as_of '25.8.2013' is not a date: write YYYY-MM-DD"),
        ("2013-02-30", "as_of '2013-02-30' is not a date: day is out of range"),
        ("0000-01-01", "as_of '0000-01-01' is not a date"),
        ("1899-12-31", "as_of 1899-12-31 is before 1900-01-01: take a day of the log"),
        ("2026-01-02", r"as_of 2026-01-02 is in the future \(today is 2026-01-01\)"),
    ],
)
def test_a_wrong_date_is_refused(text: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AsOf.parse(text, TODAY)


def test_today_is_not_in_the_future() -> None:
    assert AsOf.parse("2026-01-01", TODAY) == TODAY


def test_a_document_holds_it_as_an_iso_date() -> None:
    adapter = TypeAdapter(AsOf)
    assert adapter.dump_python(TODAY, mode="json") == "2026-01-01"
    assert adapter.dump_json(TODAY) == b'"2026-01-01"'
    assert adapter.validate_python("2026-01-01") == adapter.validate_json('"2026-01-01"') == TODAY
    with pytest.raises(ValidationError, match="as_of '2013-02-30' is not a date"):
        adapter.validate_python("2013-02-30")
    with pytest.raises(ValidationError, match="instance of AsOf"):
        adapter.validate_python(20130825)
