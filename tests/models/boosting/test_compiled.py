"""Compiled trees score every row as LightGBM does, to the last bit, and refuse what they cannot score."""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.models.boosting import compiled
from mtl_tasks.models.boosting.bit_slices import SlicedTrees
from mtl_tasks.models.boosting.compiled import CompiledTrees, TreeRange, scored_by_block
from mtl_tasks.models.boosting.leaf_masks import MaskedTrees
from mtl_tasks.models.boosting.model_text import constant, join_text, split_text
from mtl_tasks.models.boosting.tree_arrays import TreeArrays

WITH_NUMBA = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs the group `fast`: numba")
BACKENDS = [SlicedTrees, pytest.param(MaskedTrees, marks=WITH_NUMBA)]
CATEGORY, LEVELS = 3, 70
TINY = np.float32(1e-35)
SPECIAL = np.array(
    [0, -0.0, np.nan, np.inf, -np.inf, TINY, -TINY, 1e-45, -1e-45, 1e30, -1e30, -1, -0.5, 0.5, 2, 69, 70, 500],
    dtype=np.float32,
)
EDGES = np.concatenate([np.nextafter(SPECIAL, np.float32(np.inf)), np.nextafter(SPECIAL, np.float32(-np.inf))])


def train(seed: int = 0, rows: int = 400, rounds: int = 4, **parameters: Any) -> lgb.Booster:
    """Train on numbers with gaps, zeros and tiny values, and on a category."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.2] = 0
    values[:, 1] *= np.float32(1e-35)
    values[:, CATEGORY] = rng.integers(0, LEVELS, rows)
    label = np.nan_to_num(values[:, 0]) + np.sin(values[:, CATEGORY]) + (np.nan_to_num(values[:, 1]) > 0)
    label += rng.normal(size=rows)
    if parameters.get("objective") != "regression":
        label = (label > np.median(label)).astype(np.float64)
    given = {"objective": "binary", "min_data_in_leaf": 1, "verbosity": -1, "num_threads": 1, "seed": seed}
    data = lgb.Dataset(values, label, categorical_feature=[CATEGORY])
    return lgb.train({**given, "min_data_per_group": 1, "cat_smooth": 1, **parameters}, data, rounds)


def probes(booster: lgb.Booster, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of values at every threshold, beside it, and special ones."""
    text = booster.model_to_string()
    found = [float(value) for line in re.findall(r"\nthreshold=(.*)", text) for value in line.split()]
    with np.errstate(over="ignore"):
        limits = np.unique(np.array(found, dtype=np.float32))
    beside = [np.nextafter(limits, np.float32(sign * np.inf)) for sign in (1, -1)]
    values = np.concatenate([SPECIAL, EDGES, limits, *beside])
    rng = np.random.default_rng(seed)
    matrix = rng.choice(values, (1500, booster.num_feature()))
    matrix[:, CATEGORY] = np.where(rng.random(1500) < 0.8, rng.integers(-1, LEVELS + 5, 1500), matrix[:, CATEGORY])
    matrix[0], matrix[1] = np.nan, 0
    return matrix


def arrays(booster: lgb.Booster) -> TreeArrays:
    return TreeArrays.of([booster.model_to_string()], "model")


