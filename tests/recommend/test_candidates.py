"""Candidates are unseen items from four sources, for the users asked for and for nobody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mtl_tasks.features.builder import FeatureMaker, fit_spaces
from mtl_tasks.features.interactions import IndexedRows, encode
from mtl_tasks.recommend.candidates import Candidates, sorted_codes
from tests.support.worlds import END, ITEMS, START, canonical, item_table, random_events, tables, world_scenario


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "texts"])
def maker(request: pytest.FixtureRequest) -> FeatureMaker:
    scenario = world_scenario()
    events = canonical(random_events(np.random.default_rng(0), 60), text=request.param)
    coded, _ = encode(events, events.iloc[:0], scenario)
    spaces = fit_spaces(events, scenario, START, END)
    items = item_table([10 + 2 * code for code in range(ITEMS)], text=request.param)
    made = FeatureMaker(coded, tables(items), spaces, scenario)
    made.advance(END)
    return made


def rows_of(maker: FeatureMaker, users: Any, count: int = 3) -> IndexedRows:
    return Candidates(maker, END, count).rows(np.array(users, dtype=np.int64))


def pairs(users: Any, items: Any) -> list[tuple[int, int]]:
    return list(zip(users.tolist(), items.tolist(), strict=True))


def test_no_candidate_was_taken_before_and_none_is_listed_twice(maker: FeatureMaker) -> None:
    rows = rows_of(maker, range(len(maker.events.user_ids)))
    offered = pairs(rows.users, rows.items)
    assert len(offered) == len(set(offered)) > 0
    assert not set(pairs(maker.taken.users, maker.taken.items)) & set(offered)
    assert set(rows.days.tolist()) == {END}


def test_the_most_taken_of_the_week_are_offered_to_everybody_who_has_not_taken_them(maker: FeatureMaker) -> None:
    taken = maker.taken
    week = np.bincount(taken.items[taken.days >= END - 7], minlength=len(taken.item_ids))
    best = int(np.argmax(week))
    takers = set(taken.users[taken.items == best].tolist())
    others = sorted(set(range(len(taken.user_ids))) - takers)
    rows = rows_of(maker, others)
    assert set(rows.users[rows.items == best].tolist()) == set(others)


def test_a_user_is_offered_the_same_alone_and_among_others(maker: FeatureMaker) -> None:
    alone, among = rows_of(maker, [2]), rows_of(maker, [0, 2, 5])
    assert set(alone.users.tolist()) == {2}
    assert alone.items.tolist() == among.items[among.users == 2].tolist()


def test_no_users_have_no_candidates(maker: FeatureMaker) -> None:
    assert not len(rows_of(maker, []))


def test_codes_of_absent_ids_are_left_out() -> None:
    ids = np.array(["a", "c", "e"])
    assert sorted_codes(ids, np.array(["e", "b", "zzz", "a", "a"])).tolist() == [0, 2]
    assert sorted_codes(ids, np.array([], dtype=np.str_)).tolist() == []
