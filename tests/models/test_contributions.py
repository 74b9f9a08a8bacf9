"""Contributions are added up by feature and ranked by size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtl_tasks.models.contributions import effects_of, rank_correlation, shares_of

NAMES = ["age", "price", "age", "color"]


def test_inputs_of_a_feature_are_added_up() -> None:
    features = pd.DataFrame(
        {"age": [1.0, 2.0, 3.0], "price": [1.0, 1.0, 2.0], "color": pd.Categorical(["a", "b", "a"])}
    )
    parts = np.array([[-2.0, 0.1, 1.0, 0.5], [0.0, 0.1, 0.0, -0.5], [2.0, -0.1, -1.0, 0.5]])
    effects = effects_of(parts, NAMES, features)
    assert effects["rows"] == 3
    assert effects["features"] == [
        {"feature": "age", "mean_abs": 0.666667, "direction": 1.0},
        {"feature": "color", "mean_abs": 0.5, "direction": None},
        {"feature": "price", "mean_abs": 0.1, "direction": -1.0},
    ]


def test_a_feature_that_moves_nothing_is_not_named() -> None:
    effects = effects_of(np.zeros((2, 1)), ["age"], pd.DataFrame({"age": [1.0, 2.0]}))
    assert effects["features"] == []


def test_shares_are_of_all_features_and_add_up() -> None:
    assert shares_of(np.array([1.0, 3.0, 2.0, 0.0]), NAMES) == [("age", 0.5), ("price", 0.5), ("color", 0.0)]
    assert shares_of(np.zeros(1), ["age"]) == [("age", 0.0)]


def test_rank_correlation_is_spearmans_on_the_rows_known_in_both() -> None:
    values = np.array([1.0, np.nan, 2.0, 30.0, 4.0])
    assert rank_correlation(values, np.array([1.0, -9.0, 2.0, 4.0, 3.0])) == 1.0
    assert rank_correlation(values, np.ones(5)) is None
    assert rank_correlation(values, np.full(5, np.nan)) is None