def expected(booster: lgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return TreeRange(booster, 0, booster.num_trees()).scores(matrix, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    leaves=st.sampled_from([2, 3, 5, 31, 32, 33, 63, 64, 65, 128, 255]),
    objective=st.sampled_from(["binary", "regression", "cross_entropy"]),
    missing=st.sampled_from([{}, {"use_missing": False}, {"zero_as_missing": True}]),
    rounds=st.integers(1, 20),
)
def test_any_model_is_scored_to_the_last_bit(
    backend: type[SlicedTrees | MaskedTrees],
    seed: int,
    leaves: int,
    objective: str,
    missing: dict[str, bool],
    rounds: int,
) -> None:
    booster = train(seed, 1200 if leaves > 64 else 400, rounds, num_leaves=leaves, objective=objective, **missing)
    matrix = probes(booster, seed)
    scores = scored_by_block(backend(arrays(booster)), matrix, 1)[:, 0]
    assert np.array_equal(scores, expected(booster, matrix))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("missing_type", [0, 4, 8])
@pytest.mark.parametrize("default_left", [0, 2])
@pytest.mark.parametrize("threshold", [-1.0, -1e-35, -1.0000000180025095e-35, -1e-46, -0.0, 0.0, 1e-35, 0.1, 1e300])
def test_every_way_of_reading_missing_values_and_zeros_is_followed(
    backend: type[SlicedTrees | MaskedTrees], missing_type: int, default_left: int, threshold: float
) -> None:
    text = train(rounds=1, num_leaves=2, use_missing=False).model_to_string()
    head, (tree,), tail = split_text(text)
    lines = {"split_feature": "0", "threshold": repr(threshold), "decision_type": str(missing_type | default_left)}
    tree = type(tree)({**tree.lines, "num_cat": "0", **lines})
    booster = lgb.Booster(model_str=join_text(head, [tree], tail, "binary sigmoid:1"))
    matrix = np.zeros((200, 5), dtype=np.float32)
    with np.errstate(over="ignore"):
        limit = np.full(3, threshold).astype(np.float32)
    beside = np.nextafter(limit, np.array([-np.inf, np.inf, limit[0]], dtype=np.float32))
    values = np.concatenate([SPECIAL, EDGES, beside])
    matrix[: len(values), 0] = values
    scores = scored_by_block(backend(arrays(booster)), matrix, 1)[:, 0]
    assert np.array_equal(scores, expected(booster, matrix))
    assert len(np.unique(scores)) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_trees_of_one_leaf_add_their_constant(backend: type[SlicedTrees | MaskedTrees]) -> None:
    booster = train(num_leaves=8)
    head, trees, tail = split_text(booster.model_to_string())
    for mixed in ([constant(0.25)], [constant(0.1), *trees, constant(0.2), trees[0]]):
        mixed_booster = lgb.Booster(model_str=join_text(head, mixed, tail, "binary sigmoid:1"))
        matrix = probes(booster)
        scores = scored_by_block(backend(arrays(mixed_booster)), matrix, 1)[:, 0]
        assert np.array_equal(scores, expected(mixed_booster, matrix))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("leaves", [8, 100])
def test_trees_that_tasks_share_are_scored_in_one_pass(backend: type[SlicedTrees | MaskedTrees], leaves: int) -> None:
    booster = train(num_leaves=leaves, rounds=20)
    head, trees, tail = split_text(booster.model_to_string())
    rng = np.random.default_rng(0)
    other = [
        type(tree)({**tree.lines, "leaf_value": " ".join(map(repr, rng.normal(size=tree.num_leaves).tolist()))})
        for tree in trees[:13]
    ]
    boosters = [booster, lgb.Booster(model_str=join_text(head, other, tail, "regression"))]
    matrix = probes(booster)
    texts = [model.model_to_string() for model in boosters]
    scores = scored_by_block(backend(TreeArrays.of([*texts, None], "shared")), matrix, 1)
    for output, model in enumerate(boosters):
        assert np.array_equal(scores[:, output], expected(model, matrix))
    assert not scores[:, 2].any()


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 8191, 8192, 8193, 20_000])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_rows_in_any_layout_is_scored(
    backend: type[SlicedTrees | MaskedTrees], rows: int, threads: int
) -> None:
    booster = train(num_leaves=31)
    matrix = np.resize(probes(booster), (rows, 5))
    trees = backend(arrays(booster))
    for layout in ("C", "F"):
        scores = scored_by_block(trees, np.asarray(matrix, order=layout), threads)[:, 0]
        assert np.array_equal(scores, expected(booster, matrix))


@pytest.mark.parametrize("outputs", [None, [1], [1, 0], []])
def test_few_and_many_rows_are_scored_alike(outputs: list[int] | None) -> None:
    booster = train(num_leaves=31, rounds=10)
    ranges = [TreeRange(booster, 2, 6), TreeRange(booster, 2, 5), TreeRange(booster, 0, 0)]
    trees = CompiledTrees(ranges, "model")
    matrix = np.resize(probes(booster), (compiled.BULK, 5))
    many = trees.scores(matrix, 1, outputs)
    few = trees.scores(matrix[:100], 1, outputs)
    assert many.shape == (len(matrix), 3 if outputs is None else len(outputs))
    assert np.array_equal(many[:100], few)


