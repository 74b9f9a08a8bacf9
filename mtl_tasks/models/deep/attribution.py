"""Integrated gradients: how far each input moves a score away from that of a median row."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.deep.device import jax_device
from mtl_tasks.models.deep.fitted import FittedNetworks
from mtl_tasks.models.deep.network import SHARED, Architecture, Params, inner_scores
from mtl_tasks.models.encoding import Codes, Matrix

Values = NDArray[np.float64]
AMOUNT: Final = "integrated gradient"
POINTS: Final = 16  # of the path from the median row to a row, at the middle of equal parts


def contributions(learned: FittedNetworks, dense: Matrix, codes: Codes) -> dict[str, Values]:
    """Return contributions by task, float64 (n, dense inputs + categorical inputs), averaged over the seeds.

    They add up, but for the finite number of points, to the output's distance from that of a row whose numbers are all
    at the median and whose categories are unknown (Sundararajan, Taly and Yan, ICML 2017).
    """
    network, made = learned.network, {}
    with jax.default_device(jax_device(learned.document.device)):
        for position, (task, own) in enumerate(learned.document.tasks.items()):
            params, seeds = learned.epochs[own.epochs], learned.document.seeds
            select = np.eye(network.tasks, dtype=np.float32)[position]
            each = [{name: part[number] for name, part in params.items()} for number in range(seeds)]
            total = sum(_contributions(network, one, dense, codes, select) for one in each)
            made[task] = np.asarray(total * own.scale / seeds)
    return made


def _contributions(
    network: Architecture, params: Params, dense: Matrix, codes: Codes, select: NDArray[np.float32]
) -> Values:
    tables = [params[f"{SHARED}code.{position}"] for position in range(len(network.sizes))]
    inputs = np.concatenate([dense, *(table[codes[:, position]] for position, table in enumerate(tables))], axis=1)
    base = np.concatenate([np.zeros(network.dense, dtype=np.float32), *(table[0] for table in tables)])
    inner = np.asarray(_path_integral(network, params, inputs, base, select), dtype=np.float64)
    cuts = network.dense + np.cumsum([0, *network.embeddings])
    made = [inner[:, : network.dense]]
    for position in range(len(network.sizes)):
        table = params[f"wide.code.{position}"] @ select
        vector = inner[:, cuts[position] : cuts[position + 1]].sum(axis=1)
        made.append((vector + table[codes[:, position]] - table[0])[:, None])
    return np.concatenate(made, axis=1)


@partial(jax.jit, static_argnums=0)
def _path_integral(network: Architecture, params: Params, inputs: Any, base: Any, select: Any) -> Any:
    """Return the integral of the gradient from the base to each row, times their distance, float32 (n, inputs)."""

    def score(rows: Any) -> Any:
        return (inner_scores(jnp, network, params, rows) @ select).sum()

    def add(total: Any, share: Any) -> tuple[Any, None]:
        return total + jax.grad(score)(base + share * (inputs - base)), None

    shares = (jnp.arange(POINTS) + 0.5) / POINTS
    total, _ = jax.lax.scan(add, jnp.zeros_like(inputs), shares)
    return (inputs - base) * total / POINTS
