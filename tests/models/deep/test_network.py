"""NumPy and JAX give the same scores, and the parameters have the declared shapes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from mtl_tasks.models.deep.network import Architecture, scores
from mtl_tasks.scenario.deep import Structure


def architecture(structure: Structure) -> Architecture:
    return Architecture(structure, (8, 4), experts=3, task_experts=2, embedding=4, dense=5, sizes=(3, 30), tasks=2)


@pytest.mark.parametrize("structure", ["shared_bottom", "mmoe", "ple"])
def test_both_libraries_give_the_same_scores(structure: Structure) -> None:
    network, rng = architecture(structure), np.random.default_rng(0)
    params = network.initial(np.array([-1.0, 2.0], dtype=np.float32), seed=1, number=0)
    params["wide.dense"] = rng.standard_normal(params["wide.dense"].shape).astype(np.float32)
    dense = rng.standard_normal((20, 5)).astype(np.float32)
    codes = np.column_stack([rng.integers(0, 3, 20), rng.integers(0, 30, 20)]).astype(np.int32)
    ours = scores(np, network, params, dense, codes)
    theirs = scores(jnp, network, {name: jnp.asarray(part) for name, part in params.items()}, dense, codes)
    assert ours.shape == (20, 2)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-5)


@pytest.mark.parametrize("structure", ["shared_bottom", "mmoe", "ple"])
def test_every_parameter_moves_a_score(structure: Structure) -> None:
    network, rng = architecture(structure), np.random.default_rng(0)
    params = network.initial(np.zeros(2, dtype=np.float32), seed=1, number=0)
    dense = rng.standard_normal((60, 5)).astype(np.float32)
    codes = np.column_stack([np.arange(60) % 3, np.arange(60) % 30]).astype(np.int32)
    before = scores(np, network, params, dense, codes)
    assert {name: part.shape for name, part in params.items()} == network.shapes()
    for name, part in params.items():
        moved = part + rng.standard_normal(part.shape).astype(np.float32)
        assert not np.array_equal(scores(np, network, {**params, name: moved}, dense, codes), before), name


def test_networks_of_one_seed_differ_by_their_number() -> None:
    network, bias = architecture("mmoe"), np.zeros(2, dtype=np.float32)
    first, again, second = (network.initial(bias, seed=1, number=number)["shared.layer.0"] for number in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