def test_no_trees_score_zero() -> None:
    booster = train()
    assert not CompiledTrees([TreeRange(booster, 0, 0)], "model").scores(np.zeros((4, 5), np.float32), 1).any()


@WITH_NUMBA
def test_work_that_is_worth_the_import_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    booster = train(rounds=3)
    trees = CompiledTrees([TreeRange(booster, 0, 3)], "model")
    matrix = np.resize(probes(booster), (compiled.BULK, 5))
    monkeypatch.setattr(compiled, "is_compiled", lambda: False)
    assert trees._backend(len(matrix), 1) == "numpy"
    monkeypatch.setattr(compiled, "COMPILED", 3 * len(matrix))
    assert trees._backend(len(matrix), 1) == "numba"
    assert np.array_equal(trees.scores(matrix, 1)[:, 0], expected(booster, matrix))


def test_trees_too_large_for_a_byte_are_left_to_lightgbm_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    booster = train(rows=2000, rounds=1, num_leaves=400)
    matrix = np.resize(probes(booster), (compiled.BULK, 5))
    with caplog.at_level(logging.INFO):
        scores = CompiledTrees([TreeRange(booster, 0, 1)], "rating").scores(matrix, 1)
    assert np.array_equal(scores[:, 0], expected(booster, matrix))
    assert re.search(r"rating: a tree has \d+ leaves, above 256 LightGBM scores all rows", caplog.text)


@pytest.mark.faults(8)
@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"objective=.*", "objective=poisson", "model: objective 'poisson' cannot be scored, only regression, binary"),
        (r"objective=.*", "", "model: objective 'none' cannot be scored"),
        (r"is_linear=0", "is_linear=1", "model, tree 0: its leaves are linear models, only constant ones"),
        (r"num_tree_per_iteration=1", "num_tree_per_iteration=3", "only single-output boosted models"),
        (r"num_class=1", "average_output\nnum_class=1", "only single-output boosted models"),
        (r"end of trees(.|\n)*", "", "model: its text is truncated, 4 trees are whole; run again"),
        (r"Tree=3\n(.|\n)*end of trees", "end of trees", "model: its text is truncated, 3 trees are whole"),
        (r"leaf_value=\S+ ", "leaf_value=", r"model, tree 0: leaf_value has \d+ values, expected \d+; run again"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(pattern: str, replacement: str, message: str) -> None:
    text, changed = re.subn(pattern, replacement, train().model_to_string(), count=1)
    assert changed
    with pytest.raises(ArtifactError, match=message) as caught:
        TreeArrays.of([text], "model")
    assert "\n" not in str(caught.value)


def test_trees_with_linear_models_in_their_leaves_are_refused_before_scoring() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 2))
    booster = lgb.train(
        {"objective": "regression", "linear_tree": True, "verbosity": -1}, lgb.Dataset(values, values[:, 0]), 2
    )
    with pytest.raises(ArtifactError, match=r"model, tree [01]: its leaves are linear models"):
        CompiledTrees([TreeRange(booster, 0, 2)], "model").scores(np.zeros((compiled.BULK, 2), np.float32), 1)


def test_a_missing_column_is_refused_by_name() -> None:
    trees = CompiledTrees([TreeRange(train(), 0, 4)], "model")
    message = r"model: 4 columns to score, its trees were fitted on 5 \(first missing: 'Column_4'\)"
    with pytest.raises(DataError, match=message):
        trees.scores(np.zeros((10, 4), np.float32), 1)


def test_outputs_of_other_trees_are_refused() -> None:
    texts = [train(seed, num_leaves=leaves).model_to_string() for seed, leaves in ((0, 31), (1, 8))]
    with pytest.raises(ArtifactError, match="the trees of two outputs have other leaves"):
        TreeArrays.of(texts, "shared")
