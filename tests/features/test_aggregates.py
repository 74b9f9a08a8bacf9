"""Sums over days are exact, refuse what they could not hold, and know nothing when there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.errors import DataError
from mtl_tasks.features.aggregates import DailySums, expand

finite = st.floats(-1e6, 1e6, allow_nan=False)
table = st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), finite), min_size=1, max_size=30)


def sums_of(records: list[tuple[int, int, float]]) -> DailySums:
    keys, days, values = (np.array(part) for part in zip(*records, strict=True))
    return DailySums(keys.astype(np.int64), days.astype(np.int64), {"value": values.astype(np.float64)})


def rounded(value: float) -> float:
    return round(value * 2**20) / 2**20


@given(records=table, key=st.integers(0, 5), first=st.integers(-8, 8), length=st.integers(0, 10))
def test_between_counts_and_adds_the_days_asked_for(
    records: list[tuple[int, int, float]], key: int, first: int, length: int
) -> None:
    found = sums_of(records).between(np.array([key]), np.array([first]), np.array([first + length]))
    mine = [rounded(value) for k, day, value in records if k == key and first <= day < first + length]
    assert found.count.tolist() == [len(mine)]
    assert found.total("value").tolist() == [sum(int(value * 2**20) for value in mine) / 2**20]


@given(records=table, later=table)
def test_later_events_leave_earlier_answers_equal_to_the_bit(
    records: list[tuple[int, int, float]], later: list[tuple[int, int, float]]
) -> None:
    keys, day = np.arange(4), np.full(4, 6)
    more = [*records, *((key, 6 + abs(day), value) for key, day, value in later)]
    for name in ("total", "mean"):
        alone, joined = (getattr(sums_of(part).before(keys, day), name)("value") for part in (records, more))
        assert np.array_equal(alone, joined, equal_nan=True)


def test_first_last_mean_and_spread_of_nothing_are_unknown() -> None:
    days = np.array([3, 5])
    sums = DailySums(np.array([1, 1]), days, {"value": np.array([2.0, 4.0]), "square": np.array([4.0, 16.0])})
    found = sums.before(np.array([1, 1, 0]), np.array([6, 5, 6]))
    np.testing.assert_equal(found.first_day(), [3, 3, np.nan])
    np.testing.assert_equal(found.last_day(), [5, 3, np.nan])
    np.testing.assert_equal(found.mean("value"), [3, 2, np.nan])
    np.testing.assert_equal(found.deviation("value", "square"), [1, np.nan, np.nan])
    np.testing.assert_allclose(found.damped_mean("value", 10.0, 2.0), [26 / 4, 22 / 3, 10.0])


def test_an_empty_table_answers() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    found = DailySums(nothing, nothing, {"value": np.zeros(0)}).before(np.array([0]), np.array([4]))
    assert found.count.tolist() == [0]
    assert np.isnan(found.last_day()).all()


@pytest.mark.parametrize("value", [5e12, np.nan, np.inf])
def test_values_beyond_exact_sums_are_refused_by_name(value: float) -> None:
    with pytest.raises(
        DataError, match=r"price: magnitudes add up to .*, the limit of exact sums is 4.4e\+12: rescale"
    ):
        DailySums(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), {"price": np.array([value])})


def test_expand_lists_ranges_and_skips_empty_ones() -> None:
    owner, position = expand(np.array([4, 7, 0]), np.array([6, 7, 1]))
    assert owner.tolist() == [0, 0, 2]
    assert position.tolist() == [4, 5, 0]
