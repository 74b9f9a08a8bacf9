"""Evaluation of the test window: by member, against the floor and by slice."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.evaluation.evaluate import (
    FLOOR,
    FUSION,
    ScoredRows,
    calibration_of,
    evaluate_task,
    slice_masks,
)
from mtl_tasks.metrics.catalog import metrics_of
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.measurements import UNKNOWN

Kind = Literal["binary", "regression"]


def scored(kind: Kind = "binary", count: int = 300) -> ScoredRows:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(count)
    label = (truth + rng.standard_normal(count) > 0).astype(float) if kind == "binary" else truth
    noise = {FLOOR: 2.0, "als": 0.7, FUSION: 0.1}
    predictions = {name: truth + size * rng.standard_normal(count) for name, size in noise.items()}
    if kind == "binary":
        predictions = {name: 1 / (1 + np.exp(-values)) for name, values in predictions.items()}
    slices = {"cold_users": np.arange(count) < 50, "cold_items": np.zeros(count, dtype=bool)}
    users, days = rng.integers(0, 60, count), np.zeros(count, dtype=np.int64)
    return ScoredRows(users, days, label, predictions, slices)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_every_member_and_the_fusion_have_every_metric_with_its_interval(kind: Kind) -> None:
    task, slices = evaluate_task(scored(kind), kind, 7)
    assert set(task.members) == {FLOOR, "als"}
    for entry in (*task.members.values(), task.fusion, slices["cold_users"].fusion):
        assert list(entry) == list(metrics_of(kind))
        for measure in entry.values():
            assert measure.bounds is not None
            assert measure.bounds[0] <= measure.bounds[1]
    assert task.rows == task.fusion[metrics_of(kind)[0]].rows == 300
    assert slices["cold_users"].rows == 50
    assert (task.positives is None) is (kind == "regression")
    to_json([task.to_json(), *(part.to_json() for part in slices.values())])


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_differences_to_the_floor_are_positive_when_better_and_paired(kind: Kind) -> None:
    task, _ = evaluate_task(scored(kind), kind, 7)
    assert set(task.versus_floor) == {"als", FUSION}
    for metric in metrics_of(kind)[:1]:
        against = task.versus_floor[FUSION][metric]
        mine, floor = task.fusion[metric], task.members[FLOOR][metric]
        assert against.value == pytest.approx(abs(mine.value - floor.value))
        assert 0 < against.low <= against.value <= against.high


def test_an_empty_slice_is_null_and_no_error() -> None:
    _, slices = evaluate_task(scored(), "binary", 7)
    assert slices["cold_items"].rows == 0
    assert slices["cold_items"].fusion["auc"] == UNKNOWN


def test_nan_predictions_are_null_in_every_metric() -> None:
    rows = scored()
    rows.predictions[FUSION][0] = np.nan
    task, _ = evaluate_task(rows, "binary", 7)
    assert {measure.value for measure in task.fusion.values()} == {None}
    assert {measure.value for measure in task.versus_floor[FUSION].values()} == {None}
    assert task.versus_floor["als"]["auc"].value is not None
    to_json(task.to_json())


def test_the_same_seed_gives_the_same_document() -> None:
    assert evaluate_task(scored(), "binary", 7) == evaluate_task(scored(), "binary", 7)
    assert evaluate_task(scored(), "binary", 7) != evaluate_task(scored(), "binary", 8)


def test_calibration_is_that_of_the_fusion() -> None:
    curve = calibration_of(scored())
    assert sum(entry.rows for entry in curve) == 300


@pytest.mark.faults(17)
def test_cold_is_who_or_what_was_never_met_before() -> None:
    masks = slice_masks(pd.DataFrame({"user.count": [0, 2, 0], "item.count": [1, 0, 0]}))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "cold_users": [True, False, True],
        "warm_users": [False, True, False],
        "cold_items": [False, True, True],
        "warm_items": [True, False, False],
    }


# --------------------------------------------------------------------------------------------------- lists
