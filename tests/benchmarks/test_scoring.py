"""The benchmark of scoring compares every way with LightGBM's raw scores."""

from __future__ import annotations

import importlib.util

import lightgbm as lgb
import numpy as np

from mtl_tasks.models.boosting.compiled import TreeRange
from tests.benchmarks.scoring import _ways


def test_every_way_is_timed_and_compared() -> None:
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    data = lgb.Dataset(values, values[:, 0] > 0)
    booster = lgb.train({"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}, data, 5)
    found = _ways(TreeRange(booster, 0, 5), values)
    assert found["difference"] == 0
    assert found["nodes"] == sum(tree["num_leaves"] - 1 for tree in booster.dump_model()["tree_info"])
    assert (found["numba"] is None) == (importlib.util.find_spec("numba") is None)
    assert min(found["lightgbm"], found["numpy"]) > 0
