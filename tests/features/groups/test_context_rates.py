"""Rates under circumstances equal their definitions, told one row at a time in plain Python."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.features.builder import Tables, build_features
from mtl_tasks.features.groups.context_rates import ContextRates
from tests.contracts.feature_group import FeatureGroupContract
from tests.support.worlds import (
    END,
    ITEMS,
    RICH,
    START,
    Event,
    canonical,
    fit_all,
    item_table,
    random_events,
    random_rows,
    user_versions,
    world_scenario,
)

DAMPING = 5.0


class TestContextRates(FeatureGroupContract):
    group = ContextRates


class Oracle:
    def __init__(self, events: list[Event]) -> None:
        self.events = [event for event in events if not np.isnan(event.like)]

    def mean(self, events: list[Event], prior: float) -> float:
        return (sum(event.like for event in events) + DAMPING * prior) / (len(events) + DAMPING)

    def everybody(self, tab: str, day: int) -> float:
        past = [event for event in self.events if event.day < day]
        overall = sum(event.like for event in past) / len(past) if past else 0.0
        return self.mean([event for event in past if event.tab == tab], overall)

    def of(self, side: str, key: int, tab: str, day: int) -> float:
        met = [event for event in self.events if event.day < day and event.tab == tab and getattr(event, side) == key]
        return self.mean(met, self.everybody(tab, day))

    def beyond(self, side: str, key: int, day: int) -> float:
        other = {"user": "item", "item": "user"}[side]
        left = [
            event.like - self.of(other, getattr(event, other), event.tab, event.day)
            for event in self.events
            if event.day < day and getattr(event, side) == key
        ]
        return sum(left) / (len(left) + DAMPING)


@pytest.fixture(scope="module")
def compared() -> tuple[Oracle, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(21)
    scenario = world_scenario(**RICH)
    events, rows = random_events(rng), random_rows(rng, 60)
    frame = canonical(events)
    tables = Tables(user_versions(rng), item_table([10 + 2 * code for code in range(ITEMS)]))
    factor_models = fit_all(frame, tables.items, scenario, START, END)
    return Oracle(events), rows, build_features(frame, tables, rows, factor_models, scenario)


def test_means_under_a_kind_of_context(compared: tuple[Oracle, pd.DataFrame, pd.DataFrame]) -> None:
    oracle, rows, made = compared
    for row, tab in enumerate(rows[columns.context("tab")]):
        user, item, day = (int(rows.loc[row, name]) for name in (columns.USER, columns.ITEM, columns.DAY))
        expected = {
            "user.like.beyond_tab": oracle.beyond("user", user, day),
            "item.like.beyond_tab": oracle.beyond("item", item, day),
            "context.tab.like.mean": oracle.everybody(tab, day) if isinstance(tab, str) else np.nan,
            "user_x_tab.like.mean": oracle.of("user", user, tab, day) if isinstance(tab, str) else np.nan,
            "item_x_tab.like.mean": oracle.of("item", item, tab, day) if isinstance(tab, str) else np.nan,
        }
        for name, value in expected.items():
            assert made.loc[row, name] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), (row, name)
    assert made["user_x_tab.like.mean"].nunique() > 10


def test_a_signal_has_rates_and_weighs_in_the_taste_but_nobody_predicts_it(
    compared: tuple[Oracle, pd.DataFrame, pd.DataFrame],
) -> None:
    _, _, made = compared
    assert made["item.cart.mean"].nunique() > 3
    assert "cart" not in world_scenario(**RICH).tasks
    assert world_scenario(**RICH).taste_signals == {"like": 1.0, "cart": 0.5}
    assert world_scenario().taste_signals == {"like": 1.0, "purchase": 1.0}
