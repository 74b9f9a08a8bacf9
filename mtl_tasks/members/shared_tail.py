"""Trees that all tasks share, and then trees of each task's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import lightgbm as lgb

from mtl_tasks.boosting.model_text import join_text, split_text
from mtl_tasks.boosting.rows import Places, Values
from mtl_tasks.boosting.table import LeafTable
from mtl_tasks.boosting.trees import Grown, TaskTrees, boost, boost_again, parameters
from mtl_tasks.members.base import Table
from mtl_tasks.members.boosted import BoostedMember, Learnt
from mtl_tasks.members.shared import Bins, SharedTrees, grow_seeds, sharing_of
from mtl_tasks.scenario import Scenario

# Own trees are drawn otherwise than those of `independent`, so that a mean of the two members averages something.
OWN_SEED: Final = 1_000_003


class SharedTailMember(BoostedMember):
    """Shared-tree boosting up to a checkpoint, from where LightGBM grows trees for one task at a time.

    For each task ``tune`` chooses: the checkpoint among ``boosting.shared.checkpoints`` (on the first seed, for all
    seeds), how many own trees follow, or none. After checkpoint 0 all trees are the task's own: it opts out.
    """

    kind = "shared_tail"
    note = "LightGBM, trees shared by all tasks and then its own"

    @classmethod
    def _learn(cls, train: Table, tune: Table | None, scenario: Scenario, device: str, chosen: Self | None) -> Learnt:
        bins = Bins.of(train, tune)
        seeds = grow_seeds(bins, scenario, device, None if chosen is None else chosen.sharing)
        finished = _Finishing(bins, scenario, device)
        models = finished.with_known(seeds, chosen._trees) if chosen is not None else finished.with_best(seeds)
        trees = {
            task: TaskTrees.of(
                [model.grown for model in made],
                [model.shared for model in made],
                None if chosen is None else chosen._trees[task].curve,
            )
            for task, made in models.items()
        }
        return Learnt(trees, bins.encoder, sharing_of(seeds) if chosen is None else chosen.sharing)


@dataclass(frozen=True)
class Finished:
    """A task's model of one seed: its trees, of which the first ``shared`` are those of all tasks."""

    grown: Grown
    shared: int


