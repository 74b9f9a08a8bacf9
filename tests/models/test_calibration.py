"""Calibration keeps the ranking, and a map is kept only on evidence from held-out users."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models.calibration import (
    calibrate,
    calibration_by_slice,
    clustered_mean,
    cross_fit,
    fit_calibration,
    logit,
    sigmoid,
    significant,
    user_folds,
)


def draw(count: int, slope: float, offset: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the probabilities that a model distorted by slope and offset would give, and users."""
    rng = np.random.default_rng(seed)
    truth = 1.5 * rng.standard_normal(count) - 1
    label = (rng.random(count) < sigmoid(truth)).astype(float)
    return label, sigmoid((truth - offset) / slope), rng.integers(0, count // 4, count)


@given(
    count=st.integers(40, 200),
    slope=st.sampled_from([-1.0, 0.3, 1.0, 3.0]),
    offset=st.floats(-2, 2),
    seed=st.integers(0, 99),
)
@settings(max_examples=20)
def test_calibrated_probabilities_are_monotone_and_between_zero_and_one(
    count: int, slope: float, offset: float, seed: int
) -> None:
    label, probability, users = draw(count, slope, offset, seed)
    fitted = fit_calibration(label, probability, users)
    made = calibrate(fitted, np.linspace(0, 1, 101))
    assert (np.diff(made) >= 0).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_platt_undoes_a_distortion() -> None:
    label, probability, users = draw(1500, 0.4, 1.0)
    fitted = fit_calibration(label, probability, users)
    assert fitted["kind"] == "platt"
    assert fitted["slope"] == pytest.approx(0.4, abs=0.08)
    assert compute("log_loss", label, calibrate(fitted, probability)) < compute("log_loss", label, probability)


def test_a_map_is_kept_exactly_where_its_gain_is_significant() -> None:
    kinds = []
    for seed in range(6):
        fitted = fit_calibration(*draw(400, 0.6, 0.1, seed))
        gain = fitted["gains"]["platt"]
        assert gain["gain"] == pytest.approx(fitted["log_loss"]["none"] - fitted["log_loss"]["platt"], abs=2e-6)
        assert (fitted["kind"] == "platt") == (gain["gain"] > 1.96 * gain["se"])
        kinds.append(fitted["kind"])
    assert set(kinds) == {"none", "platt"}


def test_a_gain_within_the_noise_keeps_no_map() -> None:
    label, probability, users = draw(600, 0.8, 0.0, seed=3)
    fitted = fit_calibration(label, probability, users)
    assert fitted["log_loss"]["platt"] < fitted["log_loss"]["none"]
    assert fitted["kind"] == "none"


def test_rows_of_one_user_count_as_one_observation() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 50)
    mean, error = clustered_mean(values, np.arange(50))
    assert (mean, error) == (pytest.approx(values.mean()), pytest.approx(values.std() / np.sqrt(50)))
    repeated = clustered_mean(np.repeat(values, 9), np.repeat(np.arange(50), 9))
    assert repeated == (pytest.approx(mean), pytest.approx(error))
    assert significant(np.array([1.0, 1.1, 0.9, 1.0]), np.arange(4))
    assert not significant(np.array([1.0, 1.1, 0.9, -2.0]), np.arange(4))


def test_slices_compare_expected_with_observed() -> None:
    label, prediction = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.5, 0.25, 0.75, 0.5])
    users = np.array([1, 1, 2, 3])
    cold = np.array([True, True, True, False])
    made = calibration_by_slice(label, prediction, users, {"cold": cold, "warm": ~cold, "none": cold & ~cold})
    assert made["cold"]["rows"] == 3
    assert made["cold"]["expected"] == pytest.approx(0.5)
    assert made["cold"]["observed"] == pytest.approx(2 / 3)
    assert made["cold"]["gap"] == pytest.approx(1 / 6)
    assert made["cold"]["gap_se"] == pytest.approx(np.sqrt(2) * (0.25 - 1 / 6) / 3)
    assert made["warm"] == {"rows": 1, "expected": 0.5, "observed": 1.0, "gap": 0.5, "gap_se": None}
    assert made["none"] == {"rows": 0, "expected": None, "observed": None, "gap": None, "gap_se": None}


def test_many_positives_allow_a_step_function() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random(8000)
    label = (rng.random(8000) < np.where(probability > 0.5, 0.8, 0.3)).astype(float)
    fitted = fit_calibration(label, probability, np.arange(8000) % 900)
    assert fitted["kind"] == "isotonic"
    assert (np.diff(calibrate(fitted, np.linspace(0, 1, 501))) >= 0).all()


def test_what_is_calibrated_already_is_left_as_it_is() -> None:
    label, probability, users = draw(1500, 1.0, 0.0, seed=3)
    fitted = fit_calibration(label, probability, users)
    made = calibrate(fitted, probability)
    assert compute("log_loss", label, made) <= compute("log_loss", label, probability) + 1e-9
    assert calibrate({"kind": "none"}, probability) is probability


def test_a_fitted_map_survives_json_to_the_bit() -> None:
    label, probability, users = draw(6000, 0.4, 1.0)
    fitted = fit_calibration(label, probability, users)
    assert np.array_equal(calibrate(json.loads(json.dumps(fitted)), probability), calibrate(fitted, probability))


def test_positives_of_a_single_person_do_not_stop_it() -> None:
    users = np.repeat(np.arange(10), 5)
    fitted = fit_calibration((users == 0).astype(float), np.linspace(0.1, 0.9, 50), users)
    assert fitted["kind"] == "none"


def test_a_users_rows_share_a_fold() -> None:
    users = np.random.default_rng(0).integers(0, 23, 200)
    folds = user_folds(users)
    assert all(len(set(folds[users == user])) == 1 for user in set(users))
    assert set(folds) == {0, 1, 2, 3, 4}


def test_each_row_is_predicted_without_its_user() -> None:
    users = np.repeat(np.arange(10), 3)
    met = np.zeros(30, dtype=int)

    def predict(held: np.ndarray) -> np.ndarray:
        assert not set(users[held]) & set(users[~held])
        met[held] += 1
        return np.zeros(int(held.sum()))

    assert (cross_fit(users, predict) == 0).all()
    assert (met == 1).all()


def test_rows_of_one_person_are_refused() -> None:
    with pytest.raises(DataError, match="blend: its 30 labeled rows are of fewer than two users"):
        fit_calibration(np.tile([0.0, 1.0, 1.0], 10), np.full(30, 0.5), np.ones(30))


def test_logit_and_sigmoid_invert_each_other_and_stay_finite() -> None:
    probability = np.array([0.0, 1e-6, 0.3, 1.0])
    assert np.isfinite(logit(probability)).all()
    np.testing.assert_allclose(sigmoid(logit(probability[1:3])), probability[1:3])
    assert sigmoid(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]
