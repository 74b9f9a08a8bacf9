"""Curves of the test window are those of scikit-learn, thinned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from mtl_tasks.evaluation.curves import BINS, POINTS, lift, precision_recall, prediction_bins, roc, task_curves
from mtl_tasks.evaluation.evaluate import FLOOR, FUSION, ScoredRows
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.curves import Curves

ROUNDING = 6e-6  # values are stored with five digits


def predictions(count: int = 3_000, digits: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.standard_normal(count)
    label = (truth + rng.standard_normal(count) > 1).astype(np.float64)
    return label, np.round(1 / (1 + np.exp(-truth)), digits)


@pytest.mark.parametrize("digits", [6, 1])  # with ties
def test_roc_has_points_of_scikit_learns_and_its_area(digits: int) -> None:
    label, prediction = predictions(digits=digits)
    line = roc(label, prediction)
    x, y, _ = roc_curve(label, prediction, drop_intermediate=False)
    theirs = np.column_stack([x, y])
    for point in zip(line.x, line.y, strict=True):
        assert np.abs(theirs - point).max(axis=1).min() <= ROUNDING
    assert len(line.x) <= POINTS
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(line.y, line.x) == pytest.approx(roc_auc_score(label, prediction), abs=2e-3)


@pytest.mark.parametrize("digits", [6, 1])
def test_precision_by_recall_has_points_of_scikit_learns(digits: int) -> None:
    label, prediction = predictions(digits=digits)
    line = precision_recall(label, prediction)
    precision, recall, _ = precision_recall_curve(label, prediction)
    theirs = np.column_stack([recall, precision])
    for point in zip(line.x, line.y, strict=True):
        assert np.abs(theirs - point).max(axis=1).min() <= ROUNDING
    assert len(line.x) <= POINTS
    assert line.x[-1] == 1
    assert list(line.x) == sorted(line.x)


def test_lift_is_the_share_of_each_tenth_over_the_mean() -> None:
    label, prediction = np.zeros(1_000), np.arange(1_000, 0, -1) / 1_000
    label[:50], label[950:] = 1, 1
    assert_allclose(lift(label, prediction), [5, 0, 0, 0, 0, 0, 0, 0, 0, 5])


def test_tied_rows_have_the_lift_of_their_mean_in_any_order() -> None:
    label, prediction = predictions(digits=1)
    assert set(lift(np.sort(label)[::-1], np.full(len(label), 0.3))) == {1.0}
    shuffled = np.random.default_rng(0).permutation(len(label))
    assert_allclose(lift(label, prediction), lift(label[shuffled], prediction[shuffled]), atol=ROUNDING)


def test_tied_predictions_of_a_regression_share_a_bin() -> None:
    part = rows("regression")
    rounded = {name: np.round(values) for name, values in part.predictions.items()}
    bins = prediction_bins(ScoredRows(part.users, part.days, part.label, rounded, {}))
    assert len({one.predicted for one in bins}) == len(bins) < BINS
    assert sum(one.rows for one in bins) == len(part.label)


def rows(kind: str, count: int = 600) -> ScoredRows:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(count)
    label = (truth > 0.5).astype(np.float64) if kind == "binary" else 3 + truth
    noise = {FLOOR: 2.0, "als": 1.0, FUSION: 0.2}
    made = {name: 3 + truth + size * rng.standard_normal(count) for name, size in noise.items()}
    if kind == "binary":
        made = {name: 1 / (1 + np.exp(3 - values)) for name, values in made.items()}
    return ScoredRows(rng.integers(0, 50, count), np.repeat([19_000, 19_001, 19_003], count // 3), label, made, {})


def test_a_binary_task_has_curves_of_all_models() -> None:
    part = rows("binary")
    curves = task_curves(part, "binary")
    assert curves is not None
    models = {FLOOR, "als", FUSION}
    assert set(curves.roc) == set(curves.precision_recall) == set(curves.lift) == set(curves.by_day.models) == models
    assert curves.by_day.days == ("2022-01-08", "2022-01-09", "2022-01-11")
    day = part.where(part.days == 19_001)
    assert curves.by_day.models["als"][1] == pytest.approx(roc_auc_score(day.label, day.predictions["als"]), abs=1e-5)
    assert sum(curves.scores.counts["positive"]) == part.label.sum()
    assert sum(curves.scores.counts["negative"]) == (part.label == 0).sum()
    assert curves.predicted == ()
    stored = Curves(tasks={"buy": curves}).to_stored()
    assert Curves.parse(stored, "curves.json").tasks["buy"] == curves
    assert len(to_json(stored)) < 25_000


def test_a_regression_has_bins_of_equal_size_and_residuals_of_fusion_and_floor() -> None:
    part = rows("regression")
    curves = task_curves(part, "regression")
    assert curves is not None
    assert not curves.roc
    assert not curves.lift
    bins = prediction_bins(part)
    assert curves.predicted == bins
    assert [one.rows for one in bins] == [600 // BINS] * BINS
    order = np.argsort(part.predictions[FUSION])[:30]
    assert bins[0].predicted == pytest.approx(part.predictions[FUSION][order].mean(), abs=1e-5)
    assert bins[0].actual == pytest.approx(part.label[order].mean(), abs=1e-5)
    assert bins[0].low <= bins[0].actual <= bins[0].high
    assert {name: sum(counts) for name, counts in curves.scores.counts.items()} == {FUSION: 600, FLOOR: 600}


def test_one_class_has_no_roc_and_no_rows_have_no_curves() -> None:
    part = rows("binary")
    some = part.where(part.label == 0)
    curves = task_curves(some, "binary")
    assert curves is not None
    assert curves.roc == {}
    assert set(curves.by_day.models[FUSION]) == {None}
    assert task_curves(part.where(np.zeros(len(part.label), dtype=np.bool_)), "binary") is None


def test_equal_predictions_have_curves_too() -> None:
    part = rows("regression", 60)
    constant = {name: np.full(60, 3.0) for name in part.predictions}
    same = ScoredRows(part.users, part.days, np.full(60, 3.0), constant, {})
    curves = task_curves(same, "regression")
    assert curves is not None
    assert curves.scores.edges == (-0.5, 0.5)
