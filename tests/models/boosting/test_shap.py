"""Contributions of features add up to the prediction, and their summary agrees with them."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from mtl_tasks.models.boosting.shap import (
    FEWEST,
    SAMPLE,
    affordable_rows,
    contributions,
    importance_split,
    summarize,
)
from mtl_tasks.models.boosting.trees import TaskTrees, TrainedBooster

NAMES = ["up", "down", "noise", "constant", "kind"]
ROUNDS = 12


def matrix(rows: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((rows, len(NAMES))).astype(np.float32)
    made[:, 3] = 1.0
    made[:, 4] = rng.integers(1, 4, rows)
    made[rng.random(rows) < 0.1, 0] = np.nan
    return made


def grown(seed: int) -> TrainedBooster:
    drawn = matrix(seed=seed)
    label = 3 * np.nan_to_num(drawn[:, 0]) - 2 * drawn[:, 1] + (drawn[:, 4] == 2)
    data = lgb.Dataset(drawn, label, feature_name=NAMES)
    settings = {"verbosity": -1, "num_leaves": 7, "num_threads": 1, "learning_rate": 0.3}
    return TrainedBooster(lgb.train(settings, data, ROUNDS), ROUNDS, None)


@pytest.fixture(scope="module")
def models() -> list[TrainedBooster]:
    return [grown(1), grown(2)]


def test_contributions_add_up_to_the_mean_score_of_the_seeds(models: list[TrainedBooster]) -> None:
    drawn = matrix(seed=5)
    made = contributions(TaskTrees.of(models), drawn, threads=1)
    score = np.mean([model.booster.predict(drawn, raw_score=True) for model in models], axis=0)
    assert made.shape == (len(drawn), len(NAMES) + 1)
    assert np.abs(made.sum(axis=1) - score).max() < 1e-9


def test_the_first_seeds_alone_can_be_asked_for(models: list[TrainedBooster]) -> None:
    drawn = matrix(seed=5)
    first = contributions(TaskTrees.of(models), drawn, threads=1, seeds=1)
    assert np.array_equal(first, contributions(TaskTrees.of(models[:1]), drawn, threads=1))


def test_summary_says_how_much_and_in_which_direction(models: list[TrainedBooster]) -> None:
    drawn = matrix(seed=5)
    made = contributions(TaskTrees.of(models), drawn, threads=1)
    found = {entry["feature"]: entry for entry in summarize(made, drawn, NAMES, {"kind"})}
    assert list(found)[:2] == ["up", "down"]
    assert found["up"]["direction"] > 0.9
    assert found["down"]["direction"] < -0.9
    assert found["kind"]["direction"] is None  # codes have no order
    assert "constant" not in found  # it moves nothing
    assert found["up"]["mean_abs"] == pytest.approx(np.abs(made[:, 0]).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("rounds", "tasks", "rows"), [(1, 1, SAMPLE), (500, 2, 645), (0, 7, SAMPLE), (2000, 7, FEWEST)]
)
def test_the_sample_shrinks_as_the_trees_grow_in_number(rounds: int, tasks: int, rows: int) -> None:
    assert affordable_rows(rounds, 31, tasks) == rows


def test_gain_of_shared_and_own_trees_is_that_of_the_first_and_the_later_rounds(models: list[TrainedBooster]) -> None:
    split = importance_split(TaskTrees.of(models[:1], shared=[5]))
    assert split is not None
    gain = models[0].booster.feature_importance("gain")
    early = models[0].booster.feature_importance("gain", iteration=5)
    found = {name: (shared, own) for name, shared, own in split}
    for place, name in enumerate(NAMES):
        assert found[name] == pytest.approx((early[place] / gain.sum(), (gain - early)[place] / gain.sum()), abs=1e-5)
    totals = [shared + own for _, shared, own in split]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(("shared", "inherited"), [([0], [0]), ([ROUNDS], [0]), ([5], [2])])
def test_trees_of_one_kind_or_grown_from_an_earlier_model_are_not_split(
    models: list[TrainedBooster], shared: list[int], inherited: list[int]
) -> None:
    assert importance_split(TaskTrees.of(models[:1], shared, inherited)) is None
