"""Candidates are unseen items from four sources, for the users asked for and for nobody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks import columns
from mtl_tasks.candidates import candidate_rows, sorted_codes
from mtl_tasks.features.build import TASTE, Ground, fit_spaces
from mtl_tasks.features.coding import CodedEvents, encode
from tests.worlds import END, ITEMS, START, canonical, item_table, random_events, tables, world_scenario


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "texts"])
def ground(request: pytest.FixtureRequest) -> tuple[CodedEvents, Ground]:
    scenario = world_scenario()
    events = canonical(random_events(np.random.default_rng(0), 60), text=request.param)
    coded, _ = encode(events, events.iloc[:0], scenario)
    spaces = fit_spaces(events, scenario, START, END)
    items = item_table([10 + 2 * code for code in range(ITEMS)], text=request.param)
    return coded, Ground.prepare(coded, tables(items), spaces, scenario)


def rows_of(ground: tuple[CodedEvents, Ground], users: Any, count: int = 3) -> pd.DataFrame:
    coded, prepared = ground
    return candidate_rows(
        coded, np.array(users, dtype=np.int64), END, prepared.fitted[TASTE], prepared.about_items.listed, count
    )


def test_no_candidate_was_taken_before_and_none_is_listed_twice(ground: tuple[CodedEvents, Ground]) -> None:
    coded, _ = ground
    rows = rows_of(ground, range(len(coded.user_ids)))
    taken = set(zip(coded.user_ids[coded.users].tolist(), coded.item_ids[coded.items].tolist(), strict=True))
    pairs = list(zip(rows[columns.USER], rows[columns.ITEM], strict=True))
    assert len(pairs) == len(set(pairs)) > 0
    assert not taken & set(pairs)
    assert set(rows[columns.DAY]) == {END}


def test_the_most_taken_of_the_week_are_offered_to_everybody_who_has_not_taken_them(
    ground: tuple[CodedEvents, Ground],
) -> None:
    coded, _ = ground
    week = np.bincount(coded.items[coded.days >= END - 7], minlength=len(coded.item_ids))
    best = int(np.argmax(week))
    takers = set(coded.users[coded.items == best].tolist())
    others = sorted(set(range(len(coded.user_ids))) - takers)
    rows = rows_of(ground, others)
    offered = rows.loc[rows[columns.ITEM] == coded.item_ids[best], columns.USER]
    assert set(offered) == set(coded.user_ids[others])


def test_a_user_is_offered_the_same_alone_and_among_others(ground: tuple[CodedEvents, Ground]) -> None:
    alone, among = rows_of(ground, [2]), rows_of(ground, [0, 2, 5])
    user = ground[0].user_ids[2]
    assert set(alone[columns.USER]) == {user}
    assert alone[columns.ITEM].tolist() == among.loc[among[columns.USER] == user, columns.ITEM].tolist()


def test_no_users_have_no_candidates(ground: tuple[CodedEvents, Ground]) -> None:
    rows = rows_of(ground, [])
    assert rows.empty
    assert list(rows) == [columns.USER, columns.ITEM, columns.DAY]


def test_codes_of_absent_ids_are_left_out() -> None:
    ids = np.array(["a", "c", "e"])
    assert sorted_codes(ids, np.array(["e", "b", "zzz", "a", "a"])).tolist() == [0, 2]
    assert sorted_codes(ids, np.array([], dtype=np.str_)).tolist() == []
