"""Running sums are exact, refuse what they could not hold, and know nothing when there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.core.errors import DataError
from mtl_tasks.features.running_sums import SMALL_SPACE, Aggregate, KeySpace, RunningSums, Timeline, expand

KEYS = 4
finite = st.floats(-1e6, 1e6, allow_nan=False)
table = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 9), finite), min_size=1, max_size=30)
Record = tuple[int, int, float]


def sums_of(records: list[Record], day: int, windows: tuple[int, ...] = ()) -> RunningSums:
    """Return the sums of the records before a day."""
    keys, days, values = (np.array(part) for part in zip(*sorted(records, key=lambda one: one[1]), strict=True))
    sums = RunningSums(KeySpace({"key": KEYS}), ("value",), windows)
    for today, place in Timeline(days).until(day):
        sums.advance(today)
        sums.add(today, keys[place], {"value": values[place].astype(np.float64)})
    sums.advance(day)
    return sums


def rounded(value: float) -> float:
    return round(value * 2**20) / 2**20


@given(records=table, key=st.integers(0, KEYS), day=st.integers(0, 12), length=st.integers(1, 10))
def test_the_days_asked_for_are_counted_and_added(records: list[Record], key: int, day: int, length: int) -> None:
    sums, asked = sums_of(records, day, (length,)), np.array([key])
    for found, first in ((sums.ever(asked), 0), (sums.last(asked, length), day - length)):
        mine = [rounded(value) for k, then, value in records if k == key and first <= then < day]
        assert found.count.tolist() == [len(mine)]
        assert found.total("value").tolist() == [sum(int(value * 2**20) for value in mine) / 2**20]


@given(records=table, steps=st.lists(st.integers(0, 12), max_size=5))
def test_the_steps_in_which_a_day_is_reached_do_not_matter(records: list[Record], steps: list[int]) -> None:
    keys = np.arange(KEYS)
    sums = RunningSums(KeySpace({"key": KEYS}), ("value",), (3,))
    ordered = sorted(records, key=lambda one: one[1])
    days = np.array([day for _, day, _ in ordered])
    timeline = Timeline(days)
    for step in sorted([*steps, 12]):
        for today, place in timeline.until(step):
            sums.advance(today)
            part = ordered[place]
            sums.add(today, np.array([key for key, *_ in part]), {"value": np.array([value for *_, value in part])})
        sums.advance(step)
    at_once = sums_of(records, 12, (3,))
    for made in ("ever", "last"):
        found = [getattr(one, made)(keys, *([3] if made == "last" else [])).total("value") for one in (sums, at_once)]
        assert np.array_equal(*found)


def test_first_last_mean_and_spread_of_nothing_are_unknown() -> None:
    sums = RunningSums(KeySpace({"key": 2}), ("value", "square"), dated=True)
    for day, value in ((3, 2.0), (5, 4.0)):
        sums.add(day, np.array([1]), {"value": np.array([value]), "square": np.array([value**2])})
    found = sums.ever(np.array([1, 0]))
    np.testing.assert_equal(found.first_day(), [3, np.nan])
    np.testing.assert_equal(found.last_day(), [5, np.nan])
    np.testing.assert_equal(found.mean("value"), [3, np.nan])
    np.testing.assert_equal(found.deviation("value", "square"), [1, np.nan])
    np.testing.assert_allclose(found.damped_mean("value", 10.0, 2.0), [26 / 4, 10.0])


def test_one_event_has_no_spread() -> None:
    sums = RunningSums(KeySpace({"key": 1}), ("value", "square"))
    sums.add(0, np.array([0]), {"value": np.array([2.0]), "square": np.array([4.0])})
    assert np.isnan(sums.ever(np.array([0])).deviation("value", "square")).all()


def pairs_of(users: int, told: list[tuple[int, int]]) -> KeySpace:
    """Pairs of a user and one of ten kinds."""
    pairs = KeySpace({"user": users, "kind": 10})
    pairs.learn(*np.array(told, dtype=np.int64).reshape(-1, 2).T)
    return pairs


LARGE = SMALL_SPACE // 10 + 1


@pytest.mark.parametrize("users", [100, LARGE])
def test_what_was_never_met_has_an_empty_place(users: int) -> None:
    pairs = pairs_of(users, [(0, 7), (0, 3), (0, 7)])
    sums = RunningSums(pairs)
    sums.add(0, pairs.positions(np.array([0, 0]), np.array([7, 7])))
    found: Aggregate = sums.ever(pairs.positions(np.array([0, 0, 0]), np.array([3, 5, 7])))
    assert found.count.tolist() == [0, 0, 2]


def test_a_large_space_takes_no_more_places_than_there_are_keys() -> None:
    pairs = pairs_of(LARGE, [(0, 7), (0, 3), (0, 7)])
    assert len(pairs) == 2
    assert pairs.positions(np.array([0, 0, 0, 9]), np.array([3, 5, 7, 9])).tolist() == [0, 2, 1, 2]
    assert pairs_of(LARGE, []).positions(np.array([1]), np.array([1])).tolist() == [0]
    with pytest.raises(ValueError, match="in use"):
        pairs.learn(np.array([1]), np.array([1]))


@pytest.mark.parametrize("users", [100, LARGE])
@given(data=st.data())
def test_sums_go_on_from_others_as_if_they_had_counted_all_themselves(users: int, data: st.DataObject) -> None:
    drawn = st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 9), finite)
    records = sorted(data.draw(st.lists(drawn, min_size=1, max_size=30)), key=lambda one: one[2])
    cut = data.draw(st.integers(0, 11))
    moved = np.array([2, 3, 5, 8, 13])  # what the users of before are called later, others among them

    def counting(
        events: list[tuple[int, int, int, float]], names: np.ndarray, until: int
    ) -> tuple[RunningSums, KeySpace]:
        pairs = pairs_of(users, [(int(names[user]), kind) for user, kind, *_ in events])
        return RunningSums(pairs, ("value",), (3, 7), dated=True), pairs

    def add(sums: RunningSums, pairs: KeySpace, names: np.ndarray, first: int, end: int) -> None:
        for day in range(first, end):
            part = [(names[user], kind, value) for user, kind, then, value in records if then == day]
            sums.advance(day)
            if part:
                user, kind, value = (np.array(values) for values in zip(*part, strict=True))
                sums.add(day, pairs.positions(user, kind), {"value": value.astype(np.float64)})
        sums.advance(end)

    earlier, its_pairs = counting([one for one in records if one[2] < cut], np.arange(5), cut)
    add(earlier, its_pairs, np.arange(5), 0, cut)
    later, pairs = counting([one for one in records if one[2] >= cut], moved, 12)
    later.restore(earlier.snapshot(), {"user": moved, "kind": np.arange(10)})
    add(later, pairs, moved, cut, 12)
    alone, all_pairs = counting(records, moved, 12)
    add(alone, all_pairs, moved, 0, 12)
    asked = np.repeat(moved, 10), np.tile(np.arange(10), 5)
    for question in (
        lambda sums, at: sums.ever(at),
        lambda sums, at: sums.last(at, 3),
        lambda sums, at: sums.last(at, 7),
    ):
        one, other = question(later, pairs.positions(*asked)), question(alone, all_pairs.positions(*asked))
        for answer in ("count", "first_day", "last_day"):
            mine, wanted = (getattr(found, answer) for found in (one, other))
            np.testing.assert_array_equal(mine() if callable(mine) else mine, wanted() if callable(wanted) else wanted)
        np.testing.assert_array_equal(one.total("value"), other.total("value"))


@pytest.mark.parametrize("value", [5e12, np.nan, np.inf])
def test_values_beyond_exact_sums_are_refused_by_name(value: float) -> None:
    sums = RunningSums(KeySpace({"key": 1}), ("price",))
    with pytest.raises(
        DataError,
        match=r"attribute: magnitudes of its price add up to .*, the limit of exact sums is 4.4e\+12: rescale",
    ):
        sums.add(0, np.zeros(1, dtype=np.int64), {"price": np.array([value])})


def test_a_timeline_hands_every_day_out_once() -> None:
    timeline = Timeline(np.array([2, 2, 5, 9]))
    assert [(day, place.start, place.stop) for day, place in timeline.until(6)] == [(2, 0, 2), (5, 2, 3)]
    assert [day for day, _ in timeline.until(9)] == []
    assert [day for day, _ in timeline.until(10)] == [9]


def test_expand_lists_ranges_and_skips_empty_ones() -> None:
    owner, position = expand(np.array([4, 7, 0]), np.array([6, 7, 1]))
    assert owner.tolist() == [0, 0, 2]
    assert position.tolist() == [4, 5, 0]
