"""The lists of every ranker are judged by what users take from a start day to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.data.relevance import GAIN, relevance
from mtl_tasks.pipeline.stages.judge_lists import ListTruths
from mtl_tasks.scenario import LISTS, Scenario
from mtl_tasks.store.documents import evaluation as documents
from tests.support.worlds import END, START, canonical, random_events, world_scenario

WINDOW = (START + 2, END)


def judged_scenario(**evaluate: Any) -> Scenario:
    return world_scenario(evaluate=evaluate, recommend={"utility": "purchase"})


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return canonical(random_events(np.random.default_rng(5), 150))


def test_one_start_day_is_judged_by_the_whole_test_window(events: pd.DataFrame) -> None:
    scenario = judged_scenario()
    made = ListTruths.of(events, scenario, WINDOW)
    whole, left_out = relevance(events, scenario, ("purchase",), {}, *WINDOW, leave_out=True)
    assert made.starts == (WINDOW[0],)
    assert made.left_out == left_out > 0
    assert made.judged == made.users == whole[columns.USER].nunique()
    pd.testing.assert_frame_equal(made.at(WINDOW[0])[[columns.USER, columns.ITEM, GAIN]], whole)


def test_several_start_days_are_judged_until_the_next_and_the_last_until_the_end(events: pd.DataFrame) -> None:
    scenario = judged_scenario(list_days=2)
    made = ListTruths.of(events, scenario, (END - 5, END))
    assert made.starts == (END - 5, END - 3)
    for start, until in ((END - 5, END - 3), (END - 3, END)):
        expected = relevance(events, scenario, ("purchase",), {}, start, until, leave_out=True).truth
        pd.testing.assert_frame_equal(made.at(start)[[columns.USER, columns.ITEM, GAIN]], expected)


def test_a_short_window_has_no_more_start_days_than_days(events: pd.DataFrame) -> None:
    assert ListTruths.of(events, judged_scenario(list_days=30), (END - 3, END)).starts == (END - 3, END - 2, END - 1)


def test_of_many_users_a_sample_is_judged_the_same_one_every_time(events: pd.DataFrame) -> None:
    few = ListTruths.of(events, judged_scenario(list_users=5), WINDOW)
    everybody = ListTruths.of(events, judged_scenario(), WINDOW)
    assert few.judged == 5 < everybody.judged == few.users
    pd.testing.assert_frame_equal(few.pairs, ListTruths.of(events, judged_scenario(list_users=5), WINDOW).pairs)
    of_them = everybody.pairs[everybody.pairs[columns.USER].isin(few.pairs[columns.USER])]
    pd.testing.assert_frame_equal(few.pairs, of_them.reset_index(drop=True))


def test_repeats_are_part_of_the_truth_only_if_they_may_be_recommended(events: pd.DataFrame) -> None:
    without = ListTruths.of(events, judged_scenario(), WINDOW)
    scenario = world_scenario(recommend={"utility": "purchase", "repeat": "allow"})
    allowed = ListTruths.of(events, scenario, WINDOW)
    assert allowed.left_out == 0
    assert len(allowed.pairs) == len(without.pairs) + without.left_out


def test_the_registry_and_the_gate_call_the_recommendations_by_one_name() -> None:
    assert documents.LISTS == LISTS