class _Finishing:
    """Puts each task's own trees after the shared ones."""

    def __init__(self, bins: Bins, scenario: Scenario, device: str) -> None:
        self._bins, self._scenario, self._device = bins, scenario, device

    def with_best(self, seeds: list[SharedTrees]) -> dict[str, list[Finished]]:
        """Choose by task and seed what is best on tune."""
        tasks = self._scenario.tasks
        parts = dict.fromkeys(tasks, self._scenario.boosting.shared.checkpoints)
        made: dict[str, list[Finished]] = {task: [] for task in tasks}
        for number, seed in enumerate(seeds):
            wanted = sorted({part for some in parts.values() for part in some}, reverse=True)
            starts = {part: _Starts.of(self._bins, seed, _rounds(seed, part), self._threads) for part in wanted}
            for task in tasks:
                tried = [(part, self._best(seed, task, starts[part], number)) for part in parts[task]]
                part, best = min(tried, key=lambda pair: pair[1].grown.loss)
                parts[task] = (part,)
                made[task].append(best)
        return made

    def with_known(self, seeds: list[SharedTrees], known: dict[str, TaskTrees]) -> dict[str, list[Finished]]:
        """Take the rounds, shared and own, that were chosen before."""
        made: dict[str, list[Finished]] = {task: [] for task in known}
        for number, seed in enumerate(seeds):
            rounds = {task: trees.shared[number] for task, trees in known.items()}
            starts = _Starts.of(self._bins, seed, rounds, self._threads)
            for task, trees in known.items():
                own = trees.rounds[number] - trees.shared[number]
                made[task].append(self._again(seed, task, starts, number, own))
        return made

    @property
    def _threads(self) -> int:
        return self._scenario.boosting.threads

    def _parameters(self, task: str, number: int) -> dict[str, Any]:
        kind, seed = self._scenario.tasks[task].kind, self._scenario.seed + number + OWN_SEED
        return parameters(self._scenario.boosting, kind, self._device, seed)

    def _best(self, seed: SharedTrees, task: str, starts: _Starts, number: int) -> Finished:
        """Grow own trees until tune is best, and take them if they made it better."""
        assert self._bins.tune is not None
        assert self._bins.held is not None
        train, tune = self._bins.train.rows(task), self._bins.tune.rows(task)
        rounds = starts.rounds[task]
        own = boost(
            train.binned(self._bins.binned, starts.train_of(task, train.places)),
            tune.binned(self._bins.held, starts.tune_of(task, tune.places)),
            self._parameters(task, number),
            self._scenario.tasks[task].kind,
            self._scenario.boosting,
        )
        shared = seed.model(task, rounds)
        if rounds and own.loss >= shared.loss:
            return Finished(shared, rounds)
        return Finished(_joined(shared, own, rounds, seed.tasks[task].loss.objective), rounds)

    def _again(self, seed: SharedTrees, task: str, starts: _Starts, number: int, own_rounds: int) -> Finished:
        rounds = starts.rounds[task]
        shared = seed.model(task, rounds)
        if not own_rounds:
            return Finished(shared, rounds)
        rows = self._bins.train.rows(task)
        data = rows.binned(self._bins.binned, starts.train_of(task, rows.places))
        own = boost_again(data, self._parameters(task, number), own_rounds)
        return Finished(_joined(shared, own, rounds, seed.tasks[task].loss.objective), rounds)


@dataclass(frozen=True)
class _Starts:
    """What the shared trees up to a checkpoint predict: float64 (n, tasks) of raw scores.

    They are predicted anew: keeping each task's scores of a round that may turn out best costs a copy a round.
    """

    rounds: dict[str, int]
    places: dict[str, int]
    train: Values | None
    tune: Values | None

    @classmethod
    def of(cls, bins: Bins, seed: SharedTrees, rounds: dict[str, int], threads: int) -> _Starts:
        tasks = list(rounds)
        places = {task: place for place, task in enumerate(tasks)}
        if not any(rounds.values()):
            return cls(rounds, places, None, None)
        table = LeafTable({task: seed.model(task, count).booster for task, count in rounds.items()}, rounds)
        train, tune = (
            None if part is None else table.scores(bins.encoder.matrix(part.features), tasks, threads)
            for part in (bins.train, bins.tune)
        )
        return cls(rounds, places, train, tune)

    def train_of(self, task: str, rows: Places) -> Values | None:
        return self._part(self.train, task, rows)

    def tune_of(self, task: str, rows: Places) -> Values | None:
        return self._part(self.tune, task, rows)

    def _part(self, scores: Values | None, task: str, rows: Places) -> Values | None:
        return None if scores is None or not self.rounds[task] else scores[rows, self.places[task]]


def _rounds(seed: SharedTrees, part: float) -> dict[str, int]:
    return {name: round(part * task.best_round) for name, task in seed.tasks.items()}


def _joined(shared: Grown, own: Grown, rounds: int, objective: str) -> Grown:
    """Return the model of the shared trees and then the task's own."""
    if not rounds:
        return own
    head, trees, tail = split_text(shared.booster.model_to_string())
    _, more, _ = split_text(own.booster.model_to_string())
    booster = lgb.Booster(model_str=join_text(head, [*trees, *more], tail, objective))
    curve = None
    if shared.curve is not None and own.curve is not None:
        curve = replace(shared.curve, train=shared.curve.train[:rounds], tune=shared.curve.tune[:rounds]).then(
            own.curve
        )
    return Grown(booster, rounds + own.rounds, curve, own.loss)
