"""Trees that all tasks share, with leaves of each task's own."""

from __future__ import annotations

from typing import Self

import lightgbm as lgb
import numpy as np
import pandas as pd

from mtl_tasks.boosting.losses import LOSSES
from mtl_tasks.boosting.model_text import constant, join_text
from mtl_tasks.boosting.shared import Growing, Structures, TaskGrowth, TaskRows, grow
from mtl_tasks.boosting.trees import Curve, TaskTrees, parameters, resolve_device
from mtl_tasks.members.base import Table
from mtl_tasks.members.boosted import BoostedMember
from mtl_tasks.scenario import Scenario


class SharedMember(BoostedMember):
    """Shared-tree boosting: one structure for all tasks, found from a gradient that combines theirs.

    Every task gets an ordinary LightGBM model of the same trees with its own leaves, cut where tune was best for it.
    """

    kind = "shared"
    note = "LightGBM, trees shared by all tasks"

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """See :class:`Member`; the number of rounds of each task is chosen on ``tune``."""
        device = resolve_device(scenario.boosting.device)
        seeds = [_grow(train, tune, scenario, device, number, None) for number in range(scenario.boosting.seeds)]
        return cls(scenario, _gather(seeds, scenario), device)

    def refit(self, table: Table) -> Self:
        """See :class:`Member`."""
        seeds = []
        for number in range(self.scenario.boosting.seeds):
            rounds = {task: trees.rounds[number] for task, trees in self._trees.items()}
            seeds.append(_grow(table, None, self.scenario, self._device, number, rounds))
        trees = _gather(seeds, self.scenario)
        kept = {task: TaskTrees(made.boosters, made.rounds, self._trees[task].curve) for task, made in trees.items()}
        return type(self)(self.scenario, kept, self._device)


def _grow(
    train: Table, tune: Table | None, scenario: Scenario, device: str, number: int, rounds: dict[str, int] | None
) -> dict[str, tuple[lgb.Booster, int, Curve | None]]:
    """Grow one seed's trees; by task its model, rounds and curve."""
    settings = scenario.boosting
    binned = _binned(train.features)
    binned_tune = None if tune is None else _binned(tune.features, binned)
    tasks = [_start(name, train, tune, scenario, None if rounds is None else rounds[name]) for name in scenario.tasks]
    given = parameters(settings, "regression", device, scenario.seed)
    for key in ("objective", "metric", "learning_rate", "seed"):
        del given[key]
    growing = Growing(
        given,
        settings.shared.combine,
        settings.shared.split_hessian,
        settings.shared.task_weighting,
        settings.shared.learning_rate,
        settings.rounds,
        settings.patience,
        scenario.seed + number,
    )
    found = grow(binned, binned_tune, tasks, growing)
    return {task.name: (_booster(task, found), task.best_round, _curve(task)) for task in tasks}


def _start(name: str, train: Table, tune: Table | None, scenario: Scenario, limit: int | None) -> TaskGrowth:
    task, leaf_l2 = scenario.tasks[name], scenario.boosting.shared.leaf_l2
    loss = LOSSES[task.kind]
    rows = _rows(train, name)
    base = loss.base(rows.label, rows.weight)
    held = None if tune is None else _rows(tune, name)
    return TaskGrowth(
        name,
        loss,
        leaf_l2[name] if isinstance(leaf_l2, dict) else leaf_l2,
        task.weight,
        rows,
        np.full(len(rows.places), base),
        base,
        held,
        None if held is None else np.full(len(held.places), base),
        limit,
    )


def _rows(table: Table, task: str) -> TaskRows:
    label = table.labels[task]
    places = np.flatnonzero(~np.isnan(label))
    weight = table.weights.get(task)
    return TaskRows(
        places, label[places].astype(np.float64), None if weight is None else weight[places].astype(np.float64)
    )


def _binned(features: pd.DataFrame, reference: lgb.Dataset | None = None) -> lgb.Dataset:
    values = features.to_numpy(dtype=np.float32)
    names = [str(name) for name in features]
    return lgb.Dataset(values, np.zeros(len(values)), feature_name=names, reference=reference).construct()


def _booster(task: TaskGrowth, found: Structures) -> lgb.Booster:
    """Return the task's model: the shared trees up to its best round, the constant it started from in the first."""
    trees = [
        tree.with_leaves(own.value, own.gradient, own.hessian, task.leaf_l2)
        for tree, own in zip(found.trees[: task.best_round], task.leafings, strict=False)
    ]
    trees = [trees[0].shifted(task.base), *trees[1:]] if trees else [constant(task.base)]
    return lgb.Booster(model_str=join_text(found.head, trees, found.tail, task.loss.objective))


def _curve(task: TaskGrowth) -> Curve | None:
    if task.tune is None:
        return None
    train, tune = ([round(value, 6) for value in curve] for curve in (task.train_curve, task.tune_curve))
    return Curve(task.loss.shown, train, tune)


def _gather(seeds: list[dict[str, tuple[lgb.Booster, int, Curve | None]]], scenario: Scenario) -> dict[str, TaskTrees]:
    return {
        task: TaskTrees([made[task][0] for made in seeds], [max(1, made[task][1]) for made in seeds], seeds[0][task][2])
        for task in scenario.tasks
    }
