"""Trees shared by all tasks, with separate leaves for each task."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import lightgbm as lgb
import numpy as np

from mtl_tasks.models.boosted import BoostedMember, FitContext, FittedTrees
from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.boosting.model_text import constant, join_text, split_text
from mtl_tasks.models.boosting.shared_trees import GrowthConfig, TaskInteraction, TaskState, TreeStructures, grow
from mtl_tasks.models.boosting.trees import Curve, EarlierTrees, TaskTrees, TrainedBooster, parameters


class SharedMember(BoostedMember):
    """Shared-tree boosting: one tree structure for all tasks, found from a gradient that combines theirs.

    Every task gets an ordinary LightGBM model of the same trees with its own leaves, cut at its best round on tune.
    """

    kind = "shared"
    note = "LightGBM, trees shared by all tasks"

    @classmethod
    def _learn(cls, learning: FitContext) -> FittedTrees:
        seeds = grow_seeds(learning)
        trees = {}
        for name, made in cls._models(learning, seeds).items():
            chosen = learning.chosen_trees(name)
            trees[name] = TaskTrees.of(
                [model.grown for model in made],
                [model.shared for model in made],
                [seed.inherited(name) for seed in seeds],
                None if chosen is None else chosen.curve,
            )
        return FittedTrees(trees, learning.encoder, sharing_of(seeds, learning.chosen))

    @classmethod
    def _models(cls, learning: FitContext, seeds: list[SharedTrees]) -> dict[str, list[Finished]]:
        """Return each task's models by seed, built from the shared trees."""
        return {
            name: [Finished(seed.model(name), seed.tasks[name].best_round) for seed in seeds]
            for name in learning.scenario.tasks
        }


@dataclass(frozen=True)
class Finished:
    """A task's model of one seed; ``shared`` of its trees are shared by all tasks."""

    grown: TrainedBooster
    shared: int


@dataclass(frozen=True)
class SharedTrees:
    """One seed's shared trees, with each task's state and earlier model."""

    structures: TreeStructures
    tasks: dict[str, TaskState]
    earlier: dict[str, TrainedBooster]

    def inherited(self, name: str) -> int:
        """Return the number of a task's trees before the shared ones."""
        return self.earlier[name].rounds if name in self.earlier else 0

    def model(self, name: str, rounds: int | None = None) -> TrainedBooster:
        """Return a task's model: its earlier trees, then the shared ones up to its best round or the given one."""
        task = self.tasks[name]
        count = task.best_round if rounds is None else rounds
        trees = [
            tree.with_leaves(own.value, own.gradient, own.hessian, task.leaf_l2)
            for tree, own in zip(self.structures.trees[:count], task.leafings, strict=False)
        ]
        if name in self.earlier:
            _, known, _ = split_text(self.earlier[name].booster.model_to_string())
            trees = [*known, *trees]
        else:
            trees = [trees[0].shifted(task.base), *trees[1:]] if trees else [constant(task.base)]
        text = join_text(self.structures.head, trees, self.structures.tail, task.loss.objective)
        loss = task.tune_curve[count - 1] if task.tune_curve and count else math.nan
        return TrainedBooster(lgb.Booster(model_str=text), len(trees), _curve(task), loss)


def grow_seeds(learning: FitContext) -> list[SharedTrees]:
    """Grow every seed's trees, until each task's best round on tune or for the rounds chosen before."""
    earlier = {name: learning.earlier_of(name) for name in learning.scenario.tasks}
    there = {name: known for name, known in earlier.items() if known is not None}
    return [_grow(learning, there, number) for number in range(learning.scenario.boosting.seeds)]


def sharing_of(seeds: list[SharedTrees], chosen: FittedTrees | None) -> TaskInteraction | None:
    """Return the task interaction of the first seed, with all seeds' rounds; that of ``chosen`` if given."""
    if chosen is not None:
        return chosen.sharing
    rounds = {task: [seed.tasks[task].best_round for seed in seeds] for task in seeds[0].tasks}
    return replace(seeds[0].structures.sharing, rounds=rounds)


def _grow(learning: FitContext, earlier: dict[str, EarlierTrees], number: int) -> SharedTrees:
    settings, seed = learning.scenario.boosting, learning.scenario.seed + number
    tasks = {name: _start(name, learning, earlier.get(name), number) for name in learning.scenario.tasks}
    given = parameters(settings, "regression", learning.device, seed)
    for key in ("objective", "metric", "learning_rate", "seed", "min_sum_hessian_in_leaf"):
        del given[key]
    grown = max((known.trees.rounds[number] for known in earlier.values()), default=0)
    growing = GrowthConfig(
        given,
        settings.shared.combine,
        settings.shared.split_hessian,
        settings.shared.task_weighting,
        settings.shared.learning_rate,
        max(1, settings.rounds - grown),
        settings.patience,
        seed,
        grown,
    )
    structures = grow(learning.binned, learning.tune_binned, list(tasks.values()), growing)
    return SharedTrees(structures, tasks, {name: known.model(number) for name, known in earlier.items()})


def _start(name: str, learning: FitContext, earlier: EarlierTrees | None, number: int) -> TaskState:
    task, leaf_l2 = learning.scenario.tasks[name], learning.scenario.boosting.shared.leaf_l2
    loss, rows = LOSSES[task.objective], learning.train.rows(name)
    held = None if learning.tune is None else learning.tune.rows(name)
    if earlier is None:
        base = loss.base(rows.label, rows.weight)
        score = np.full(len(rows.positions), base)
        held_score = None if held is None else np.full(len(held.positions), base)
    else:
        base, score = 0.0, earlier.train[number].copy()
        held_score = None if held is None else earlier.tune[number].copy()
    known = None if learning.chosen is None else learning.chosen.sharing
    return TaskState(
        name,
        loss,
        leaf_l2[name] if isinstance(leaf_l2, dict) else leaf_l2,
        task.weight,
        rows,
        score,
        base,
        held,
        held_score,
        None if known is None else known.rounds[name][number],
    )


def _curve(task: TaskState) -> Curve | None:
    if task.tune is None:
        return None
    train, tune = ([round(value, 6) for value in curve] for curve in (task.train_curve, task.tune_curve))
    return Curve(task.loss.shown, train, tune)
