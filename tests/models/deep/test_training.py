"""Training weighs tasks as asked, bounds memory, and stops at a loss that is no number."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from mtl_tasks.core.errors import DataError
from mtl_tasks.models import encoding, member_class
from mtl_tasks.models.deep.network import Architecture
from mtl_tasks.models.deep.rows import EncodedRows, Target
from mtl_tasks.models.deep.training import Fit, Plan
from mtl_tasks.models.encoding import FeatureEncoder
from mtl_tasks.scenario import Deep, MemberKind
from tests.contracts.member import DEEP, draw_table, member_scenario
from tests.support.logs import tiny_scenario


def rows(count: int = 300) -> tuple[EncodedRows, int]:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((count, 4)).astype(np.float32)
    codes = np.zeros((count, 0), dtype=np.int32)
    targets = (dense[:, :2] > 0).astype(np.float32)
    return EncodedRows(dense, codes, targets, np.ones_like(targets), 1), 4


@pytest.mark.faults(10)
def test_a_loss_that_is_no_number_stops_training_and_names_task_and_step() -> None:
    made, inputs = rows()
    made.targets[:, 1] = np.inf
    settings = Deep(layers=(4,), batch_rows=100)
    plan = Plan(Architecture.of(settings, inputs, (), 2), ("binary", "regression"), settings)
    fit = Fit(plan, made, ("like", "rating"), np.ones(2), np.zeros(2, dtype=np.float32), 7, "cpu", "tiny.yaml")
    with pytest.raises(
        DataError,
        match=r"^deep: the loss of task 'rating' is (inf|nan) in step 1 \(epoch 1\): lower deep\.learning_rate "
        r"\(0\.003\) in tiny\.yaml, or check the labels and sample weights of the task$",
    ):
        fit.run(1, lambda epoch, params, losses: True)


def test_parameters_that_the_last_step_spoiled_and_losses_on_tune_are_refused() -> None:
    made, inputs = rows()
    settings = Deep(layers=(4,), batch_rows=100)
    plan = Plan(Architecture.of(settings, inputs, (), 2), ("binary", "regression"), settings)
    fit = Fit(plan, made, ("like", "rating"), np.ones(2), np.zeros(2, dtype=np.float32), 7, "cpu", "tiny.yaml")
    params = {"wide.bias": np.array([[0.0, np.inf]], dtype=np.float32)}
    with pytest.raises(DataError, match=r"^deep: parameter '.*' is not finite after step 1 \(epoch 1\): lower deep\."):
        fit._refuse_parameters(params, 1, 1)
    fit.refuse_tune_losses(np.array([0.1, 0.2]), 3)
    with pytest.raises(DataError, match=r"^deep: the loss of task 'rating' on tune is nan after epoch 3: lower deep\."):
        fit.refuse_tune_losses(np.array([0.1, np.nan]), 3)


@pytest.mark.parametrize("kind", ["deep", "linear"])
@pytest.mark.parametrize(
    ("others", "fault"),
    [(0.0, r"all .* in one row in . of .* are 0, both classes"), (np.nan, r"no labeled rows in one row in . of")],
)
def test_rows_that_memory_holds_without_labels_of_both_classes_are_refused(
    kind: MemberKind, others: float, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MATRIX_BYTES", 60_000)
    table = draw_table(1500, 1)
    table.labels["like"][:] = others
    table.labels["like"][[1, 1499]] = 1.0, 0.0  # 1499 is prime: neither is among every k-th row
    with pytest.raises(DataError, match=rf"^like: {fault}"):
        member_class(kind).fit(table, draw_table(300, 2), member_scenario())


@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "gradnorm", "pcgrad"])
def test_weights_follow_the_losses_and_are_recorded(weighting: str) -> None:
    tasks = {"weight": 2.0}
    scenario = tiny_scenario(tasks__like__weight=tasks["weight"], deep={**DEEP, "task_weighting": weighting})
    fitted = member_class("deep").fit(draw_table(600, 1), draw_table(300, 2), scenario)
    weights = fitted.describe()["sharing"]["weights"]
    assert weights["like"][0] == pytest.approx(1.5, rel=0.1)  # 2 over the mean of 2, 1 and 1
    assert (len(set(weights["like"])) > 1) == (weighting != "pcgrad")


def test_a_tasks_rows_weigh_as_much_together_however_few_they_are() -> None:
    table, scenario = draw_table(600, 1), member_scenario()
    encoder = FeatureEncoder.learn(table)
    targets = {task: Target.of(table.rows(task), part.objective) for task, part in scenario.tasks.items()}
    made = EncodedRows.of(encoder, table, targets, scenario, "train")
    np.testing.assert_allclose(made.weights.mean(axis=0), 1, rtol=1e-5)
    seen = ~np.isnan(table.labels["rating"])
    assert np.array_equal(made.weights[:, 0] > 0, seen)
    assert made.targets[seen, 0].mean() == pytest.approx(0, abs=1e-5)
    assert made.targets[seen, 0].std() == pytest.approx(1, abs=1e-4)
    heavy = replace(table, weights={"like": np.where(table.labels["like"] == 1, 3.0, 1.0).astype(np.float32)})
    weighted = EncodedRows.of(encoder, heavy, targets, scenario, "train").weights[:, 1]
    assert weighted[table.labels["like"] == 1].min() == pytest.approx(3 * weighted[table.labels["like"] == 0].max())


def test_rows_beyond_the_limit_of_memory_are_left_out_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoding, "MATRIX_BYTES", 60_000)
    caplog.set_level(logging.INFO)
    table, scenario = draw_table(1500, 1), member_scenario()
    targets = {task: Target.of(table.rows(task), part.objective) for task, part in scenario.tasks.items()}
    made = EncodedRows.of(FeatureEncoder.learn(table), table, targets, scenario, None)
    assert made.every > 1
    assert len(made) == len(range(0, 1500, made.every))
    assert f"one row in {made.every} of 1500 is used" in caplog.text
