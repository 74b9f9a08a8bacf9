"""Fusion does what its name says: little evidence gives the mean of the good members, much evidence the best."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models.calibration import logit, sigmoid, user_folds
from mtl_tasks.models.fusion import fit_fusion, fuse, held_out_fusion, uncalibrated_mean
from mtl_tasks.store.documents.training import Calibration, TaskFusion

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


def alike(kind: str, count: int = 2000) -> tuple[dict[str, Any], Any, Any]:
    """Three members of equal worth whose errors are mostly the same, and the popularity baseline."""
    rng = np.random.default_rng(4)
    truth, common = rng.standard_normal((2, count))
    own = {"a": 0.3, "b": 0.3, "c": 0.3, "popularity": 3.0}
    seen = {name: truth + 0.5 * common + noise * rng.standard_normal(count) for name, noise in own.items()}
    shrunk = {name: values / (1.25 + own[name] ** 2) for name, values in seen.items()}
    users = rng.integers(0, count // 4, count)
    if kind == "regression":
        return shrunk, truth + rng.standard_normal(count), users
    label = (rng.random(count) < sigmoid(truth)).astype(float)
    return {name: sigmoid(values) for name, values in shrunk.items()}, label, users


@given(noises=st.lists(st.floats(0.1, 3), min_size=1, max_size=4), seed=st.integers(0, 50), kind=st.booleans())
@settings(max_examples=25)
def test_weights_are_shares_that_sum_to_one_and_never_lose_to_the_mean(
    noises: list[float], seed: int, kind: bool
) -> None:
    named = {f"m{place}": noise for place, noise in enumerate(noises)}
    made = (binary if kind else regression)(named, seed=seed)
    task = "binary" if kind else "regression"
    fitted = fit_fusion(*made, task, "weighted").model_copy(update={"calibration": Calibration()})
    weights = np.array(list(fitted.weights.values()))
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    equal = fitted.model_copy(update={"weights": dict.fromkeys(named, 1 / len(named))})
    metric = "log_loss" if kind else "rmse"
    losses = [compute(metric, made[1], fuse(one, made[0], task)) for one in (fitted, equal)]
    assert losses[0] <= losses[1] + 1e-5


def test_weighted_trusts_the_better_member_more() -> None:
    fitted = fit_fusion(*regression({"good": 0.5, "bad": 2.0}), "regression", "weighted")
    assert fitted.weights["good"] > 0.85


@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_auto_gives_equal_weights_to_members_of_equal_worth(kind: str) -> None:
    predictions, label, users = alike(kind)
    fitted = fit_fusion(predictions, label, users, kind, "auto")
    assert (fitted.method, fitted.eligible, fitted.shrinkage) == ("shrunken", ("a", "b", "c"), 1.0)
    assert list(fitted.weights.values()) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=1e-6)
    assert fitted.requested == "auto"
    assert fitted.note == (
        "equal weights of a, b, c: none was significantly worse than the best on blend, and fitted weights were not "
        "better by more than one standard error"
    )
    names = {"single:a", "single:b", "single:c", "single:popularity", "mean", "weighted", "shrunken"}
    assert set(fitted.blend_loss) == set(fitted.blend_loss_se) == set(fitted.blend_excess) == names
    assert fitted.blend_loss["shrunken"] < min(fitted.blend_loss[f"single:{name}"] for name in "abc")
    assert (fitted.blend_excess["shrunken"].loss, fitted.blend_excess["shrunken"].se) == (0, 0)


@pytest.mark.parametrize(("make", "kind"), [(regression, "regression"), (binary, "binary")])
def test_auto_takes_one_member_that_is_significantly_better_alone(make: Any, kind: str) -> None:
    predictions, label, users = make({"exact": 0.0, "noise": 3.0})
    fitted = fit_fusion(predictions, label, users, kind, "auto")
    assert (fitted.method, fitted.member, fitted.eligible) == ("single", "exact", ("exact",))
    assert fitted.weights == {"exact": 1.0, "noise": 0.0}
    assert fitted.note == (
        "exact alone: every other member was significantly worse on blend, or no better than popularity"
    )
    alone = fuse(fitted.model_copy(update={"calibration": Calibration()}), predictions, kind)
    np.testing.assert_allclose(alone, predictions["exact"])


def test_auto_uses_fitted_weights_where_much_evidence_is_for_them() -> None:
    predictions, label, users = regression({"good": 0.9, "better": 0.5, "best": 0.4}, count=8000)
    fitted = fit_fusion(predictions, label, users, "regression", "auto")
    assert fitted.method == "shrunken"
    assert fitted.shrinkage is not None
    assert fitted.shrinkage < 1
    assert fitted.weights["best"] > fitted.weights["better"] > fitted.weights["good"] > 0.02
    assert "shrunk by" in fitted.note
    assert fitted.shrinkage_loss[str(fitted.shrinkage)].loss < fitted.shrinkage_loss["1.0"].loss


@pytest.mark.parametrize("positives", [8, 40])
def test_the_popularity_baseline_has_no_weight_beside_better_members_however_few_the_positives(positives: int) -> None:
    rng = np.random.default_rng(positives)
    truth = rng.standard_normal(4000)
    label = np.zeros(4000)
    label[rng.choice(4000, positives, replace=False, p=np.exp(truth) / np.exp(truth).sum())] = 1
    named = {"popularity": 3.0, "als": 3.5, "independent": 0.3, "shared": 0.3}
    base = np.log(positives / 4000)
    predictions = {n: sigmoid(base + (truth + s * rng.standard_normal(4000)) / (1 + s * s)) for n, s in named.items()}
    fitted = fit_fusion(predictions, label, rng.integers(0, 800, 4000), "binary", "auto")
    assert fitted.weights["popularity"] == 0
    assert fitted.weights["independent"] > 0.25
    assert fitted.weights["shared"] > 0.25


def test_standard_errors_are_of_the_loss_and_clustered_by_user() -> None:
    predictions, label, users = regression({"a": 1.0, "b": 1.5}, count=3000)
    fitted = fit_fusion(predictions, label, users, "regression", "mean")
    squared = (predictions["a"] - label) ** 2
    rmse = np.sqrt(squared.mean())
    totals = np.bincount(users, weights=squared - squared.mean())
    assert fitted.blend_loss["single:a"] == pytest.approx(rmse, abs=1e-6)
    assert fitted.blend_loss_se["single:a"] == pytest.approx(np.sqrt((totals**2).sum()) / 3000 / (2 * rmse), abs=1e-6)
    excess = squared - ((predictions["a"] + predictions["b"]) / 2 - label) ** 2
    assert fitted.blend_excess["single:a"].loss == pytest.approx(excess.mean(), abs=1e-6)


def test_one_member_stands_alone() -> None:
    predictions, label, users = regression({"only": 1.0})
    fitted = fit_fusion(predictions, label, users, "regression", "auto")
    assert (fitted.method, fitted.weights) == ("single", {"only": 1.0})
    assert np.array_equal(fuse(fitted, predictions, "regression"), predictions["only"])


@pytest.mark.parametrize("method", ["auto", "mean", "weighted", "vote"])
@pytest.mark.parametrize(("make", "kind"), [(regression, "regression"), (binary, "binary")])
def test_members_that_all_agree_give_a_stable_fusion(make: Any, kind: str, method: str) -> None:
    predictions, label, users = make({"a": 1.0})
    alike = dict.fromkeys(("a", "b", "c"), predictions["a"])
    first, second = (fit_fusion(alike, label, users, kind, method) for _ in range(2))
    assert first == second
    assert sum(first.weights.values()) == pytest.approx(1.0, abs=1e-5)
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
    assert fitted.thresholds is not None
    assert len(fitted.thresholds) == 3
    assert compute("auc", label, fuse(fitted, predictions, "binary")) > 0.65


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_not_finite_are_refused_by_member(bad: float) -> None:
    predictions, label, users = regression({"good": 1.0, "bad": 1.0})
    predictions["bad"][:2] = bad
    with pytest.raises(DataError, match="fusion: member 'bad' gave 2 non-finite predictions"):
        fit_fusion(predictions, label, users, "regression", "mean")


def test_blend_rows_of_one_user_are_refused() -> None:
    predictions, label, users = regression({"a": 1.0})
    with pytest.raises(DataError, match="fewer than two users"):
        fit_fusion(predictions, label, np.ones_like(users), "regression", "auto")


def test_a_fitted_fusion_survives_json_to_the_bit() -> None:
    predictions, label, users = binary({"a": 0.5, "b": 1.0})
    for method in ("auto", "mean", "weighted", "vote"):
        fitted = fit_fusion(predictions, label, users, "binary", method)
        again = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
        assert TaskFusion.from_json(again) == fitted
        assert np.array_equal(fuse(again, predictions, "binary"), fuse(fitted, predictions, "binary"))


def test_a_document_of_an_earlier_release_is_read() -> None:
    earlier = {
        "method": "single",
        "members": ["als", "independent"],
        "member": "independent",
        "weights": {"als": 0.0, "independent": 1.0},
        "blend_loss": {"single:als": 0.5, "single:independent": 0.4, "mean": 0.45, "weighted": 0.41, "vote": 0.6},
        "requested": "auto",
        "note": "no fusion beat independent alone significantly on blend, so it is used alone",
        "calibration": {"kind": "platt", "slope": 2.0, "offset": 0.5, "log_loss": {"none": 0.5, "platt": 0.4}},
    }
    chances = {"als": np.array([0.1]), "independent": np.array([0.3])}
    made = fuse(earlier, chances, "binary")
    np.testing.assert_allclose(made, sigmoid(2 * logit(np.array([0.3])) + 0.5))
    assert TaskFusion.from_json(earlier).to_json().items() >= earlier.items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "median"}, "method: Input should be 'single', 'mean', 'weighted', 'vote' or 'shrunken'"),
        ({"weights": {"a": "much"}}, "weights.a: Input should be a valid number"),
        ({"weights": {"a": float("nan")}}, "weights.a: Input should be a finite number"),
    ],
)
def test_a_document_that_is_none_is_refused_by_its_first_fault(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=f"fusion: not a fusion document: {message}"):
        fuse(by_hand("mean", {"a": 1.0}) | change, {"a": np.ones(2)}, "regression")


@pytest.mark.parametrize("method", ["auto", "weighted", "mean", "vote"])
@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_held_out_predictions_of_a_fold_ignore_its_own_labels(kind: str, method: str) -> None:
    predictions, label, users = alike(kind)
    label = label if kind == "regression" else np.where(np.arange(len(label)) % 4 == 0, 1.0, label)  # miscalibrated
    fitted = fit_fusion(predictions, label, users, kind, method)
    made = held_out_fusion(fitted, predictions, label, users, kind)
    held = user_folds(users) == 2
    assert made[held] == pytest.approx(
        held_out_fusion(fitted, predictions, np.where(held, 1 - label, label), users, kind)[held], abs=1e-12
    )
    assert np.corrcoef(made, fuse(fitted, predictions, kind))[0, 1] > 0.9


def test_the_uncalibrated_mean_weighs_members_with_weight_equally() -> None:
    weights, platt = (
        {"a": 0.9, "b": 0.1, "c": 0.0},
        Calibration.model_validate({"kind": "platt", "slope": 2.0, "offset": 1.0}),
    )
    fitted = TaskFusion(method="weighted", members=tuple(weights), weights=weights, calibration=platt)
    made = {"a": np.array([0.2]), "b": np.array([0.6]), "c": np.array([0.9])}
    expected = sigmoid((logit(made["a"]) + logit(made["b"])) / 2)
    assert fuse(uncalibrated_mean(fitted.to_json()).to_json(), made, "binary") == pytest.approx(expected)
