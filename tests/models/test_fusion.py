"""Fusion does what its name says, and stands back when one member is better alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models.calibration import logit, sigmoid
from mtl_tasks.models.fusion import fit_fusion, fuse

NO_MAP = {"kind": "none"}


def regression(noises: dict[str, float], count: int = 400, seed: int = 0) -> tuple[dict[str, Any], Any, Any]:
    rng = np.random.default_rng(seed)
    label = rng.uniform(0, 10, count)
    predictions = {name: label + noise * rng.standard_normal(count) for name, noise in noises.items()}
    return predictions, label, rng.integers(0, count // 4, count)


def binary(noises: dict[str, float], count: int = 600, seed: int = 0) -> tuple[dict[str, Any], Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(count)
    label = (rng.random(count) < sigmoid(truth)).astype(float)
    predictions = {name: sigmoid(truth + noise * rng.standard_normal(count)) for name, noise in noises.items()}
    return predictions, label, rng.integers(0, count // 4, count)


@given(noises=st.lists(st.floats(0.1, 3), min_size=1, max_size=4), seed=st.integers(0, 50), kind=st.booleans())
@settings(max_examples=25, deadline=None)
def test_weights_are_shares_that_sum_to_one_and_never_lose_to_the_mean(
    noises: list[float], seed: int, kind: bool
) -> None:
    named = {f"m{place}": noise for place, noise in enumerate(noises)}
    made = (binary if kind else regression)(named, seed=seed)
    task = "binary" if kind else "regression"
    fitted = fit_fusion(*made, task, "weighted")
    weights = np.array(list(fitted["weights"].values()))
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    fitted["calibration"] = NO_MAP
    equal = {**fitted, "weights": dict.fromkeys(named, 1 / len(named))}
    metric = "log_loss" if kind else "rmse"
    losses = [compute(metric, made[1], fuse(one, made[0], task)) for one in (fitted, equal)]
    assert losses[0] <= losses[1] + 1e-5


def test_weighted_trusts_the_better_member_more() -> None:
    fitted = fit_fusion(*regression({"good": 0.5, "bad": 2.0}), "regression", "weighted")
    assert fitted["weights"]["good"] > 0.85


@pytest.mark.parametrize(("make", "kind"), [(regression, "regression"), (binary, "binary")])
def test_auto_takes_the_fusion_of_least_loss_where_it_beats_every_member(make: Any, kind: str) -> None:
    fitted = fit_fusion(*make({"a": 1.0, "b": 1.0, "c": 1.0}, count=2000), kind, "auto")
    losses = fitted["blend_loss"]
    assert set(losses) == {"single:a", "single:b", "single:c", "mean", "weighted", "vote"}
    assert fitted["method"] == min(("mean", "weighted", "vote"), key=lambda name: losses[name])
    assert losses[fitted["method"]] < min(losses[f"single:{name}"] for name in "abc")
    assert fitted["requested"] == "auto"
    assert fitted["note"] == f"{fitted['method']} beat every single member significantly on blend"


@pytest.mark.parametrize(("make", "kind"), [(regression, "regression"), (binary, "binary")])
def test_auto_falls_back_to_the_best_single_member(make: Any, kind: str) -> None:
    predictions, label, users = make({"exact": 0.0, "noise": 3.0})
    fitted = fit_fusion(predictions, label, users, kind, "auto")
    assert (fitted["method"], fitted["member"]) == ("single", "exact")
    assert fitted["weights"] == {"exact": 1.0, "noise": 0.0}
    assert fitted["note"] == "no fusion beat exact alone significantly on blend, so it is used alone"
    alone = fuse({**fitted, "calibration": NO_MAP}, predictions, kind)
    np.testing.assert_allclose(alone, predictions["exact"])


def test_one_member_stands_alone() -> None:
    predictions, label, users = regression({"only": 1.0})
    fitted = fit_fusion(predictions, label, users, "regression", "auto")
    assert fitted["weights"] == {"only": 1.0}
    assert np.array_equal(fuse(fitted, predictions, "regression"), predictions["only"])


@pytest.mark.parametrize("method", ["auto", "mean", "weighted", "vote"])
@pytest.mark.parametrize(("make", "kind"), [(regression, "regression"), (binary, "binary")])
def test_members_that_all_agree_give_a_stable_fusion(make: Any, kind: str, method: str) -> None:
    predictions, label, users = make({"a": 1.0})
    alike = dict.fromkeys(("a", "b", "c"), predictions["a"])
    first, second = (fit_fusion(alike, label, users, kind, method) for _ in range(2))
    assert first == second
    assert sum(first["weights"].values()) == pytest.approx(1.0, abs=1e-5)
    made = fuse(first, alike, kind)
    if kind == "regression":
        np.testing.assert_allclose(made, predictions["a"], rtol=1e-5)
    else:
        order = np.argsort(predictions["a"])
        assert (np.diff(made[order]) >= -1e-12).all()


def by_hand(method: str, weights: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"method": method, "members": sorted(weights), "weights": weights, "calibration": NO_MAP, **more}


def test_mean_and_weighted_by_hand() -> None:
    values = {"a": np.array([1.0, 4.0]), "b": np.array([3.0, 8.0])}
    assert fuse(by_hand("mean", {"a": 0.5, "b": 0.5}), values, "regression").tolist() == [2.0, 6.0]
    assert fuse(by_hand("weighted", {"a": 0.25, "b": 0.75}), values, "regression").tolist() == [2.5, 7.0]
    chances = {"a": np.array([0.2]), "b": np.array([0.9])}
    made = fuse(by_hand("weighted", {"a": 0.25, "b": 0.75}), chances, "binary")
    np.testing.assert_allclose(made, sigmoid(0.25 * logit(np.array([0.2])) + 0.75 * logit(np.array([0.9]))))


def test_vote_of_a_regression_is_the_median() -> None:
    values = {"a": np.array([1.0]), "b": np.array([9.0]), "c": np.array([2.0])}
    assert fuse(by_hand("vote", dict.fromkeys("abc", 1 / 3)), values, "regression").tolist() == [2.0]


def test_vote_of_a_binary_task_orders_by_votes_and_then_by_the_mean() -> None:
    fitted = by_hand("vote", dict.fromkeys("abc", 1 / 3), thresholds=[0.5, 0.5, 0.2])
    rows = {"a": np.array([0.9, 0.5, 0.4]), "b": np.array([0.4, 0.5, 0.4]), "c": np.array([0.1, 0.1, 0.1])}
    made = fuse(fitted, rows, "binary")
    means = np.array([1.4, 1.1, 0.9]) / 3
    np.testing.assert_allclose(made, (np.array([1, 2, 0]) + means) / 4)
    assert np.argsort(-made).tolist() == [1, 0, 2]  # two votes before one, though its mean is lower


def test_votes_of_a_useful_member_are_useful() -> None:
    predictions, label, users = binary({"a": 0.5, "b": 0.5, "c": 0.5})
    fitted = fit_fusion(predictions, label, users, "binary", "vote")
    assert len(fitted["thresholds"]) == 3
    assert compute("auc", label, fuse(fitted, predictions, "binary")) > 0.65


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_not_finite_are_refused_by_member(bad: float) -> None:
    predictions, label, users = regression({"good": 1.0, "bad": 1.0})
    predictions["bad"][:2] = bad
    with pytest.raises(DataError, match="fusion: member 'bad' gave 2 non-finite predictions"):
        fit_fusion(predictions, label, users, "regression", "mean")


def test_blend_rows_of_one_person_are_refused() -> None:
    predictions, label, users = regression({"a": 1.0})
    with pytest.raises(DataError, match="fewer than two users"):
        fit_fusion(predictions, label, np.ones_like(users), "regression", "auto")


def test_a_fitted_fusion_survives_json_to_the_bit() -> None:
    predictions, label, users = binary({"a": 0.5, "b": 1.0})
    for method in ("auto", "mean", "weighted", "vote"):
        fitted = fit_fusion(predictions, label, users, "binary", method)
        again = json.loads(json.dumps(fitted))
        assert np.array_equal(fuse(again, predictions, "binary"), fuse(fitted, predictions, "binary"))
