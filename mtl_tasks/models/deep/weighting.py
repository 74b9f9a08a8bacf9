"""Combination of the tasks' losses into one step, and updates of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.deep.network import SHARED, Params
from mtl_tasks.scenario.deep import TaskWeighting

Values = NDArray[np.float64]
Losses = Callable[[Params], Any]  # parameters to the tasks' losses, float32 (tasks,)

LOG_VARIANCE: Final = "weighting.log_variance"  # parameter of `uncertainty`, float32 (tasks,)
TEMPERATURE: Final = 2.0  # of `dwa`, as its authors have it
RESTORING: Final = 1.5  # of `gradnorm`: the power of how far behind a task is
STRIDE: Final = 0.5  # of `gradnorm`: part of the way, on a log scale, that a weight goes in a period
TINY: Final = 1e-12


def gradients(weighting: TaskWeighting, losses: Losses, params: Params, weights: Any, key: Any) -> tuple[Params, Any]:
    """Return the gradient of a step, and the tasks' losses.

    Parameters
    ----------
    weights
        float32 (tasks,).
    key
        Random key, for the order of projections.
    """
    if weighting == "pcgrad":
        made = losses(params)
        each = jax.jacrev(lambda own: weights * losses(own))(params)
        return _without_conflicts(each, key), made

    def total(own: Params) -> tuple[Any, Any]:
        made = losses(own)
        if weighting == "uncertainty":  # Kendall, Gal and Cipolla, CVPR 2018
            variance = own[LOG_VARIANCE]
            return (weights * (jnp.exp(-variance) * made + variance / 2)).sum(), made
        return (weights * made).sum(), made

    slope, made = jax.grad(total, has_aux=True)(params)
    return slope, made


def agreement(losses: Losses, params: Params) -> tuple[Any, Any]:
    """Return the cosines (tasks, tasks) and norms (tasks,) of the tasks' gradients of the shared parameters."""
    rows = _flat({name: part for name, part in jax.jacrev(losses)(params).items() if name.startswith(SHARED)})
    norms = jnp.sqrt((rows**2).sum(axis=1))
    unit = rows / jnp.maximum(norms, TINY)[:, None]
    return unit @ unit.T, norms


def followed(weighting: TaskWeighting, weights: Values, history: list[Values], norms: Values) -> Values:
    """Return the tasks' weights, float64 (tasks,) with mean 1, for the next period.

    Parameters
    ----------
    history
        Mean losses (tasks,) of each period so far.
    norms
        Norms (tasks,) of the gradients at the end of the last.
    """
    if weighting == "dwa" and len(history) > 1:  # Liu, Johns and Davison, CVPR 2019
        odds = np.exp(history[-1] / np.maximum(history[-2], TINY) / TEMPERATURE)
    elif weighting == "gradnorm":  # Chen et al., ICML 2018, with a step a period instead of each
        behind = history[-1] / np.maximum(history[0], TINY)
        target = (weights * norms).mean() * (behind / behind.mean()) ** RESTORING
        odds = weights * (target / np.maximum(weights * norms, TINY)) ** STRIDE
    else:
        return weights
    return np.asarray(odds / odds.mean())


def _without_conflicts(each: Params, key: Any) -> Params:
    """Return the sum of the tasks' gradients, each without what opposes others (Yu et al., NeurIPS 2020).

    Only gradients of shared parameters are changed.
    """
    names = sorted(name for name in each if name.startswith(SHARED))
    rows = _flat({name: each[name] for name in names})
    squares = jnp.maximum((rows**2).sum(axis=1), TINY)
    total = jnp.zeros(rows.shape[1])
    for task in range(len(rows)):
        own = rows[task]
        order = jax.random.permutation(jax.random.fold_in(key, task), len(rows))
        for position in range(len(rows)):
            other = order[position]
            against = jnp.where(other == task, 0.0, jnp.minimum(own @ rows[other] / squares[other], 0.0))
            own = own - against * rows[other]
        total = total + own
    made = {name: part.sum(axis=0) for name, part in each.items()}
    cuts = np.cumsum([each[name][0].size for name in names])[:-1]
    for name, part in zip(names, jnp.split(total, cuts), strict=True):
        made[name] = part.reshape(each[name].shape[1:])
    return made


def _flat(each: Params) -> Any:
    """Return gradients by task as rows, float32 (tasks, parameters)."""
    return jnp.concatenate([each[name].reshape(each[name].shape[0], -1) for name in sorted(each)], axis=1)
