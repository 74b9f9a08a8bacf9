"""Behavior of every ranker; a test class of a kind inherits this and says how to make one."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, UTILITY
from mtl_tasks.recommend.rankers import LabeledLists, Ranker, RankingRows
from mtl_tasks.recommend.rankers.choice import LOADERS
from mtl_tasks.scenario import Scenario
from tests.support.logs import tiny_scenario


def ranking_scenario() -> Scenario:
    boosting = {"min_data_in_leaf": 5, "threads": 1, "num_leaves": 7, "learning_rate": 0.2}
    recommend = {"top_k": 3, "utility": "purchase * rating", "ranking": {"min_lists": 10}}
    return tiny_scenario(boosting=boosting, recommend=recommend)


def draw_lists(seed: int, users: int = 40, size: int = 12) -> LabeledLists:
    """Draw candidates of which the relevant ones tend to be popular, probable, and of high `user.count`."""
    rng = np.random.default_rng(seed)
    count = users * size
    user = np.repeat(np.arange(users), size)
    quality = rng.standard_normal(count)
    popular = np.floor(np.exp(1.0 + 0.5 * quality + rng.standard_normal(count)))
    purchase = 1 / (1 + np.exp(2.0 - 0.5 * quality - rng.standard_normal(count)))
    rating = np.clip(6.0 + rng.standard_normal(count), 0, 10)
    scored = pd.DataFrame(
        {
            columns.USER: user,
            columns.ITEM: np.tile(np.arange(size), users),
            columns.DAY: np.int32(15_800),
            POPULAR: popular,
            POPULAR_1D: np.floor(popular / 3),
            ALS: np.where(rng.random(count) < 0.1, np.nan, quality + rng.standard_normal(count)),
            columns.prediction("purchase"): purchase,
            columns.prediction("rating"): rating,
            UTILITY: purchase * rating,
        }
    )
    features = pd.DataFrame({"user.count": quality.astype(np.float32), "item.age": rng.random(count, np.float32)})
    features["item.category"] = pd.Categorical(np.where(quality > 0, "a", "b"))
    first = np.zeros(count, dtype=np.bool_)
    chances = quality + 0.5 * rng.standard_normal(count)
    first[[block[np.argmax(chances[block])] for block in np.split(np.arange(count), users)]] = True
    gain = np.where(first, 1.0, 0.0).astype(np.float32)
    return LabeledLists(RankingRows(scored, features), user.astype(np.int64), gain, np.ones(users), np.arange(users))


class RankerContract:
    """Inherited by the tests of every ranker."""

    @pytest.fixture
    def scenario(self) -> Scenario:
        return ranking_scenario()

    @abstractmethod
    def make(self, scenario: Scenario) -> Ranker:
        """Return a ranker of the kind."""

    @pytest.fixture
    def ranker(self, scenario: Scenario) -> Ranker:
        return self.make(scenario)

    def test_a_loaded_ranker_scores_the_same_to_the_bit(self, ranker: Ranker, scenario: Scenario) -> None:
        rows = draw_lists(5).rows
        again = LOADERS[ranker.kind](ranker.files(), scenario)
        assert np.array_equal(again.scores(rows), ranker.scores(rows), equal_nan=True)
        assert again.files() == ranker.files()

    def test_equal_rankers_have_equal_files(self, ranker: Ranker, scenario: Scenario) -> None:
        assert self.make(scenario).files() == ranker.files()

    def test_a_score_does_not_depend_on_other_users(self, ranker: Ranker) -> None:
        rows = draw_lists(6).rows
        whole = ranker.scores(rows)
        assert whole.dtype == np.float64
        for user in (0, 17, 39):
            mine = (rows.scored[columns.USER] == user).to_numpy()
            alone = rows.where(mine)
            alone = RankingRows(alone.scored.reset_index(drop=True), alone.features.reset_index(drop=True))
            assert np.array_equal(ranker.scores(alone), whole[mine], equal_nan=True)

    def test_rows_without_predictions_have_no_score_only_if_it_reads_them(self, ranker: Ranker) -> None:
        rows = draw_lists(7).rows
        known = rows.scored[columns.USER].to_numpy() % 2 == 0
        predictions = [columns.prediction("purchase"), columns.prediction("rating"), UTILITY]
        scored = rows.scored.copy()
        scored.loc[~known, predictions] = np.nan
        made, whole = ranker.scores(replace(rows, scored=scored)), ranker.scores(rows)
        assert np.array_equal(made[known], whole[known], equal_nan=True)
        if ranker.needs_predictions:
            assert np.isnan(made[~known]).all()
        else:
            assert np.array_equal(made, whole, equal_nan=True)

    def test_a_missing_file_is_named(self, ranker: Ranker, scenario: Scenario) -> None:
        for name in ranker.files():
            files = {other: data for other, data in ranker.files().items() if other != name}
            with pytest.raises(ArtifactError, match=r"run again with --force"):
                LOADERS[ranker.kind](files, scenario)
