"""Weights of a linear pool: which members are eligible, and how far weights are shrunk."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_tasks.models.calibration import logit
from mtl_tasks.models.pooling import (
    SHRINKAGES,
    PoolRows,
    choose_shrinkage,
    eligible_members,
    equal_weights,
    shrunken_weights,
    simplex_weights,
)


def rows_of(noises: dict[str, float], count: int = 1200, seed: int = 0) -> PoolRows:
    rng = np.random.default_rng(seed)
    label = rng.standard_normal(count)
    predictions = {name: label + noise * rng.standard_normal(count) for name, noise in noises.items()}
    return PoolRows.of(predictions, label, rng.integers(0, count // 4, count), "regression")


def test_columns_are_sorted_by_name_and_probabilities_become_log_odds() -> None:
    predictions = {"b": np.array([0.2, 0.5]), "a": np.array([0.9, 0.5])}
    rows = PoolRows.of(predictions, np.array([1.0, 0.0]), np.array([1, 2]), "binary")
    assert rows.members == ("a", "b")
    np.testing.assert_allclose(rows.inputs, np.column_stack([logit(predictions["a"]), logit(predictions["b"])]))
    np.testing.assert_allclose(rows.row_losses(rows.inputs[:, 0]), [-np.log(0.9), np.log(2)])
    assert PoolRows.of(predictions, np.zeros(2), np.arange(2), "regression").inputs.tolist() == [[0.9, 0.2], [0.5, 0.5]]


@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_slopes_are_the_derivatives_of_the_losses(kind: str) -> None:
    score, label, step = np.array([-2.0, 0.3, 1.5]), np.array([0.0, 1.0, 1.0]), 1e-6
    rows = PoolRows(("a",), score[:, None], label, np.arange(3), kind)
    numeric = (rows.row_losses(score + step) - rows.row_losses(score - step)) / (2 * step)
    np.testing.assert_allclose(rows.slopes(score), numeric, rtol=1e-6)


def test_a_member_is_eligible_unless_it_is_significantly_worse_than_the_best() -> None:
    rows = rows_of({"near": 1.02, "best": 1.0, "far": 1.5, "popularity": 3.0})
    assert dict(zip(rows.members, eligible_members(rows), strict=True)) == {
        "near": True,
        "best": True,
        "far": False,
        "popularity": False,
    }


def test_a_member_no_better_than_popularity_is_eligible_only_if_it_is_the_best() -> None:
    label = np.array([0.0, 1.0, 0.0, 1.0])
    predictions = {"popularity": label + 0.2, "worse": label + np.array([0.3, -0.1, 0.3, -0.1]), "best": label + 0.1}
    rows = PoolRows.of(predictions, label, np.arange(4), "regression")
    assert eligible_members(rows).tolist() == [True, False, False]
    alone = PoolRows.of({**predictions, "best": label + 0.4}, label, np.arange(4), "regression")
    assert eligible_members(alone).tolist() == [False, True, False]


def test_weights_move_from_equal_to_fitted_ones() -> None:
    rows = rows_of({"a": 1.0, "b": 1.01, "popularity": 2.0})
    fitted, equal = simplex_weights(rows), equal_weights(eligible_members(rows))
    np.testing.assert_allclose(equal, [0.5, 0.5, 0])
    assert fitted[2] > 0.05  # its errors are independent of the others'
    np.testing.assert_allclose(shrunken_weights(rows, 1.0), equal)
    np.testing.assert_allclose(shrunken_weights(rows, 0.0), fitted)
    np.testing.assert_allclose(shrunken_weights(rows, 0.25), 0.25 * equal + 0.75 * fitted)


def test_independent_errors_in_the_proportion_of_variances() -> None:
    precision = np.array([1.0, 4.0])
    np.testing.assert_allclose(simplex_weights(rows_of({"a": 1.0, "b": 0.5}, 40_000)), precision / 5, atol=0.01)


def test_the_greatest_shrinkage_within_one_standard_error_is_chosen() -> None:
    for seed in range(4):
        rows = rows_of({"a": 1.0, "b": 0.85, "c": 0.9}, 600, seed)
        found = choose_shrinkage(rows)
        least = min(SHRINKAGES, key=lambda share: found.losses[share].mean())
        _, code = np.unique(rows.users, return_inverse=True)
        for share in SHRINKAGES[: SHRINKAGES.index(found.chosen) + 1]:
            excess = found.losses[share] - found.losses[least]
            totals = np.bincount(code, weights=excess - excess.mean())
            assert (excess.sum() <= np.sqrt((totals**2).sum())) == (share == found.chosen)


def test_much_evidence_needs_no_shrinkage_and_equal_members_get_all_of_it() -> None:
    assert choose_shrinkage(rows_of({"a": 1.0, "b": 0.8}, 20_000)).chosen == 0.0
    same = rows_of({"a": 1.0})
    twins = PoolRows(("a", "b"), np.repeat(same.inputs, 2, axis=1), same.label, same.users, "regression")
    assert choose_shrinkage(twins).chosen == 1.0


@pytest.mark.parametrize(("positives", "fitted"), [(19, False), (20, True)])
def test_weights_are_fitted_to_ten_of_the_rarer_label_for_each_member(positives: int, fitted: bool) -> None:
    rng = np.random.default_rng(3)
    label = (np.arange(2000) < positives).astype(np.float64)
    good = np.where(label == 1, 0.9, 0.01)
    predictions = {"good": good, "noise": rng.uniform(0.009, 0.011, len(label))}
    for rows in (
        PoolRows.of(predictions, label, np.arange(2000) % 200, "binary"),
        PoolRows.of({name: 1 - each for name, each in predictions.items()}, 1 - label, np.arange(2000) % 200, "binary"),
    ):
        assert rows.rarer == positives
        assert list(choose_shrinkage(rows).losses) == (list(SHRINKAGES) if fitted else [1.0])
    few = PoolRows.of(predictions, label, np.arange(2000) % 200, "regression").where(np.arange(2000) % 200 < 2)
    assert (few.rarer, few.can_fit_weights()) == (20, True)
    assert not few.where(np.arange(20) < 19).can_fit_weights()
