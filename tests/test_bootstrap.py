"""Intervals cover as often as they promise when rows of a person are alike, and differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_tasks.bootstrap import UserBootstrap, interval, measured
from mtl_tasks.metrics import Prepared


def test_intervals_cover_the_mean_although_rows_of_a_user_are_alike() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 5)
    trials, covered, naive = 150, 0, 0
    for trial in range(trials):
        values = np.repeat(rng.standard_normal(60), 5) + 0.1 * rng.standard_normal(300)
        low, high = interval(UserBootstrap(users, 200, trial).means(values))
        assert low is not None
        assert high is not None
        covered += low < 0 < high
        low, high = interval(UserBootstrap(np.arange(300), 200, trial).means(values))
        assert low is not None
        assert high is not None
        naive += low < 0 < high
    assert 0.89 <= covered / trials <= 0.99
    assert naive / trials < 0.75  # what drawing rows instead of users would have promised


def test_every_metric_and_every_call_sees_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    users, label, prediction = rng.integers(0, 20, 100), rng.random(100), rng.random(100)
    bootstrap = UserBootstrap(users, 50, 3)
    drawn = bootstrap.replicate(
        {name: Prepared("mae", label, prediction + shift) for name, shift in {"a": 0, "b": 0, "c": 5}.items()}
    )
    assert np.array_equal(drawn["a"], drawn["b"])
    assert np.allclose(bootstrap.means(np.abs(label - prediction)), drawn["a"])
    assert np.array_equal(
        UserBootstrap(users, 50, 3).replicate({"a": Prepared("mae", label, prediction)})["a"], drawn["a"]
    )


def test_a_constant_difference_has_no_spread() -> None:
    rng = np.random.default_rng(2)
    users, label = rng.integers(0, 20, 100), np.zeros(100)
    prediction = rng.random(100)
    drawn = UserBootstrap(users, 50, 3).replicate(
        {shift: Prepared("mae", label, prediction + shift) for shift in (0.0, 0.5)}
    )
    np.testing.assert_allclose(drawn[0.5] - drawn[0.0], 0.5)


def test_text_users_are_drawn_like_any_other() -> None:
    values = np.arange(6.0)
    numbers, texts = np.array([1, 1, 2, 2, 3, 3]), np.array(["a", "a", "b", "b", "c", "c"])
    assert np.array_equal(UserBootstrap(numbers, 20, 1).means(values), UserBootstrap(texts, 20, 1).means(values))


def test_interval_is_unknown_when_too_many_replicates_are() -> None:
    replicates = np.linspace(0, 1, 200)
    assert interval(replicates) == (pytest.approx(0.025), pytest.approx(0.975))
    replicates[:3] = np.nan
    assert interval(replicates) == (None, None)
    assert interval(np.full(5, np.nan)) == (None, None)


def test_what_cannot_be_computed_is_null() -> None:
    entry = measured(float("nan"), np.full(5, np.nan), 0)
    assert entry == {"value": None, "low": None, "high": None, "rows": 0}
