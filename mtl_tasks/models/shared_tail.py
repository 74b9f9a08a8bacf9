"""Trees shared by all tasks, followed by each task's own trees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from mtl_tasks.models.boosted import FitContext, FittedTrees
from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.boosting.task_rows import Values, clustered_error
from mtl_tasks.models.boosting.trees import (
    TaskTrees,
    TrainedBooster,
    boost,
    boost_again,
    joined,
    parameters,
    predict_raw,
    shared_trees,
)
from mtl_tasks.models.shared import Finished, SharedMember, SharedTrees

# Not the seed of `independent`, so that the trees of the two members differ and their mean is of use.
OWN_SEED: Final = 1_000_003


class SharedTailMember(SharedMember):
    """Shared-tree boosting up to a checkpoint, after which LightGBM grows trees for one task at a time.

    For each task, ``tune`` determines the number of own trees, which can be 0. It also determines the checkpoint, on
    the first seed for all seeds: the first of ``boosting.shared.checkpoints`` unless another is better by more than a
    standard error (two seeds of one model can differ by less). With checkpoint 0 all trees are the task's own.
    """

    kind = "shared_tail"
    note = "LightGBM, trees shared by all tasks and then its own"

    @classmethod
    def _models(cls, learning: FitContext, seeds: list[SharedTrees]) -> dict[str, list[Finished]]:
        finishing = _Finishing(learning)
        return finishing.with_best(seeds) if learning.chosen is None else finishing.with_chosen(seeds, learning.chosen)


class _Finishing:
    """Appends each task's own trees to the shared ones."""

    def __init__(self, learning: FitContext) -> None:
        self._learning, self._scenario = learning, learning.scenario

    def with_best(self, seeds: list[SharedTrees]) -> dict[str, list[Finished]]:
        """Return the best models on tune, by task and seed."""
        tasks = self._scenario.tasks
        parts = dict.fromkeys(tasks, self._scenario.boosting.shared.checkpoints)
        made: dict[str, list[Finished]] = {task: [] for task in tasks}
        for number, seed in enumerate(seeds):
            wanted = sorted({part for some in parts.values() for part in some}, reverse=True)
            starts = {part: _Starts.of(self._learning, seed, _rounds(seed, part)) for part in wanted}
            for task in tasks:
                tried = [self._best(seed, task, starts[part], number) for part in parts[task]]
                best = self._clearly_best(task, tried)
                parts[task] = (parts[task][best],)
                made[task].append(tried[best])
        return made

    def _clearly_best(self, task: str, tried: list[Finished]) -> int:
        """Return the index of the first model, or of a later one whose loss on tune is lower by a standard error."""
        learning, loss = self._learning, LOSSES[self._scenario.tasks[task].objective]
        if len(tried) == 1 or learning.tune is None or learning.tune_matrix is None:
            return 0
        rows, threads = learning.tune.rows(task), self._scenario.boosting.threads
        users = rows.positions if learning.tune.users is None else learning.tune.users[rows.positions]
        matrix, best = learning.tune_matrix[rows.positions], 0
        losses = [
            loss.each(TaskTrees.of([model.grown]).scores(matrix, 0, threads), rows.label) * rows.shares
            for model in tried
        ]
        for index in range(1, len(tried)):
            gain = losses[best] - losses[index]
            if gain.sum() > clustered_error(gain, users):
                best = index
        return best

    def with_chosen(self, seeds: list[SharedTrees], chosen: FittedTrees) -> dict[str, list[Finished]]:
        """Use the numbers of shared and own rounds chosen before."""
        made: dict[str, list[Finished]] = {task: [] for task in chosen.trees}
        for number, seed in enumerate(seeds):
            rounds = {task: trees.shared[number] for task, trees in chosen.trees.items()}
            starts = _Starts.of(self._learning, seed, rounds)
            for task, trees in chosen.trees.items():
                made[task].append(self._again(seed, task, starts, number, trees.own_rounds(number)))
        return made

    def _parameters(self, task: str, number: int) -> dict[str, Any]:
        kind, seed = self._scenario.tasks[task].objective, self._scenario.seed + number + OWN_SEED
        return parameters(self._scenario.boosting, kind, self._learning.device, seed)

    def _best(self, seed: SharedTrees, task: str, starts: _Starts, number: int) -> Finished:
        """Grow own trees up to the best round on tune; keep them only if they lower the loss."""
        learning, kind = self._learning, self._scenario.tasks[task].objective
        assert learning.tune is not None
        assert learning.tune_binned is not None
        rows, held_out, rounds = learning.train.rows(task), learning.tune.rows(task), starts.rounds[task]
        base, before = seed.model(task, rounds), rounds + seed.inherited(task)
        if rounds and before >= self._scenario.boosting.rounds:
            return Finished(base, rounds)
        own = boost(
            rows.binned(learning.binned, starts.train.get(task)),
            held_out.binned(learning.tune_binned, starts.tune.get(task)),
            self._parameters(task, number),
            kind,
            self._scenario.boosting,
            before,
        )
        if rounds and own.loss >= base.loss:
            return Finished(base, rounds)
        return Finished(_followed(base, own, kind, rounds) if task in starts.train else own, rounds)

    def _again(self, seed: SharedTrees, task: str, starts: _Starts, number: int, own_rounds: int) -> Finished:
        rounds, kind = starts.rounds[task], self._scenario.tasks[task].objective
        base = seed.model(task, rounds)
        if not own_rounds:
            return Finished(base, rounds)
        data = self._learning.train.rows(task).binned(self._learning.binned, starts.train.get(task))
        own = boost_again(data, self._parameters(task, number), own_rounds)
        return Finished(joined(base, own, kind) if task in starts.train else own, rounds)


@dataclass(frozen=True)
class _Starts:
    """Raw scores of each task's labeled rows by its trees up to a checkpoint; no entry for a task without trees.

    They are predicted again: keeping each task's scores of every possibly best round would cost a copy per round.
    """

    rounds: dict[str, int]
    train: dict[str, Values]
    tune: dict[str, Values]

    @classmethod
    def of(cls, learning: FitContext, seed: SharedTrees, rounds: dict[str, int]) -> _Starts:
        there = [task for task, count in rounds.items() if count + seed.inherited(task)]
        if not there:
            return cls(rounds, {}, {})
        grown = {task: seed.model(task, rounds[task]) for task in there}
        trees = {task: TaskTrees.of([grown[task]], [rounds[task]], [seed.inherited(task)]) for task in there}
        shared = shared_trees(trees, 0)
        made: list[dict[str, Values]] = [{}, {}]
        for scores, part, matrix in (
            (made[0], learning.train, learning.matrix),
            (made[1], learning.tune, learning.tune_matrix),
        ):
            if part is not None and matrix is not None:
                raw = predict_raw(trees, there, [shared], matrix, learning.scenario.boosting.threads)
                scores.update({task: raw[task][part.rows(task).positions] for task in there})
        return cls(rounds, *made)


def _rounds(seed: SharedTrees, part: float) -> dict[str, int]:
    return {name: round(part * task.best_round) for name, task in seed.tasks.items()}


def _followed(base: TrainedBooster, own: TrainedBooster, kind: str, rounds: int) -> TrainedBooster:
    """Return the model of the trees up to a checkpoint followed by the task's own, with the curve of both."""
    assert base.curve is not None
    assert own.curve is not None
    curve = replace(base.curve, train=base.curve.train[:rounds], tune=base.curve.tune[:rounds]).then(own.curve)
    return replace(joined(base, own, kind), curve=curve)
