"""Metrics agree with scikit-learn, ties and weights included, and say nothing where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from mtl_tasks.metrics.catalog import Prepared, compute, improvement, metrics_of
from mtl_tasks.metrics.ranking import BINS, calibration_curve

BINARY = {
    "auc": reference.roc_auc_score,
    "pr_auc": reference.average_precision_score,
    "log_loss": reference.log_loss,
}
REGRESSION = {"rmse": reference.root_mean_squared_error, "mae": reference.mean_absolute_error}


def draw(seed: int, count: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count).astype(float)
    label[:2] = 0, 1
    prediction = rng.integers(1, 6, count) / 7 if ties else rng.uniform(0.01, 0.99, count)
    weights = rng.integers(0, 4, count).astype(float)
    weights[:2] = 1
    return label, prediction, weights


@given(seed=st.integers(0, 10_000), count=st.integers(2, 40), ties=st.booleans())
@settings(max_examples=60)
@pytest.mark.parametrize("metric", [*BINARY, *REGRESSION])
def test_metric_equals_scikit_learns_with_and_without_weights(metric: str, seed: int, count: int, ties: bool) -> None:
    label, prediction, weights = draw(seed, count, ties)
    function = {**BINARY, **REGRESSION}[metric]
    assert compute(metric, label, prediction) == pytest.approx(function(label, prediction), abs=1e-9)
    weighted = Prepared(metric, label, prediction).under(weights)
    assert weighted == pytest.approx(function(label, prediction, sample_weight=weights), abs=1e-9)


@pytest.mark.parametrize("metric", ["auc", "pr_auc", "log_loss"])  # the bins of calibration error are cut before
def test_weighting_a_row_twice_is_having_it_twice(metric: str) -> None:
    label, prediction, weights = draw(3, 30, ties=True)
    times = weights.astype(int)
    repeated = compute(metric, np.repeat(label, times), np.repeat(prediction, times))
    assert Prepared(metric, label, prediction).under(weights) == pytest.approx(repeated)


def test_metrics_of_one_prediction_are_what_each_is_by_itself_under_whichever_weights_come_next() -> None:
    label, prediction, weights = draw(5, 40, ties=True)
    together = Prepared.several(metrics_of("binary"), label, prediction)
    for asked in (weights, np.ones(40), weights[::-1].copy(), weights):
        for metric in metrics_of("binary"):
            assert together[metric].under(asked) == Prepared(metric, label, prediction).under(asked)


@given(seed=st.integers(0, 10_000), count=st.integers(2, 60), ties=st.booleans())
@settings(max_examples=60)
def test_bins_of_the_calibration_error_are_of_equal_mass_from_the_least_prediction_on(
    seed: int, count: int, ties: bool
) -> None:
    label, prediction, weights = draw(seed, count, ties)
    order = np.argsort(prediction, kind="stable")
    ranked, starts = prediction[order], set[int]()
    for place in range(BINS):
        starts.add(int(np.searchsorted(ranked, ranked[place * count // BINS])))
    gaps = [sum(part) for part in np.split(((label - prediction) * weights)[order], sorted(starts)[1:])]
    expected = float(np.abs(gaps).sum() / weights.sum())
    assert Prepared("calibration_error", label, prediction).under(weights) == pytest.approx(expected)


def test_calibration_error_is_the_mean_gap_over_bins() -> None:
    prediction = np.repeat(np.arange(1, 11) / 20, 10)
    label = np.tile(np.array([1.0] * 3 + [0.0] * 7), 10)
    assert compute("calibration_error", label, prediction) == pytest.approx(
        np.mean(np.abs(np.arange(1, 11) / 20 - 0.3))
    )


@pytest.mark.parametrize("count", [1, 3, 7, 11, 25])
def test_calibration_error_of_few_rows_counts_each_once(count: int) -> None:
    prediction = np.linspace(0.1, 0.9, count)
    assert compute("calibration_error", np.zeros(count), prediction) == pytest.approx(prediction.mean())


def test_calibration_error_of_equal_predictions_does_not_depend_on_the_order_of_rows() -> None:
    label = np.array([1.0] * 50 + [0.0] * 50)
    assert compute("calibration_error", label, np.full(100, 0.5)) == pytest.approx(0.0)


def test_calibration_curve_has_ten_bins_of_equal_mass_and_keeps_ties_together() -> None:
    label, prediction, _ = draw(5, 200, ties=False)
    curve = calibration_curve(label, prediction)
    assert [entry["rows"] for entry in curve] == [20] * BINS
    predicted = [entry["predicted"] for entry in curve]
    assert predicted == sorted(predicted)
    tied = calibration_curve(label, np.where(prediction > 0.5, 0.7, 0.2))
    assert [entry["predicted"] for entry in tied] == [0.2, 0.7]
    assert sum(int(entry["rows"]) for entry in tied) == 200
    assert calibration_curve(np.zeros(0), np.zeros(0)) == []


@pytest.mark.parametrize("metric", [*metrics_of("binary"), *metrics_of("regression")])
def test_a_metric_of_nothing_or_of_nan_is_nan(metric: str) -> None:
    label = np.array([0.0, 1.0, 1.0])
    assert np.isnan(compute(metric, label[:0], label[:0]))
    assert np.isnan(Prepared(metric, label[:0], label[:0]).under(label[:0]))
    for bad in (np.nan, np.inf, -np.inf):
        assert np.isnan(compute(metric, label, np.array([0.2, bad, 0.9])))


@pytest.mark.parametrize("metric", ["auc", "pr_auc"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_ranking_metrics_of_one_class_are_nan(metric: str, label: float) -> None:
    assert np.isnan(compute(metric, np.full(3, label), np.array([0.1, 0.2, 0.3])))


@pytest.mark.parametrize("metric", ["auc", "pr_auc"])
def test_ranking_metrics_of_one_class_with_weight_are_nan_however_the_weights_round(metric: str) -> None:
    label, prediction = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.9, 0.5, 0.5, 0.1])
    assert np.isnan(Prepared(metric, label, prediction).under(np.array([0.1, 0.2, 0.3, 0.0])))
    rng = np.random.default_rng(10)
    label, prediction = (rng.random(100_000) < 0.7) * 1.0, rng.integers(0, 50, 100_000) / 50
    assert np.isnan(Prepared(metric, label, prediction).under(rng.random(100_000) * label))
    assert np.isfinite(Prepared(metric, np.array([1.0, 0.0]), np.array([0.2, 0.1])).under(np.array([1e15, 1.0])))


def test_weights_of_zero_leave_nothing_to_measure() -> None:
    assert np.isnan(Prepared("mae", np.ones(3), np.zeros(3)).under(np.zeros(3)))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'f1'"):
        compute("f1", np.ones(1), np.ones(1))


@pytest.mark.parametrize(("metric", "gain"), [("rmse", 0.25), ("log_loss", 0.25), ("auc", -0.25), ("pr_auc", -0.25)])
def test_improvement_is_positive_when_better(metric: str, gain: float) -> None:
    assert improvement(metric, candidate=0.5, reference=0.75) == gain
