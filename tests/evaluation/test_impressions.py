"""The order of what users were shown, and off-policy estimates: by hand, and as loops find them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.errors import DataError
from mtl_tasks.evaluation.impressions import GAUC, NDCG, evaluate_impressions
from mtl_tasks.evaluation.off_policy import evaluate_policies
from mtl_tasks.metrics.catalog import compute, metrics_of
from mtl_tasks.store.artifacts import to_json

D2 = 1 / np.log2(3)
# User, day, label, prediction: groups of 3, 2 and 1 rows, and one whose labels are alike.
ROWS = [
    (2, 5, 1.0, 0.9),
    (1, 5, 1.0, 0.1),
    (2, 5, 0.0, 0.3),
    (1, 5, 0.0, 0.7),
    (1, 6, 1.0, 0.5),
    (2, 5, 0.0, 0.95),
    (3, 5, 1.0, 0.2),
    (3, 5, 1.0, 0.1),
    (1, 5, np.nan, 0.99),
]


def table() -> tuple[Any, Any, Any, Any]:
    users, days, label, prediction = np.array(ROWS).T
    return users.astype(np.int64), days.astype(np.int32), label, prediction


def test_impressions_by_hand() -> None:
    users, days, label, prediction = table()
    document = evaluate_impressions(users, days, label, {"mine": prediction, "popularity": -prediction}, seed=1)
    assert (document.rows, document.groups, document.users, document.left_out) == (5, 2, 2, 3)
    mine = document.models["mine"]
    assert mine.metrics[GAUC].value == pytest.approx((3 * 0.5 + 2 * 0.0) / 5)
    assert mine.metrics[NDCG].value == pytest.approx((D2 + D2) / 2)
    floor = document.models["popularity"]
    assert floor.metrics[GAUC].value == pytest.approx((3 * 0.5 + 2 * 1.0) / 5)
    assert mine.versus["popularity"][GAUC].value == pytest.approx(-2 / 5)
    assert floor.versus == {}
    assert document.chance[GAUC] == pytest.approx(0.5)
    assert document.chance[NDCG] == pytest.approx(((1 + D2 + 1 / 2) / 3 + (1 + D2) / 2) / 2)
    assert {GAUC, NDCG, "snips"} == set(metrics_of("impressions"))
    to_json(document.model_dump(mode="json"))


def random_rows(seed: int, rows: int = 60) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows).astype(float)
    label[rng.random(rows) < 0.1] = np.nan
    return rng.integers(0, 8, rows), rng.integers(0, 2, rows), label, rng.integers(0, 5, rows) / 5


def groups_of(users: Any, days: Any, label: Any) -> list[Any]:
    keys = sorted(set(zip(users, days, strict=True)))
    masks = [(users == user) & (days == day) & ~np.isnan(label) for user, day in keys]
    return [np.flatnonzero(mask) for mask in masks if mask.any()]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_gauc_is_the_weighted_mean_that_a_loop_over_groups_finds(seed: int) -> None:
    users, days, label, prediction = random_rows(seed)
    found = evaluate_impressions(users, days, label, {"mine": prediction}, seed=1, replicates=10)
    groups = [group for group in groups_of(users, days, label) if 0 < label[group].mean() < 1]
    weights = [len(group) for group in groups]
    areas = [compute("auc", label[group], prediction[group]) for group in groups]
    assert (found.groups, found.rows) == (len(groups), sum(weights))
    assert found.models["mine"].metrics[GAUC].value == pytest.approx(np.average(areas, weights=weights))


def test_differences_are_paired() -> None:
    users, days, label, prediction = random_rows(1, rows=400)
    models = {"mine": prediction, "popularity": prediction * 2 - 7}
    versus = evaluate_impressions(users, days, label, models, seed=1).models["mine"].versus["popularity"]
    assert [(found.value, found.low, found.high) for found in versus.values()] == [(0.0, 0.0, 0.0)] * 2


def test_the_order_of_rows_does_not_matter() -> None:
    users, days, label, prediction = random_rows(2, rows=200)
    order = np.random.default_rng(0).permutation(200)
    first = evaluate_impressions(users, days, label, {"mine": prediction}, seed=1, k=3)
    assert first == evaluate_impressions(
        users[order], days[order], label[order], {"mine": prediction[order]}, seed=1, k=3
    )


@pytest.mark.parametrize("label", [[], [1.0, 1.0], [np.nan, 0.0]])
def test_without_a_group_that_has_both_labels_everything_is_null(label: list[float]) -> None:
    rows = len(label)
    users, days = np.ones(rows, dtype=np.int64), np.ones(rows, dtype=np.int32)
    document = evaluate_impressions(users, days, np.array(label), {"mine": np.zeros(rows)}, seed=1)
    assert (document.groups, document.rows, document.users) == (0, 0, 0)
    assert {found.value for found in document.models["mine"].metrics.values()} == {None}
    assert set(document.chance.values()) == {None}


def test_a_prediction_that_is_not_finite_leaves_its_model_alone_without_a_value() -> None:
    users, days, label, prediction = table()
    broken = np.where(prediction == 0.9, np.nan, prediction)
    document = evaluate_impressions(users, days, label, {"mine": broken, "popularity": prediction}, seed=1)
    assert document.models["mine"].metrics[GAUC].value is None
    assert document.models["mine"].versus["popularity"][GAUC].value is None
    assert document.models["popularity"].metrics[GAUC].value == pytest.approx(0.3)


def test_wrong_labels_and_lengths_are_refused() -> None:
    users, days, label, prediction = table()
    with pytest.raises(ValueError, match="1 of 9 labels, such as 2, are not 0 or 1"):
        evaluate_impressions(users, days, np.where(prediction == 0.9, 2.0, label), {"mine": prediction}, seed=1)
    with pytest.raises(ValueError, match="mine: 8 predictions of 9 rows"):
        evaluate_impressions(users, days, label, {"mine": prediction[:8]}, seed=1)


# ---------------------------------------------------------------------------------------------- off-policy


def test_a_policy_is_estimated_by_hand() -> None:
    users = np.array([1, 1, 2, 2, 3, 4, 4])
    label = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    propensity = np.array([0.5, 0.25, 0.1, 1.0, 1.0, np.nan, 1.0])
    mine = np.array([0.9, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1])
    document = evaluate_policies(
        users, np.ones(7, dtype=int), label, propensity, {"mine": mine, "popularity": np.zeros(7)}, seed=1, max_weight=8
    )
    assert (document.rows, document.groups, document.users, document.max_weight) == (4, 2, 2, 8)
    found = document.models["mine"]
    assert found.snips.value == pytest.approx((2 * 1 + 8 * 0) / (2 + 8))
    assert found.effective_rows == pytest.approx((2 + 8) ** 2 / (2**2 + 8**2))
    assert found.clipped == 1
    weights = np.array([2, 4, 8, 1]) / 2
    floor = document.models["popularity"]
    assert floor.snips.value == pytest.approx(weights @ label[:4] / weights.sum())
    assert found.versus["popularity"].value == pytest.approx(0.2 - 1.5 / 7.5)
    to_json(document.model_dump(mode="json"))


def test_uniform_exposures_give_the_mean_label_of_what_is_chosen() -> None:
    users, days, label, prediction = random_rows(4, rows=300)
    propensity = np.where(np.arange(300) % 3 == 0, 1.0, np.nan)
    distinct = prediction + np.linspace(0, 1e-3, 300)
    document = evaluate_policies(users, days, label, propensity, {"mine": distinct}, seed=1, k=2)
    usable = np.where(np.isnan(propensity), np.nan, label)
    groups = [group for group in groups_of(users, days, usable) if len(group) > 2]
    chosen = [label[group[np.argsort(-distinct[group])[:2]]] for group in groups]
    assert document.groups == len(groups)
    assert document.models["mine"].snips.value == pytest.approx(np.concatenate(chosen).mean())
    assert document.models["mine"].effective_rows == pytest.approx(2 * len(groups))


def test_the_estimate_corrects_for_what_the_log_preferred_to_show() -> None:
    """Item 0 has label rate 0.2, item 1 has 0.8; the log shows rows of item 1 less often where they succeed."""
    rng = np.random.default_rng(0)
    slates = 20_000
    users = np.repeat(np.arange(slates), 2)
    label = (rng.random(2 * slates) < np.tile([0.2, 0.8], slates)).astype(float)
    mine = np.tile([0.0, 1.0], slates)
    propensity = np.where((mine == 1) & (label == 1), 0.25, 0.75)
    shown = rng.random(2 * slates) < propensity
    document = evaluate_policies(
        users, np.zeros(2 * slates), label, np.where(shown, propensity, np.nan), {"mine": mine}, seed=1, k=1
    )
    found = document.models["mine"].snips
    naive = label[shown & (mine == 1)].mean()
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.8 < found.high
    assert naive < 0.65


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, r"propensity: 1 of 9 values are outside \(0, 1\], the first 0 in row 2; give the probability"),
        (1.5, "the first 1.5 in row 2"),
        (-0.1, "the first -0.1 in row 2"),
        (np.inf, "the first inf in row 2"),
    ],
)
def test_a_propensity_that_is_no_probability_above_0_is_refused(value: float, message: str) -> None:
    users, days, label, prediction = table()
    propensity = np.full(9, 0.5)
    propensity[2] = value
    with pytest.raises(DataError, match=message):
        evaluate_policies(users, days, label, propensity, {"mine": prediction}, seed=1)


def test_without_known_propensities_there_is_no_estimate() -> None:
    users, days, label, prediction = table()
    document = evaluate_policies(users, days, label, np.full(9, np.nan), {"mine": prediction}, seed=1)
    found = document.models["mine"]
    assert (document.rows, found.snips.value, found.effective_rows, found.clipped) == (0, None, 0.0, 0)


@pytest.mark.parametrize(("settings", "message"), [({"k": 0}, "k is 0"), ({"max_weight": 0.5}, "max_weight is 0.5")])
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    users, days, label, prediction = table()
    with pytest.raises(ValueError, match=message):
        evaluate_policies(users, days, label, np.ones(9), {"mine": prediction}, seed=1, **settings)
