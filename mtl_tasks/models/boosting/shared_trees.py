"""Shared-tree boosting: each round grows one tree for all tasks, and every task sets its own leaves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from mtl_tasks.models.boosting.leaves import LeafReader, Leaves
from mtl_tasks.models.boosting.losses import Loss, Values
from mtl_tasks.models.boosting.model_text import Tree, split_text
from mtl_tasks.models.boosting.split_gradient import SplitGradient, TaskWeights, cosine, directions
from mtl_tasks.models.boosting.task_rows import Positions, Span, TaskRows, span

log = logging.getLogger(__name__)

CHUNK: Final = 256  # rounds of one LightGBM booster; few enough that sums of outputs keep their last digits
WORTH_LEAVING: Final = 0.8  # if fewer rows than this share are still needed, continue with those alone
EMPTY: Final = 20  # consecutive draws without a split after which growth ends
CURVE_ROWS: Final = 20_000  # train rows that the training-loss curve is computed on


@dataclass(frozen=True)
class LeafValues:
    """One task's leaves of one tree: outputs, and the derivative sums behind them, float64 (leaves,) each."""

    value: Values
    gradient: Values
    hessian: Values


@dataclass
class TaskState:
    """State of a task while its trees grow.

    Attributes
    ----------
    score, tune_score
        Raw scores of the labeled rows so far.
    base
        Their constant initial value.
    limit
        Rounds to grow; None: stop after ``patience`` rounds without gain on ``tune``.
    best_round
        Number of rounds to keep.
    leafings
        Leaves by round, for every round in which the task was alive.
    train_loss
        Current mean loss on a sample of the train rows.
    """

    name: str
    loss: Loss
    leaf_l2: float
    weight: float
    rows: TaskRows
    score: Values
    base: float
    tune: TaskRows | None = None
    tune_score: Values | None = None
    limit: int | None = None
    best_round: int = 0
    best_loss: float = np.inf
    alive: bool = True
    train_loss: float = np.nan
    leafings: list[LeafValues] = field(default_factory=list)
    train_curve: list[float] = field(default_factory=list)
    tune_curve: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sample = slice(None, None, max(1, len(self.score) // CURVE_ROWS))
        if self.tune is not None and self.tune_score is not None:
            self.best_loss = self.loss.value(self.tune_score, self.tune.label, self.tune.weight)
        self.alive = self.limit is None or self.limit > 0
        self.note_train_loss()

    def derivatives(self) -> tuple[Values, Values]:
        """Return the weighted first and second derivatives at the current score."""
        gradient, hessian = self.loss.derivatives(self.score, self.rows.label)
        if self.rows.weight is not None:
            gradient, hessian = gradient * self.rows.weight, hessian * self.rows.weight
        return gradient, hessian

    def note_train_loss(self) -> None:
        """Measure the mean loss on a sample of the training rows."""
        weight = None if self.rows.weight is None else self.rows.weight[self._sample]
        self.train_loss = self.loss.value(self.score[self._sample], self.rows.label[self._sample], weight)

    def step(
        self, leaf: Leaves, tune_leaf: Leaves | None, derivatives: tuple[Values, Values], count: int, rate: float
    ) -> LeafValues:
        """Compute this task's Newton outputs for a tree of ``count`` leaves and add them to the scores.

        Outputs are shrunk toward the step of all rows together, not toward 0: a rare label's leaves are shrunk so
        much that its mean prediction would otherwise be below its rate (by 8 % at a rate of 1 %).
        """
        gradient, hessian = (_sums(leaf, values, count) for values in derivatives)
        common = gradient.sum() / hessian.sum()
        made = LeafValues(-rate * (gradient + self.leaf_l2 * common) / (hessian + self.leaf_l2), gradient, hessian)
        self.leafings.append(made)
        self.score += made.value[leaf]
        if self.tune_score is not None and tune_leaf is not None:
            self.tune_score += made.value[tune_leaf]
        return made

    def end_round(self, patience: int) -> None:
        """Record the losses after a round; stop the task after ``patience`` rounds without gain."""
        rounds = len(self.leafings)
        self.note_train_loss()
        if self.limit is not None:
            self.best_round, self.alive = rounds, rounds < self.limit
            return
        assert self.tune is not None
        assert self.tune_score is not None
        loss = self.loss.value(self.tune_score, self.tune.label, self.tune.weight)
        self.train_curve.append(self.loss.on_curve(self.train_loss))
        self.tune_curve.append(self.loss.on_curve(loss))
        if loss < self.best_loss:
            self.best_loss, self.best_round = loss, rounds
        self.alive = rounds - self.best_round < patience


def _sums(leaf: Leaves, values: Values, count: int) -> Values:
    return np.bincount(leaf, weights=values, minlength=count).astype(np.float64, copy=False)


@dataclass(frozen=True)
class GrowthConfig:
    """Settings of shared-tree growth.

    Attributes
    ----------
    parameters
        LightGBM's, without objective, learning rate and seed.
    grown
        Rounds grown before. Directions and samples are drawn by seed and round: growth that resumes at a multiple of
        ``CHUNK`` on the same rows equals uninterrupted growth.
    """

    parameters: dict[str, Any]
    combine: str
    split_hessian: str
    task_weighting: str
    learning_rate: float
    rounds: int
    patience: int
    seed: int
    grown: int = 0


@dataclass
class TaskInteraction:
    """Diagnostics of task interaction by round of the first seed; None once a task has stopped.

    Attributes
    ----------
    cosines
        ``first|second`` to the cosine of their gradients: the gradients' sums over the leaves of the round's tree, each
        scaled by its own second derivatives, so that it is defined for tasks that share no labeled row.
    weights
        Task to its weight in the round.
    rounds
        Task to its number of rounds, by seed.
    """

    cosines: dict[str, list[float | None]]
    weights: dict[str, list[float | None]]
    rounds: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class TreeStructures:
    """Result of growth, apart from the tasks' leaves.

    Attributes
    ----------
    trees
        One tree per round, with LightGBM's own leaves.
    head, tail
        The model file's text before and after its trees.
    """

    trees: list[Tree]
    head: str
    tail: str
    sharing: TaskInteraction


def grow(
    train: lgb.Dataset, tune: lgb.Dataset | None, tasks: Sequence[TaskState], growing: GrowthConfig
) -> TreeStructures:
    """Grow trees until every task has stopped.

    Parameters
    ----------
    train, tune
        Binned rows; their labels are not read.
    tasks
        Updated in place.

    Notes
    -----
    LightGBM finds a tree from one gradient per row (see :mod:`mtl_tasks.models.boosting.split_gradient`). Every task
    then sets its exact Newton leaves from its own labeled rows, so a row never changes the leaves of a task for which
    it is unlabeled.
    """
    grower = _Grower(train, tune, tasks, growing)
    while grower.alive:
        grower.grow_chunk()
    if not grower.found.head:  # no task grows any tree
        grower.frame(lgb.Booster(growing.parameters, train))
    return grower.found


class _Grower:
    def __init__(
        self, train: lgb.Dataset, tune: lgb.Dataset | None, tasks: Sequence[TaskState], growing: GrowthConfig
    ) -> None:
        self._train, self._tune, self._tasks, self._growing = train, tune, tasks, growing
        self._draws, self._empty = growing.grown, 0
        self._weights = TaskWeights(growing.task_weighting, {task.name: task.weight for task in tasks})
        names = [task.name for task in tasks]
        sharing = TaskInteraction({f"{a}|{b}": [] for a, b in combinations(names, 2)}, {name: [] for name in names})
        self.found = TreeStructures([], "", "", sharing)

    @property
    def alive(self) -> list[TaskState]:
        """The tasks that still grow."""
        if len(self.found.trees) >= self._growing.rounds or self._empty >= EMPTY:
            return []
        return [task for task in self._tasks if task.alive]

    def grow_chunk(self) -> None:
        """Grow some rounds in one LightGBM booster, on the rows labeled for any task that still grows."""
        chunk = _Chunk(self._train, self._tune, self.alive, self._growing, self._draws)
        for _ in range(CHUNK):
            before = self.alive
            self._grow_round(chunk, before)
            after = self.alive
            if not after or chunk.reader.tied or (len(after) < len(before) and chunk.outgrown(after)):
                break
        if not self.found.head:
            self.frame(chunk.booster)

    def frame(self, booster: lgb.Booster) -> None:
        """Copy the model file's text around its trees from a booster."""
        self.found.head, _, self.found.tail = split_text(booster.model_to_string())

    def _grow_round(self, chunk: _Chunk, alive: list[TaskState]) -> None:
        growing = self._growing
        weights = self._weights.next({task.name: task.train_loss for task in alive})
        names = [task.name for task in alive]
        drawn = directions(growing.combine, names, weights, growing.seed, self._draws)
        self._draws += 1
        derivatives = [task.derivatives() for task in alive]
        tree = chunk.next_tree(derivatives, alive, drawn)
        if tree is None:
            self._empty += 1
            return
        self._empty = 0
        self.found.trees.append(tree)
        leaf, *tune = chunk.reader.read(tree)
        steps = {}
        for task, own in zip(alive, derivatives, strict=True):
            on_tune = tune[0][span(task.tune.positions, len(tune[0]))] if task.tune is not None else None
            positions = chunk.positions[task.name]
            steps[task.name] = task.step(leaf[positions], on_tune, own, tree.num_leaves, growing.learning_rate)
            task.end_round(growing.patience)
        self._note(steps, alive, weights)

    def _note(self, steps: dict[str, LeafValues], alive: list[TaskState], weights: dict[str, float]) -> None:
        pull = {
            task.name: steps[task.name].gradient / np.sqrt(steps[task.name].hessian + task.leaf_l2) for task in alive
        }
        for pair, cosines in self.found.sharing.cosines.items():
            first, second = (pull.get(name) for name in pair.split("|"))
            found = cosine(first, second) if first is not None and second is not None else None
            cosines.append(None if found is None else round(found, 4))
        for name, history in self.found.sharing.weights.items():
            history.append(round(weights[name], 4) if name in weights else None)


class _Chunk:
    """A LightGBM booster that grows consecutive trees on one set of rows."""

    def __init__(
        self,
        train: lgb.Dataset,
        tune: lgb.Dataset | None,
        tasks: Iterable[TaskState],
        growing: GrowthConfig,
        draws: int,
    ) -> None:
        rows, self.positions = _needed(train.num_data(), tasks)
        self._rows = train.num_data() if rows is None else len(rows)
        # LightGBM's sampling of rows and columns is seeded by the round at which the booster starts.
        seed = int(np.random.default_rng((growing.seed, draws)).integers(2**31))
        own = {"objective": "none", "learning_rate": 1.0, "seed": seed}
        if growing.split_hessian == "newton":
            own["min_sum_hessian_in_leaf"] = 0.0
        parameters = {**growing.parameters, **own}
        data = train if rows is None else train.subset(rows.tolist()).construct()
        self.booster = lgb.Booster(parameters, data)
        sets = [data]
        if tune is not None:
            self.booster.add_valid(tune, "tune")
            sets.append(tune)
        self.reader = LeafReader(self.booster, sets)
        self._split = SplitGradient(self._rows, growing.split_hessian, seed)

    def next_tree(
        self, derivatives: Sequence[tuple[Values, Values]], tasks: Sequence[TaskState], drawn: Values
    ) -> Tree | None:
        """Grow one tree; None if no split was found or its leaves cannot be read."""
        self._split.reset()
        for task, (gradient, hessian), direction in zip(tasks, derivatives, drawn, strict=True):
            self._split.add(self.positions[task.name], gradient, hessian, float(direction))
        known = self.booster.num_trees()
        self.booster.update(fobj=lambda *_: (self._split.gradient, self._split.hessian))
        if self.booster.num_trees() == known:
            return None
        _, (tree,), _ = split_text(self.booster.model_to_string(num_iteration=1, start_iteration=known))
        if not self.reader.can_read(tree):
            self.booster.rollback_one_iter()
            return None
        return tree if tree.num_leaves > 1 else None

    def outgrown(self, tasks: Iterable[TaskState]) -> bool:
        """Return whether the remaining tasks need so few of the rows that a booster on those alone pays off."""
        rows = np.zeros(self._rows, dtype=bool)
        for task in tasks:
            rows[self.positions[task.name]] = True
        return bool(rows.sum() < WORTH_LEAVING * self._rows)


def _needed(total: int, tasks: Iterable[TaskState]) -> tuple[Positions | None, dict[str, Span]]:
    """Return the rows labeled for any of the tasks (None: nearly all), and each task's positions among them."""
    seen = np.zeros(total, dtype=bool)
    for task in tasks:
        seen[task.rows.positions] = True
    if seen.sum() >= WORTH_LEAVING * total:
        return None, {task.name: span(task.rows.positions, total) for task in tasks}
    position, count = np.cumsum(seen) - 1, int(seen.sum())
    return np.flatnonzero(seen), {task.name: span(position[task.rows.positions], count) for task in tasks}
