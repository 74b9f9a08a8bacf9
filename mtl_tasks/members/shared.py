"""Trees that all tasks share, with leaves of each task's own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import lightgbm as lgb
import numpy as np

from mtl_tasks.boosting.encoding import Encoder
from mtl_tasks.boosting.losses import LOSSES
from mtl_tasks.boosting.model_text import constant, join_text
from mtl_tasks.boosting.shared import Growing, Sharing, Structures, TaskGrowth, grow
from mtl_tasks.boosting.trees import Curve, Grown, TaskTrees, parameters
from mtl_tasks.members.base import Table
from mtl_tasks.members.boosted import BoostedMember, Learnt
from mtl_tasks.scenario import Scenario


class SharedMember(BoostedMember):
    """Shared-tree boosting: one structure for all tasks, found from a gradient that combines theirs.

    Every task gets an ordinary LightGBM model of the same trees with its own leaves, cut where tune was best for it.
    """

    kind = "shared"
    note = "LightGBM, trees shared by all tasks"

    @classmethod
    def _learn(cls, train: Table, tune: Table | None, scenario: Scenario, device: str, chosen: Self | None) -> Learnt:
        bins = Bins.of(train, tune)
        seeds = grow_seeds(bins, scenario, device, None if chosen is None else chosen.sharing)
        trees = {
            task: TaskTrees.of(
                [seed.model(task) for seed in seeds],
                [seed.tasks[task].best_round for seed in seeds],
                None if chosen is None else chosen._trees[task].curve,
            )
            for task in scenario.tasks
        }
        return Learnt(trees, bins.encoder, sharing_of(seeds) if chosen is None else chosen.sharing)


@dataclass(frozen=True)
class Bins:
    """Two tables, binned once for all tasks and seeds."""

    encoder: Encoder
    train: Table
    tune: Table | None
    binned: lgb.Dataset
    held: lgb.Dataset | None

    @classmethod
    def of(cls, train: Table, tune: Table | None) -> Bins:
        """Learn bins and levels from ``train``."""
        encoder = Encoder.learn(train.features)
        binned = encoder.binned(encoder.matrix(train.features))
        held = None if tune is None else encoder.binned(encoder.matrix(tune.features), reference=binned)
        return cls(encoder, train, tune, binned, held)


@dataclass(frozen=True)
class SharedTrees:
    """One seed's shared trees, and what each task made of them."""

    found: Structures
    tasks: dict[str, TaskGrowth]

    def model(self, name: str, rounds: int | None = None) -> Grown:
        """Return a task's model: the trees up to its best round, the constant it started from in the first."""
        task = self.tasks[name]
        count = task.best_round if rounds is None else rounds
        trees = [
            tree.with_leaves(own.value, own.gradient, own.hessian, task.leaf_l2)
            for tree, own in zip(self.found.trees[:count], task.leafings, strict=False)
        ]
        trees = [trees[0].shifted(task.base), *trees[1:]] if trees else [constant(task.base)]
        text = join_text(self.found.head, trees, self.found.tail, task.loss.objective)
        loss = task.tune_curve[count - 1] if task.tune_curve and count else math.nan
        return Grown(lgb.Booster(model_str=text), len(trees), _curve(task), loss)


def grow_seeds(bins: Bins, scenario: Scenario, device: str, known: Sharing | None) -> list[SharedTrees]:
    """Grow every seed's trees, until tune is best for each task or for the rounds that were known to be best."""
    limits = [
        None if known is None else {task: known.rounds[task][number] for task in scenario.tasks}
        for number in range(scenario.boosting.seeds)
    ]
    return [_grow(bins, scenario, device, scenario.seed + number, limit) for number, limit in enumerate(limits)]


def sharing_of(seeds: list[SharedTrees]) -> Sharing:
    """Return how the tasks of the first seed got on, with the rounds of all."""
    rounds = {task: [seed.tasks[task].best_round for seed in seeds] for task in seeds[0].tasks}
    return replace(seeds[0].found.sharing, rounds=rounds)


def _grow(bins: Bins, scenario: Scenario, device: str, seed: int, limits: dict[str, int] | None) -> SharedTrees:
    settings = scenario.boosting
    tasks = {name: _start(name, bins, scenario, None if limits is None else limits[name]) for name in scenario.tasks}
    given = parameters(settings, "regression", device, seed)
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
        seed,
    )
    return SharedTrees(grow(bins.binned, bins.held, list(tasks.values()), growing), tasks)


def _start(name: str, bins: Bins, scenario: Scenario, limit: int | None) -> TaskGrowth:
    task, leaf_l2 = scenario.tasks[name], scenario.boosting.shared.leaf_l2
    loss = LOSSES[task.kind]
    rows = bins.train.rows(name)
    base = loss.base(rows.label, rows.weight)
    held = None if bins.tune is None else bins.tune.rows(name)
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


def _curve(task: TaskGrowth) -> Curve | None:
    if task.tune is None:
        return None
    train, tune = ([round(value, 6) for value in curve] for curve in (task.train_curve, task.tune_curve))
    return Curve(task.loss.shown, train, tune)
