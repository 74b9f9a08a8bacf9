"""Every active user gets a list of unseen items in order of utility, and the sample shows people one can judge by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, SCORE, UTILITY
from mtl_tasks.features.builder import build_features, fit_factor_models
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.models import Table, member_class
from mtl_tasks.models.fusion import fit_fusion
from mtl_tasks.recommend.lists import active_users, recommend_top_k, sample_users
from mtl_tasks.recommend.rankers import RankingRows
from mtl_tasks.recommend.scorer import Scorer, utility
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.reranking import Reranking
from mtl_tasks.store.artifacts import to_json
from tests.support.worlds import (
    END,
    ITEMS,
    START,
    canonical,
    item_table,
    random_events,
    random_rows,
    tables,
    world_scenario,
)

ACTIVE_DAYS = 3


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    recommend = {"top_k": 3, "active_days": ACTIVE_DAYS, "candidates": 10, "utility": "purchase * rating"}
    return world_scenario(recommend=recommend, members=["popularity", "als"])


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return canonical(random_events(np.random.default_rng(0), 60))


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return item_table([10 + 2 * code for code in range(ITEMS)])


@pytest.fixture(scope="module")
def scorer(scenario: Scenario, events: pd.DataFrame, items: pd.DataFrame) -> Scorer:
    return fitted(scenario, events, items)


def fitted(scenario: Scenario, events: pd.DataFrame, items: pd.DataFrame) -> Scorer:
    rng = np.random.default_rng(1)
    factor_models = fit_factor_models(events, scenario, START, END)
    rows = random_rows(rng, 300)
    features = build_features(events, tables(items), rows, factor_models, scenario)
    labels = {
        task: rng.integers(0, 2 if settings.kind == "binary" else 11, 300).astype(np.float32)
        for task, settings in scenario.tasks.items()
    }
    table = Table(features, labels, columns=declared_columns(scenario))
    members = {kind: member_class(kind).fit(table, table, scenario) for kind in scenario.members}
    fusions = {}
    for task, settings in scenario.tasks.items():
        made = {str(name): member.predict(features)[task] for name, member in members.items()}
        users = rows[columns.USER].to_numpy()
        fusions[task] = fit_fusion(made, labels[task].astype(np.float64), users, settings.kind, "mean").to_json()
    return Scorer(scenario, factor_models, {str(name): member for name, member in members.items()}, fusions)


@pytest.fixture(scope="module")
def lists(scorer: Scorer, events: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    return recommend_top_k(scorer, events, tables(items), active_users(events, scorer.scenario, END), END).lists


def test_every_active_user_gets_a_list_and_nobody_else(lists: pd.DataFrame, events: pd.DataFrame) -> None:
    active = events.loc[events[columns.DAY] >= END - ACTIVE_DAYS, columns.USER]
    assert set(lists[columns.USER]) == set(active)


def test_lists_are_ranked_by_utility_and_cut_at_k(lists: pd.DataFrame) -> None:
    for _, mine in lists.groupby(columns.USER):
        assert mine[columns.RANK].tolist() == list(range(1, len(mine) + 1))
        assert len(mine) <= 3
        assert mine[UTILITY].is_monotonic_decreasing


def test_nothing_already_taken_is_recommended(lists: pd.DataFrame, events: pd.DataFrame) -> None:
    taken = pd.MultiIndex.from_frame(events[[columns.USER, columns.ITEM]])
    assert not pd.MultiIndex.from_frame(lists[[columns.USER, columns.ITEM]]).isin(taken).any()


def test_a_user_is_scored_by_all_trees_whoever_is_asked_about_beside(
    scenario: Scenario, events: pd.DataFrame, items: pd.DataFrame
) -> None:
    boosting = {"rounds": 40, "patience": 40, "learning_rate": 0.3, "min_data_in_leaf": 5, "threads": 1}
    settings = {"members": ["independent"], "boosting": scenario.boosting.model_copy(update=boosting)}
    scorer = fitted(scenario.model_copy(update=settings), events, items)
    users = np.unique(events.user_id)
    (rows,) = scorer.candidates(events, tables(items), users, END)
    bare = RankingRows(rows.scored[[columns.USER, columns.ITEM, columns.DAY, POPULAR, ALS]], rows.features)
    assert rows.scored[UTILITY].equals(scorer.with_utilities(bare).scored[UTILITY])
    assert rows.scored[SCORE].equals(rows.scored[UTILITY].rename(SCORE))
    for user in users:
        (alone,) = scorer.candidates(events, tables(items), np.array([user]), END)
        own = rows.scored[rows.scored[columns.USER] == user].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.scored, own, check_exact=True)


def test_a_list_has_titles_and_a_prediction_of_every_task(lists: pd.DataFrame, scenario: Scenario) -> None:
    assert lists[columns.TITLE].tolist() == [f"Film {item}" for item in lists[columns.ITEM]]
    for task in scenario.tasks:
        assert np.isfinite(lists[columns.prediction(task)]).all()


def test_the_sample_is_of_three_people_with_their_newest_items_first(
    lists: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario
) -> None:
    people = sample_users(lists, events.sample(frac=1.0, random_state=1), items, scenario)
    assert len(people) == 3
    for person in people:
        mine = events[events[columns.USER] == person["user_id"]].sort_values(columns.TIME)
        newest = mine.loc[mine[columns.DAY] == mine[columns.DAY].max(), columns.ITEM]
        assert person["history"][0] in {f"Film {item}" for item in newest}
        assert len(person["history"]) <= 8
        offered = lists[lists[columns.USER] == person["user_id"]]
        assert [entry["title"] for entry in person["recommendations"]] == offered[columns.TITLE].tolist()[:5]
        assert set(person["recommendations"][0]) == {"title", "utility", *scenario.tasks}
    to_json(people)


@pytest.mark.parametrize("users", [0, 1, 2, 3])
def test_the_sample_of_few_people_is_all_of_them(
    lists: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario, users: int
) -> None:
    few = lists[lists[columns.USER].isin(lists[columns.USER].unique()[:users])]
    assert len(sample_users(few, events, items, scenario)) == users


def test_an_item_without_a_title_is_shown_by_its_id(
    lists: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario
) -> None:
    untitled = {columns.TITLE: ""}
    people = sample_users(lists.assign(**untitled), events, items.assign(**untitled), scenario)
    assert people[0]["recommendations"][0]["title"].isdigit()
    assert people[0]["history"][0].isdigit()


def test_a_prediction_on_the_log_scale_comes_in_the_units_of_its_label() -> None:
    scenario = world_scenario(tasks__rating={"kind": "regression", "label": "r", "range": [0, 10], "scale": "log"})
    predicted = pd.DataFrame({columns.prediction("rating"): np.log1p([0.0, 4.0])})
    assert utility(predicted, pd.Series([0.0, 0.0]), "2 * rating", scenario) == pytest.approx([0.0, 8.0])
    assert scenario.tasks["rating"].limits == pytest.approx((0.0, np.log(11.0)))


def test_some_users_get_what_they_get_among_all(
    scorer: Scorer, events: pd.DataFrame, items: pd.DataFrame, lists: pd.DataFrame
) -> None:
    users = active_users(events, scorer.scenario, END)
    halves = [recommend_top_k(scorer, events, tables(items), part, END).lists for part in (users[::2], users[1::2])]
    joined = pd.concat(halves).sort_values([columns.USER, columns.RANK], ignore_index=True)
    pd.testing.assert_frame_equal(joined, lists, check_exact=True)


def test_no_users_get_an_empty_table(scorer: Scorer, events: pd.DataFrame, items: pd.DataFrame) -> None:
    made = recommend_top_k(scorer, events, tables(items), active_users(events, scorer.scenario, END)[:0], END)
    assert made.lists.empty
    assert columns.USER in made.lists


def with_rules(scorer: Scorer, **rules: Any) -> Scorer:
    recommend = scorer.scenario.recommend.model_copy(update={"reranking": Reranking.model_validate(rules)})
    return replace(scorer, scenario=scorer.scenario.model_copy(update={"recommend": recommend}))


def test_excluded_items_are_no_candidates_so_that_every_place_has_a_prediction(
    scorer: Scorer, events: pd.DataFrame, items: pd.DataFrame, lists: pd.DataFrame
) -> None:
    ruled = with_rules(scorer, exclude=[{"attribute": "genres", "values": ["Drama"]}])
    made = recommend_top_k(ruled, events, tables(items), active_users(events, ruled.scenario, END), END)
    banned = set(items.loc[items["genres"].str.contains("Drama"), columns.ITEM])
    assert set(lists[columns.ITEM]) & banned
    assert not set(made.lists[columns.ITEM]) & banned
    assert made.excluded == len(banned & set(events[columns.ITEM]))
    predicted = [SCORE, UTILITY, *(columns.prediction(task) for task in ruled.scenario.tasks)]
    assert np.isfinite(made.lists[predicted].to_numpy()).all()
