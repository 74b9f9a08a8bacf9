"""Windows adjoin, negatives were not taken by then, and what cannot be learned is refused with the key to change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.splits import WINDOWS, Windows, describe_rows, make_rows
from mtl_tasks.scenario import Scenario
from tests.support.logs import tiny_scenario

FIRST, AS_OF = 15_800, 15_810
LENGTHS = {"train": 4, "tune": 1, "blend": 1, "test": 2, "min_history": 2}


def scenario_of(**settings: Any) -> Scenario:
    return tiny_scenario(**{"windows": LENGTHS, **settings})


def log(users: int = 20, items: int = 15, per_day: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange(FIRST, AS_OF, dtype=np.int32), per_day)
    count = len(days)
    return pd.DataFrame(
        {
            columns.USER: rng.integers(0, users, count),
            columns.ITEM: rng.integers(0, items, count),
            columns.DAY: days,
            columns.label("rating"): rng.integers(0, 11, count).astype(np.float32),
            columns.label("like"): rng.integers(0, 2, count).astype(np.float32),
        }
    )


def rows_of(events: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    scenario = scenario_of(**settings)
    return make_rows(events, scenario, Windows.cut(scenario, AS_OF, FIRST))


def sampled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows[columns.label("purchase")] == 0]


# ------------------------------------------------------------------------------------------------- windows


@given(lengths=st.lists(st.integers(1, 60), min_size=4, max_size=4), history=st.integers(1, 90))
def test_windows_adjoin_end_at_as_of_and_never_overlap(lengths: list[int], history: int) -> None:
    scenario = tiny_scenario(windows={**dict(zip(WINDOWS, lengths, strict=True)), "min_history": 1})
    windows = Windows.cut(scenario, AS_OF, AS_OF - sum(lengths) - history)
    ranges = [windows[name] for name in ("history", *WINDOWS)]
    assert [end - first for first, end in ranges] == [history, *lengths]
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert ranges[-1][1] == AS_OF


def test_windows_are_described_by_first_and_last_day() -> None:
    described = Windows({"test": (0, 2), "history": (-3, 0)}).describe()
    assert described == {"history": ["1969-12-29", "1969-12-31"], "test": ["1970-01-01", "1970-01-02"]}
    assert day_text(15_800) == "2013-04-05"


def test_too_little_history_is_refused_with_both_ways_out() -> None:
    message = (
        r"history: the log starts on 2013-04-06, 1 days before the train window \(2013-04-07\), and "
        r"windows.min_history asks for 2: choose a later as_of or shorten windows.train/tune/blend/test in "
        r"include/scenarios/tiny.yaml"
    )
    with pytest.raises(DataError, match=message):
        Windows.cut(scenario_of(), AS_OF, FIRST + 1)


def test_every_row_is_in_the_window_of_its_day() -> None:
    rows = rows_of(log())
    windows = Windows.cut(scenario_of(), AS_OF, FIRST)
    for name in WINDOWS:
        days = rows.loc[rows[columns.WINDOW] == name, columns.DAY]
        assert (days.min(), days.max() + 1) == windows[name]
    assert rows[columns.DAY].is_monotonic_increasing


def test_interactions_keep_their_labels_and_negatives_have_theirs_alone() -> None:
    events = log()
    rows = rows_of(events)
    logged = rows[rows[columns.label("purchase")] == 1]
    inside = events[events[columns.DAY] >= FIRST + 2]
    assert len(logged) == len(inside)
    assert logged[columns.label("rating")].sum() == inside[columns.label("rating")].sum()
    assert sampled(rows)[[columns.label("rating"), columns.label("like")]].isna().all(axis=None)
    assert {str(rows[columns.label(task)].dtype) for task in ("rating", "like", "purchase")} == {"float32"}


# ----------------------------------------------------------------------------------------------- negatives


def test_a_drawn_row_has_the_context_of_the_positive_that_it_was_drawn_for() -> None:
    events = log()
    events[columns.context("price")] = events[columns.USER].to_numpy(dtype=np.float32)
    events[columns.context("tab")] = pd.Categorical(np.where(events[columns.USER] % 2, "odd", "even"))
    context = {"numeric": {"price": "price"}, "categorical": {"tab": "tab"}}
    drawn = sampled(rows_of(events, source__context=context))
    assert len(drawn) > 0
    assert (drawn[columns.context("price")] == drawn[columns.USER]).all()
    assert ((drawn[columns.context("tab")] == "odd") == (drawn[columns.USER] % 2 == 1)).all()


# ------------------------------------------------------------------------------------------------ refusals


def spoilt(what: str) -> pd.DataFrame:
    events = log()
    test = events[columns.DAY] >= AS_OF - 2
    match what:
        case "one user":
            events[columns.USER] = 3
        case "one item":
            events[columns.ITEM] = 3
        case "empty":
            return events[events[columns.DAY] != AS_OF - 4]
        case "no labels":
            events.loc[test, columns.label("rating")] = np.nan
        case "no positives":
            events.loc[test, columns.label("like")] = 0.0
        case "no negatives":
            events.loc[test, columns.label("like")] = 1.0
        case "all equal":
            events.loc[test, columns.label("rating")] = 4.0
    return events


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("one user", r"train: every row has the same user \(3\); .*: check source.columns in include/scenarios/tiny"),
        ("one item", r"train: every row has the same item \(3\); .*: check source.columns"),
        ("empty", r"'tune' \(2013-04-11..2013-04-11, 0 rows\) is empty: lengthen windows.tune in include/scenarios/"),
        ("no labels", r"rating: 0 labeled rows in 'test' \(2013-04-13..2013-04-14, .*\), at least 10 .*; lengthen"),
        ("no positives", r"like: 0 positives in 'test' .*, at least 10 are needed; lengthen windows.test in include/"),
        ("no negatives", r"like: 0 negatives in 'test' .*, at least 10 are needed; lengthen windows.test"),
        ("all equal", r"rating: every label is 4 in 'test' .*; nothing can be learned; lengthen windows.test"),
    ],
)
def test_a_window_that_cannot_serve_is_refused_with_the_knob_to_turn(what: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows_of(spoilt(what))
    assert "\n" not in str(caught.value)


def test_a_window_that_cannot_be_sampled_is_refused_with_the_knob_to_turn() -> None:
    message = (
        r"purchase: 0\.\d\d negatives per positive could be drawn in 'train' .*, at least 25% of "
        r"negatives\.per_positive \(4\) are needed: .*; lower tasks\.purchase\.negatives\.per_positive in include/scen"
    )
    with pytest.raises(DataError, match=message):
        rows_of(log(users=20, items=6))


@pytest.mark.parametrize("key", ["min_data_in_leaf", "num_leaves"])
def test_too_few_labels_for_boosted_trees_are_refused_before_anything_is_fitted(key: str) -> None:
    members = ["popularity", "independent"]
    message = (
        rf"rating: 160 labeled rows in 'train', boosting\.{key} of 200 needs at least \d+: lengthen windows\.train"
    )
    with pytest.raises(DataError, match=message):
        rows_of(log(), members=members, boosting={"num_leaves": 2, "min_data_in_leaf": 2, key: 200})
    rows_of(log(), members=["popularity"], boosting={key: 200})


def test_rows_are_described_by_window_and_task() -> None:
    scenario = scenario_of()
    windows = Windows.cut(scenario, AS_OF, FIRST)
    rows = make_rows(log(), scenario, windows)
    described = describe_rows(rows, scenario, windows)
    assert list(described) == list(WINDOWS)
    test = described["test"]
    assert (test["first"], test["last"]) == ("2013-04-13", "2013-04-14")
    purchase = test["tasks"]["purchase"]
    assert (purchase["labelled"], purchase["positives"]) == (test["rows"], 80)
    assert purchase["negatives_per_positive"] == round((test["rows"] - 80) / 80, 2) > 0
    assert purchase["repeated_negatives"] == 0
    assert test["tasks"]["rating"]["labelled"] == 80
    assert 0 < test["tasks"]["rating"]["mean"] < 10
