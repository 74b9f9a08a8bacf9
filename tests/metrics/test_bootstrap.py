"""Intervals cover as often as they promise when rows of a person are alike, and differences are paired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mtl_tasks.metrics.bootstrap import UserBootstrap, interval, measured
from mtl_tasks.metrics.catalog import Prepared, compute
from mtl_tasks.metrics.ranking import Values


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


def test_statistics_of_weights_see_the_draws_of_means() -> None:
    rng = np.random.default_rng(3)
    users, values = rng.integers(0, 20, 100), rng.random((100, 2))
    bootstrap = UserBootstrap(users, 50, 3)
    drawn = bootstrap.statistics(lambda weights: weights @ values / weights.sum())
    assert drawn.shape == (50, 2)
    for column in range(2):
        np.testing.assert_allclose(drawn[:, column], bootstrap.means(values[:, column]))


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


TRIALS, PEOPLE, ROWS_EACH = 1000, 600, 2


def covered(metric: str, paired: bool) -> float:
    """Share of simulated logs whose 95 % interval holds the truth: of a metric, or of the nil between equal models."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(PEOPLE), ROWS_EACH)
    truth = 0.0 if paired else true_value(metric, rng)
    inside = 0
    for trial in range(TRIALS):
        label, first, second = draw(metric, PEOPLE, rng)
        prepared = {"first": Prepared(metric, label, first), "second": Prepared(metric, label, second)}
        drawn = UserBootstrap(users, 400, trial).replicate(prepared)
        low, high = interval(drawn["first"] - drawn["second"] if paired else drawn["first"])
        assert low is not None
        assert high is not None
        inside += low < truth < high
    return inside / TRIALS


def draw(metric: str, people: int, rng: np.random.Generator) -> tuple[Values, Values, Values]:
    """Labels and the predictions of two models that are equally good; rows of a person are alike."""
    person = np.repeat(rng.standard_normal(people), ROWS_EACH)
    signal = person + rng.standard_normal(len(person))
    label = signal if metric == "rmse" else (signal > 1).astype(float)
    first, second = (signal + 0.8 * np.repeat(rng.standard_normal(people), ROWS_EACH) for _ in range(2))
    noise = rng.standard_normal((2, len(person)))
    return label, first + noise[0], second + noise[1]


def true_value(metric: str, rng: np.random.Generator) -> float:
    label, first, _ = draw(metric, 300_000, rng)
    return compute(metric, label, first)


@pytest.mark.parametrize("metric", ["auc", "rmse"])
def test_95_percent_intervals_cover_the_truth_in_93_to_97_percent(metric: str) -> None:
    assert 0.93 <= covered(metric, paired=False) <= 0.97


@pytest.mark.parametrize("metric", ["auc", "rmse"])
def test_equal_models_are_told_apart_no_more_often_than_stated(metric: str) -> None:
    assert 0.93 <= covered(metric, paired=True) <= 0.97


def test_a_thousand_replicates_sort_the_rows_once_and_draw_once_for_all_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    users, label = rng.integers(0, 200, 1000), (rng.random(1000) < 0.05).astype(float)
    sort, sorted_rows, draws = np.argsort, [], 0

    def counting_sort(values: Values, **options: Any) -> Any:
        sorted_rows.append(len(values))
        return sort(values, **options)

    class CountingBootstrap(UserBootstrap):
        def _draws(self) -> Iterator[Any]:
            nonlocal draws
            for drawn in super()._draws():
                draws += 1
                yield drawn

    monkeypatch.setattr(np, "argsort", counting_sort)
    first = Prepared("auc", label, rng.random(1000))
    made = CountingBootstrap(users, 1000, 1).replicate({"auc": first, "mae": Prepared("mae", label, label / 2)})
    assert (sorted_rows, draws) == ([1000], 1000)
    assert len(np.unique(made["auc"])) > 900
