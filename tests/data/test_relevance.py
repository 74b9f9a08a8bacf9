"""The truth of lists: graded, of users known before the window, each pair once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.data.relevance import GAIN, relevance
from mtl_tasks.scenario import Scenario
from tests.support.logs import DOCUMENT, tiny_scenario
from tests.support.worlds import END, START, Event, canonical, random_events

NAN = float("nan")


def known(user: int) -> Event:
    return Event(user, 99, START - 1, NAN, NAN)


def pairs(truth: pd.DataFrame) -> dict[tuple[Any, Any], float]:
    return {
        (user, item): gain for user, item, gain in truth[[columns.USER, columns.ITEM, GAIN]].itertuples(index=False)
    }


def test_gains_are_summed_over_tasks_and_not_over_repeated_events() -> None:
    events = [
        known(1),
        Event(1, 5, START, 4.0, 1.0),
        Event(1, 5, START + 1, 8.0, 1.0),
        Event(1, 5, START + 2, NAN, NAN),
        Event(1, 6, START, 5.0, 0.0),
        Event(1, 7, START, 0.0, 0.0),
    ]
    found = relevance(canonical(events), tiny_scenario(), ("rating", "like"), {"like": 2.0}, START, END)
    assert pairs(found.truth) == pytest.approx({(1, 5): 0.8 + 2.0, (1, 6): 0.5})
    assert found.truth[GAIN].dtype == np.float64
    assert found.left_out == 0


def test_a_task_without_a_label_makes_every_event_a_positive() -> None:
    events = [known(1), Event(1, 5, START, NAN, 0.0), Event(1, 6, START, NAN, NAN)]
    found = relevance(canonical(events), tiny_scenario(), ("purchase",), {}, START, END)
    assert pairs(found.truth) == {(1, 5): 1.0, (1, 6): 1.0}


def test_newcomers_and_other_days_are_left_out() -> None:
    events = [
        known(1),
        Event(1, 5, START - 1, NAN, 1.0),
        Event(1, 6, START, NAN, 1.0),
        Event(1, 7, START + 2, NAN, 1.0),
        Event(2, 6, START, NAN, 1.0),
        Event(2, 8, START + 1, NAN, 1.0),
    ]
    found = relevance(canonical(events), tiny_scenario(), ("like",), {}, START, START + 2)
    assert pairs(found.truth) == {(1, 6): 1.0}


def test_a_pair_with_a_positive_before_the_start_is_left_out_on_request_and_counted() -> None:
    scenario = tiny_scenario(tasks={name: DOCUMENT["tasks"][name] for name in ("rating", "like")})
    events = [
        Event(1, 5, START - 2, NAN, 1.0),
        Event(1, 6, START - 2, NAN, 0.0),
        Event(1, 5, START, NAN, 1.0),
        Event(1, 6, START, NAN, 1.0),
    ]
    kept = relevance(canonical(events), scenario, ("like",), {}, START, END)
    left = relevance(canonical(events), scenario, ("like",), {}, START, END, leave_out=True)
    assert (pairs(kept.truth), kept.left_out) == ({(1, 5): 1.0, (1, 6): 1.0}, 0)
    assert (pairs(left.truth), left.left_out) == ({(1, 6): 1.0}, 1)


def test_a_positive_whose_label_becomes_final_later_is_not_left_out() -> None:
    scenario = tiny_scenario(tasks={name: DOCUMENT["tasks"][name] for name in ("rating", "like")})
    events = canonical([Event(1, 5, START - 2, NAN, 1.0), Event(1, 5, START, NAN, 1.0)])
    events[columns.KNOWN] = events[columns.DAY] + 3
    assert relevance(events, scenario, ("like",), {}, START, END, leave_out=True).left_out == 0
    events[columns.KNOWN] = events[columns.DAY] + 1
    assert relevance(events, scenario, ("like",), {}, START, END, leave_out=True).left_out == 1


def test_without_signals_every_interaction_before_the_start_leaves_its_pair_out() -> None:
    scenario = tiny_scenario(tasks={"rating": DOCUMENT["tasks"]["rating"]})
    events = canonical([Event(1, 5, START - 2, NAN, NAN), Event(1, 5, START, 4.0, NAN), Event(1, 6, START, 4.0, NAN)])
    found = relevance(events, scenario, ("rating",), {}, START, END, leave_out=True)
    assert (pairs(found.truth), found.left_out) == (pytest.approx({(1, 6): 0.4}), 1)


def test_a_logarithmic_label_is_graded_on_the_scale_that_is_learned() -> None:
    scenario = tiny_scenario(tasks__rating__scale="log")
    events = canonical(
        [known(1), Event(1, 5, START, float(np.log1p(10.0)), NAN), Event(1, 6, START, np.log1p(3.0), NAN)]
    )
    found = relevance(events, scenario, ("rating",), {}, START, END)
    assert pairs(found.truth) == pytest.approx({(1, 5): 1.0, (1, 6): np.log(4) / np.log(11)})


@pytest.mark.parametrize("target", ["like", "purchase"])
@pytest.mark.parametrize("text", [False, True])
def test_one_binary_target_without_grades_is_what_users_known_before_took(target: str, text: bool) -> None:
    scenario = tiny_scenario(tasks={name: DOCUMENT["tasks"][name] for name in ("rating", target)})
    events = canonical(random_events(np.random.default_rng(3)), text=text)
    known = set(events.loc[events[columns.DAY] < START + 4, columns.USER])
    later = events[events[columns.DAY] >= START + 4]
    if target == "like":
        later = later[later[columns.label("like")] == 1]
    wanted = {
        (user, item) for user, item in zip(later[columns.USER], later[columns.ITEM], strict=True) if user in known
    }
    found = relevance(events, scenario, (target,), {}, START + 4, END).truth
    assert set(zip(found[columns.USER], found[columns.ITEM], strict=True)) == wanted
    assert len(found) == len(wanted) > 5
    assert (found[GAIN] == 1).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_relevance_is_what_a_loop_over_events_finds(seed: int, leave_out: bool) -> None:
    scenario: Scenario = tiny_scenario(tasks={name: DOCUMENT["tasks"][name] for name in ("rating", "like")})
    log = random_events(np.random.default_rng(seed))
    start, end, gains = START + 2, START + 6, {"rating": 0.5, "like": 3.0}
    users = {event.user for event in log if event.day < start}
    had = {(event.user, event.item) for event in log if event.day < start and event.like == 1}
    best: dict[tuple[int, int], dict[str, float]] = {}
    for event in log:
        if start <= event.day < end and event.user in users:
            grades = best.setdefault((event.user, event.item), {"rating": 0.0, "like": 0.0})
            grades["rating"] = max(grades["rating"], 0.0 if np.isnan(event.rating) else event.rating / 10)
            grades["like"] = max(grades["like"], event.like)
    total = {pair: sum(gains[task] * grade for task, grade in grades.items()) for pair, grades in best.items()}
    total = {pair: gain for pair, gain in total.items() if gain > 0}
    expected = {pair: gain for pair, gain in total.items() if not (leave_out and pair in had)}
    found = relevance(canonical(log), scenario, ("rating", "like"), gains, start, end, leave_out=leave_out)
    assert pairs(found.truth) == pytest.approx(expected)
    assert found.left_out == len(total) - len(expected)


def test_a_window_without_events_has_an_empty_truth_with_its_columns() -> None:
    found = relevance(canonical([known(1)]), tiny_scenario(), ("like", "rating"), {}, START, END, leave_out=True)
    assert list(found.truth.columns) == [columns.USER, columns.ITEM, GAIN]
    assert len(found.truth) == found.left_out == 0


@pytest.mark.parametrize(
    ("targets", "gains", "message"),
    [
        (("lik",), {}, "'lik' is no task, did you mean 'like'"),
        ((), {}, "none; name one task or more"),
        (("like", "like"), {}, "like, like; name one task or more, each once"),
        (("like",), {"rating": 1.0}, "'rating' is not a target"),
        (("like",), {"like": 0.0}, "like has 0; a gain must be above 0"),
        (("like",), {"like": NAN}, "like has nan"),
    ],
)
def test_a_wrong_target_or_gain_is_refused(targets: tuple[str, ...], gains: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        relevance(canonical([known(1)]), tiny_scenario(), targets, gains, START, END)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        relevance(canonical([known(1)]), tiny_scenario(), ("like",), {}, START, START)
