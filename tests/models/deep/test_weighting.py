"""Task weights follow losses and gradients, and projections remove what opposes other tasks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_tasks.models.deep.weighting import LOG_VARIANCE, agreement, followed, gradients

AT = {"shared.w": jnp.array([0.0, 0.0]), "task.w": jnp.array([0.0, 0.0])}
PULL = np.array([[1.0, 0.0], [-1.0, 1.0]])  # of two tasks on the shared parameters


def losses(params: dict) -> jax.Array:
    return 1 + PULL @ params["shared.w"] + params["task.w"]


def step(weighting: str, weights: tuple[float, float] = (1.0, 1.0), **more: jax.Array) -> dict:
    made, found = gradients(weighting, losses, {**AT, **more}, jnp.array(weights), jax.random.PRNGKey(0))
    np.testing.assert_allclose(found, [1, 1])
    return {name: np.asarray(part) for name, part in made.items()}


@pytest.mark.parametrize("weighting", ["fixed", "dwa", "gradnorm"])
def test_a_step_follows_the_weighted_sum(weighting: str) -> None:
    made = step(weighting, (2.0, 1.0))
    np.testing.assert_allclose(made["shared.w"], [1, 1])
    np.testing.assert_allclose(made["task.w"], [2, 1])


def test_uncertainty_learns_a_variance_that_lowers_the_weight_of_a_large_loss() -> None:
    made = step("uncertainty", **{LOG_VARIANCE: jnp.array([0.0, np.log(4.0)])})
    np.testing.assert_allclose(made["task.w"], [1, 0.25], rtol=1e-6)
    np.testing.assert_allclose(made[LOG_VARIANCE], [-0.5, 0.25], rtol=1e-6)  # of exp(-s) + s / 2


def test_pcgrad_removes_conflicts_from_shared_parameters_only() -> None:
    made = step("pcgrad")
    np.testing.assert_allclose(made["shared.w"], [0.5, 1.5], atol=1e-6)  # (.5, .5) and (0, 1)
    np.testing.assert_allclose(made["task.w"], [1, 1])


def test_agreement_is_the_cosine_of_shared_gradients() -> None:
    cosines, norms = agreement(losses, AT)
    np.testing.assert_allclose(cosines, [[1, -np.sqrt(0.5)], [-np.sqrt(0.5), 1]], atol=1e-6)
    np.testing.assert_allclose(norms, [1, np.sqrt(2)], rtol=1e-6)


def test_dwa_favors_the_task_whose_loss_falls_least() -> None:
    history = [np.array([1.0, 1.0]), np.array([0.5, 1.0])]
    made = followed("dwa", np.ones(2), history, np.ones(2))
    assert made[1] > 1 > made[0]
    assert made.mean() == pytest.approx(1)
    np.testing.assert_allclose(followed("dwa", np.ones(2), history[:1], np.ones(2)), 1)


def test_gradnorm_favors_small_gradients_and_tasks_that_are_behind() -> None:
    even = [np.array([1.0, 1.0]), np.array([0.5, 0.5])]
    small = followed("gradnorm", np.ones(2), even, np.array([2.0, 1.0]))
    assert small[1] > 1 > small[0]
    behind = followed("gradnorm", np.ones(2), [np.array([1.0, 1.0]), np.array([0.5, 0.9])], np.ones(2))
    assert behind[1] > 1 > behind[0]


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "pcgrad"])
def test_other_weights_stay(weighting: str) -> None:
    weights = np.array([0.5, 1.5])
    assert followed(weighting, weights, [np.ones(2), np.array([0.1, 1.0])], np.array([3.0, 1.0])) is weights
