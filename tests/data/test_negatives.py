"""Negatives were not taken by then, are drawn by popularity up to their day, and none is drawn twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.data.negatives import DRAWN_FOR, MIN_USERS, draw_negatives
from tests.data.test_splits import FIRST, log

KEYS = [columns.USER, columns.ITEM, columns.DAY]


def drawn_for(positives: pd.DataFrame, events: pd.DataFrame, per_positive: int = 3, power: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(draw_negatives(positives, events, events, per_positive, power, seed=7)[0])


def one_user_a_day(days: int = 120, users: int = 80, items: int = 60) -> pd.DataFrame:
    """A log on which each day has one user, who takes three items."""
    rng = np.random.default_rng(5)
    day = np.repeat(np.arange(FIRST, FIRST + days, dtype=np.int32), 3)
    item = np.concatenate([rng.choice(items, 3, replace=False) for _ in range(days)])
    return pd.DataFrame({columns.USER: (day - FIRST) % users, columns.ITEM: item, columns.DAY: day})


@given(seed=st.integers(0, 1000), per_positive=st.integers(1, 6), power=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=25)
def test_negatives_were_taken_by_somebody_and_by_then_not_by_the_user(
    seed: int, per_positive: int, power: float
) -> None:
    events = log(seed=seed, items=40)
    positives = events[events[columns.DAY] >= FIRST + 2]
    drawn = pd.DataFrame(draw_negatives(positives, events, events, per_positive, power, seed)[0])
    first_taken = events.groupby([columns.USER, columns.ITEM])[columns.DAY].min()
    taken = first_taken.reindex(pd.MultiIndex.from_frame(drawn[[columns.USER, columns.ITEM]])).to_numpy()
    assert not (taken <= drawn[columns.DAY].to_numpy()).any()
    by_anybody = events.groupby(columns.ITEM)[columns.DAY].min().reindex(drawn[columns.ITEM]).to_numpy()
    assert (by_anybody <= drawn[columns.DAY].to_numpy()).all()
    assert not drawn.duplicated(KEYS).any()
    counts = drawn.groupby([columns.USER, columns.DAY]).size()
    wanted = positives.groupby([columns.USER, columns.DAY]).size() * per_positive
    assert (counts <= wanted.reindex(counts.index)).all()


def test_negatives_of_a_busy_day_were_taken_on_it() -> None:
    events = log(users=2 * MIN_USERS, items=300, per_day=400)
    drawn = drawn_for(events, events, per_positive=2)
    on_the_day = pd.MultiIndex.from_frame(events[[columns.ITEM, columns.DAY]])
    assert pd.MultiIndex.from_frame(drawn[[columns.ITEM, columns.DAY]]).isin(on_the_day).all()


def test_each_positive_gets_its_number_of_negatives_where_there_are_enough_items() -> None:
    events = log(users=500, items=300, per_day=400)
    positives = events[events[columns.DAY] >= FIRST + 2]
    drawn = drawn_for(positives, events, per_positive=4)
    assert len(drawn) == 4 * len(positives)
    counts = drawn[columns.USER].value_counts()
    assert (counts == 4 * positives[columns.USER].value_counts().reindex(counts.index)).all()


def test_a_log_with_one_active_user_a_day_gets_all_its_negatives_and_none_twice() -> None:
    events = one_user_a_day()
    positives = events[events[columns.DAY] >= FIRST + 60]
    draws, left_out = draw_negatives(positives, events, events, 4, 1.0, 7)
    drawn = pd.DataFrame(draws)
    assert not drawn.duplicated(KEYS).any()
    assert (drawn.groupby(DRAWN_FOR).size() == 4).all()
    assert len(drawn) == 4 * (~left_out).sum() > 600


def test_what_was_known_before_the_day_says_nothing_of_a_quiet_day_s_labels() -> None:
    events = one_user_a_day(items=400)  # most positives are the first of their item
    positives = events[events[columns.DAY] >= FIRST + 60].reset_index(drop=True)
    draws, left_out = draw_negatives(positives, events, events, 4, 1.0, 7)
    first = events.groupby(columns.ITEM)[columns.DAY].min()
    kept = positives[~left_out]
    assert left_out.sum() > len(kept) > 10
    assert (first.reindex(kept[columns.ITEM]).to_numpy() < kept[columns.DAY].to_numpy()).all()
    assert (first.reindex(draws[columns.ITEM]).to_numpy() < draws[columns.DAY]).all()


def test_a_heavy_user_of_a_busy_day_is_given_known_items_of_the_days_before() -> None:
    others = pd.DataFrame({columns.USER: np.arange(60), columns.ITEM: np.arange(60) % 5, columns.DAY: FIRST + 1})
    heavy = pd.DataFrame({columns.USER: 999, columns.ITEM: np.arange(200, 204), columns.DAY: FIRST + 1})
    before = pd.DataFrame({columns.USER: np.arange(60), columns.ITEM: np.arange(200, 260), columns.DAY: FIRST})
    events = pd.concat([before, others, heavy], ignore_index=True)
    drawn = drawn_for(heavy.reset_index(drop=True), events, per_positive=3)
    assert len(drawn) == 12
    assert drawn[columns.ITEM].between(0, 4).sum() == 5
    assert drawn[columns.ITEM].between(204, 259).sum() == 7


def test_a_days_draws_depend_neither_on_later_events_nor_on_as_of() -> None:
    events = log(items=60)
    past = events[events[columns.DAY] < FIRST + 6]
    newcomers = pd.DataFrame({columns.USER: [-1, 7, 999], columns.ITEM: [-5, 3, 999], columns.DAY: [FIRST + 7] * 3})
    more = pd.concat([events, newcomers], ignore_index=True)
    early, late = drawn_for(past, past), drawn_for(more, more)
    pd.testing.assert_frame_equal(early, late[late[columns.DAY] < FIRST + 6], check_dtype=False)


def test_the_order_of_the_log_does_not_change_what_is_drawn() -> None:
    events = log(items=60)
    shuffled = events.sample(frac=1.0, random_state=1)
    one, other = (drawn_for(part, part).drop(columns=DRAWN_FOR) for part in (events, shuffled))
    pd.testing.assert_frame_equal(one, other)


def test_popular_items_are_drawn_in_proportion_to_their_count() -> None:
    takers = pd.DataFrame({columns.USER: np.arange(4000), columns.ITEM: np.where(np.arange(4000) % 4, 1, 2)})
    askers = pd.DataFrame({columns.USER: np.arange(4000, 8000), columns.ITEM: 3})
    events = pd.concat([takers, askers], ignore_index=True).assign(**{columns.DAY: FIRST + 5})
    positives = events[events[columns.ITEM] == 3].reset_index(drop=True)
    drawn = drawn_for(positives, events, per_positive=1)[columns.ITEM]
    assert (drawn == 1).mean() == pytest.approx(0.75, abs=0.02)


def test_a_user_who_took_everything_gets_no_negatives() -> None:
    events = pd.DataFrame({columns.USER: [1, 1], columns.ITEM: [1, 2], columns.DAY: [FIRST, FIRST]})
    assert len(drawn_for(events, events)) == 0
    assert len(drawn_for(events[:0], events)) == 0


def test_text_ids_are_drawn_alike() -> None:
    events = log(items=60)
    events[[columns.USER, columns.ITEM]] = events[[columns.USER, columns.ITEM]].astype("str")
    drawn, _ = draw_negatives(events, events, events, 2, 1.0, 7)
    assert drawn[columns.USER].dtype.kind == "U"
    assert len(drawn[columns.ITEM]) > 0
