"""Every ranker honors the contract; the fitted ones find the order that the lists were drawn with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, UTILITY
from mtl_tasks.recommend.rankers import (
    ALSRanker,
    DailyPopularityRanker,
    LabeledLists,
    PopularityRanker,
    Ranker,
    RankingRows,
    RRFRanker,
    SoftmaxRanker,
    UtilityRanker,
)
from mtl_tasks.recommend.rankers.lambdarank import LambdaRanker
from mtl_tasks.recommend.rankers.stacked import StackedRanker
from mtl_tasks.recommend.training_lists import ndcg
from mtl_tasks.scenario import Scenario
from tests.contracts.ranker import RankerContract, draw_lists, ranking_scenario


class TestUtility(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return UtilityRanker()


class TestPopularity(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return PopularityRanker()


class TestDailyPopularity(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return DailyPopularityRanker()


class TestALS(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return ALSRanker()


class TestRRF(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return RRFRanker()


class TestSoftmax(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return SoftmaxRanker.fit(draw_lists(1), scenario)


def trees(scenario: Scenario) -> LambdaRanker:
    return LambdaRanker.fit([draw_lists(1), draw_lists(2)], draw_lists(3), scenario)


class TestLambdaRank(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        return trees(scenario)


class TestStacked(RankerContract):
    def make(self, scenario: Scenario) -> Ranker:
        lists, forest = draw_lists(4), trees(scenario)
        return StackedRanker.fit(lists, forest, forest.scores(lists.rows), scenario)


def quality(ranker: Ranker, lists: LabeledLists) -> float:
    ties = lists.rows.scored[POPULAR].to_numpy()
    return float(ndcg(lists, ranker.scores(lists.rows), 3, ties).mean())


def test_fitted_rankers_are_better_on_new_lists_than_any_score_that_they_read() -> None:
    scenario, new = ranking_scenario(), draw_lists(9, users=400)
    single = max(quality(ranker, new) for ranker in (UtilityRanker(), PopularityRanker(), ALSRanker()))
    fitted = SoftmaxRanker.fit(draw_lists(1, users=200), scenario)
    assert quality(fitted, new) > single + 0.02
    forest = LambdaRanker.fit([draw_lists(2, users=200)], draw_lists(3, users=100), scenario)
    assert forest.rounds > 1
    assert quality(forest, new) > quality(fitted, new)  # the features that it reads have the order almost as drawn
    blend = draw_lists(4, users=200)
    assert quality(StackedRanker.fit(blend, forest, forest.scores(blend.rows), scenario), new) > quality(fitted, new)


def test_weights_of_the_softmax_minimize_its_loss() -> None:
    """The gradient of the ridge loss, written out list by list, vanishes at the weights."""
    lists = draw_lists(1)
    fitted = SoftmaxRanker.fit(lists, ranking_scenario())
    assert set(fitted.weights) == {"log popular_7d", "log popular_1d", "als", "logit purchase", "rating"}
    from mtl_tasks.recommend.rankers.softmax import RIDGE, score_column

    for name, weight in fitted.weights.items():
        column, slope = score_column(lists.rows, name), 0.0
        spread = fitted.standardized[name] / weight
        for number in range(len(lists)):
            mine = lists.lists == number
            score = fitted.scores(lists.rows)[mine]
            odds = np.exp(score - score.max())
            target = lists.gain[mine] / lists.gain[mine].sum()
            slope += float((odds / odds.sum() - target) @ (column[mine] - column[mine].mean())) / spread
        assert slope + RIDGE * fitted.standardized[name] == pytest.approx(0.0, abs=2e-2)


def test_a_score_without_variation_weighs_nothing() -> None:
    lists = draw_lists(1)
    scored = lists.rows.scored.assign(**{ALS: 1.5})
    fitted = SoftmaxRanker.fit(replace(lists, rows=replace(lists.rows, scored=scored)), ranking_scenario())
    assert fitted.weights[ALS] == 0.0
    assert fitted.weights["logit purchase"] > 0


def test_reciprocal_ranks_of_popularity_and_als_are_added() -> None:
    scored = pd.DataFrame(
        {
            columns.USER: [1, 1, 1, 2],
            columns.ITEM: [10, 11, 12, 10],
            columns.DAY: 0,
            POPULAR: [5.0, 9.0, 1.0, 5.0],
            POPULAR_1D: 0.0,
            ALS: [0.3, 0.1, np.nan, 0.7],
            UTILITY: 0.0,
        }
    )
    made = RRFRanker().scores(RankingRows(scored, pd.DataFrame(index=scored.index)))
    expected = [1 / 62 + 1 / 61, 1 / 61 + 1 / 62, 1 / 63 + 1 / 63, 2 / 61]
    assert made.tolist() == pytest.approx(expected)
