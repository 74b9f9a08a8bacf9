"""The choice among candidates: within the budget, by the loss on blend, the cheapest of equals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtl_tasks.compression.cost import Cost
from mtl_tasks.compression.frontier import Judge, Part, Point, Rows, choose, compare, held_out
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.models import member_class
from mtl_tasks.store.documents.training import TaskFusion
from tests.contracts.member import draw_table, member_scenario

USERS = 60


def judge() -> tuple[Judge, dict[str, Part]]:
    """Return a judge with a teacher of two members, and parts to make candidates of."""
    scenario, rng = member_scenario(), np.random.default_rng(1)
    users = np.repeat(np.arange(USERS), 20)
    truth = {task: rng.standard_normal(len(users)) for task in scenario.tasks}
    chance = {task: 1 / (1 + np.exp(-values)) for task, values in truth.items()}
    labels = {task: (rng.random(len(users)) < values).astype(np.float64) for task, values in chance.items()}
    labels["rating"] = 5 + truth["rating"] + rng.standard_normal(len(users))
    labels["rating"][::3] = np.nan
    member = member_class("popularity").fit(draw_table(300, 1), draw_table(300, 2), scenario)

    def part(noise: float) -> Part:
        made = {
            task: 1 / (1 + np.exp(-values - noise * rng.standard_normal(len(users)))) for task, values in truth.items()
        }
        made["rating"] = 5 + truth["rating"] + noise * rng.standard_normal(len(users))
        return Part(member, made, lambda: made)

    parts = {"exact": part(0.0), "near": part(0.01), "far": part(1.5)}
    alone = {
        task: TaskFusion(method="single", member="exact", members=("exact",), weights={"exact": 1.0})
        for task in scenario.tasks
    }
    own, rows = {"exact": parts["exact"]}, Rows(users, labels)
    teacher = Point("teacher", {}, own, alone, Cost(100, 1000.0), held_out(scenario, rows, own, alone))
    return Judge(scenario, rows, teacher), parts


def priced(point: Point, operations: float) -> Point:
    return replace(point, cost=Cost(1, operations))


def test_the_cheapest_of_those_within_a_standard_error_of_the_best_is_chosen() -> None:
    known, parts = judge()
    exact, near, far = (known.point(name, {}, {name: part}) for name, part in parts.items())
    assert far.excess > 0.05 > abs(near.excess)
    points = [priced(exact, 240.0), priced(near, 100.0), priced(far, 50.0)]
    assert choose(points, known, 0.25).name == "near"
    assert choose(points, known, 0.06).name == "far"


def test_a_budget_that_no_model_meets_names_the_smallest_ratio() -> None:
    known, parts = judge()
    point = priced(known.point("near", {}, {"near": parts["near"]}), 123.4)
    with pytest.raises(
        ConfigError, match=r"--budget 0\.05: no smaller model of tiny .* takes 0\.1234 .* --budget 0\.1234"
    ):
        choose([point], known, 0.05)


def test_metrics_are_paired_with_the_teachers() -> None:
    known, parts = judge()
    points = [known.point(name, {}, {name: part}) for name, part in parts.items()]
    found = compare(points, known, known.blend, "test")
    for task, metric in (("rating", "rmse"), ("like", "auc"), ("purchase", "auc")):
        same, worse = found["exact"][task], found["far"][task]
        assert same.metric == metric
        assert same.gain.value == pytest.approx(0, abs=1e-9)
        assert worse.gain.value is not None
        assert worse.gain.high is not None
        assert worse.gain.value < 0
        assert worse.gain.high < 0
