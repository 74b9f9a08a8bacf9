"""Fitting of networks: epochs chosen on tune, and the fit again with that choice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.contributions import shares_of
from mtl_tasks.models.deep.attribution import contributions
from mtl_tasks.models.deep.fitted import FittedNetworks, mean_scores
from mtl_tasks.models.deep.network import Architecture, Params
from mtl_tasks.models.deep.rows import EncodedRows, Target
from mtl_tasks.models.deep.training import Course, Fit, Plan
from mtl_tasks.models.encoding import FeatureEncoder
from mtl_tasks.models.member import Table
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.members import DeepDocument, DeepTask
from mtl_tasks.store.documents.training import LearningCurve, Sharing

Values = NDArray[np.float64]

DIGITS: Final = 6  # of what is only shown
EPOCH: Final = "epoch"
PERIOD: Final = "tenth of an epoch"
SAMPLE: Final = 500  # rows that importance is measured on


@dataclass
class TuneWatch:
    """The losses on tune after each epoch, and the parameters of each task's best epoch.

    Attributes
    ----------
    losses
        By epoch, float64 (2, tasks): in training, and on tune.
    """

    fit: Fit
    targets: dict[str, Target]
    rows: EncodedRows
    losses: list[Values] = field(default_factory=list)
    kept: dict[int, Params] = field(default_factory=dict)

    def after(self, epoch: int, params: Params, trained: Values) -> bool:
        """Judge an epoch; return whether it was the best so far for any task.

        Raises
        ------
        DataError
            If a loss is not finite.
        """
        score = mean_scores(self.fit.plan.network, params, self.rows.dense, self.rows.codes)
        held = np.array([self._loss(score, position) for position in range(len(self.targets))])
        self.fit.refuse_tune_losses(held, epoch)
        self.losses.append(np.array([trained, held]))
        best = self._best()
        self.kept = {one: part for one, part in {**self.kept, epoch: params}.items() if one in best}
        return epoch in best

    def tasks(self) -> dict[str, DeepTask]:
        """Return how each task was learned."""
        made = {}
        for position, (task, target) in enumerate(self.targets.items()):
            loss = LOSSES[target.objective]
            trained, held = (
                tuple(round(loss.on_curve(float(each[row, position])) * target.scale, DIGITS) for each in self.losses)
                for row in range(2)
            )
            curve = LearningCurve(metric=loss.shown, train=trained, tune=held, step=EPOCH)
            epochs = int(self._best()[position])
            made[task] = DeepTask(epochs=epochs, center=target.center, scale=target.scale, curve=curve)
        return made

    def _loss(self, score: Values, position: int) -> float:
        """Return the loss of an output on the task's labeled rows."""
        target, weight = list(self.targets.values())[position], self.rows.weights[:, position]
        seen = weight > 0
        target_of_rows, weight_of_rows = self.rows.targets[seen, position], weight[seen].astype(np.float64)
        return LOSSES[target.objective].value(score[seen, position], target_of_rows, weight_of_rows)

    def _best(self) -> NDArray[np.int64]:
        """Return each task's best epoch, counted from 1."""
        return np.asarray(1 + np.argmin([each[1] for each in self.losses], axis=0))


def learn(train: Table, tune: Table, scenario: Scenario, device: str) -> FittedNetworks:
    """Fit on ``train``; each task's epochs are the best on ``tune``, and training stops where no task improves.

    Raises
    ------
    DataError
        If features cannot be learned from, or a loss is not finite.
    """
    encoder = FeatureEncoder.learn(train)
    targets = _targets(train, scenario)
    fit = _fit(EncodedRows.of(encoder, train, targets, scenario, "train"), encoder, targets, scenario, device)
    watch = TuneWatch(fit, targets, EncodedRows.of(encoder, tune, targets, scenario, "tune"))
    course = fit.run(scenario.deep.epochs, watch.after)
    return _fitted(fit, encoder, watch.tasks(), course, watch.kept)


def learn_again(table: Table, chosen: FittedNetworks, scenario: Scenario) -> FittedNetworks:
    """Fit on other rows for as many epochs as were chosen; encoding and scales are learned again."""
    encoder, targets, own = FeatureEncoder.learn(table), _targets(table, scenario), chosen.document.tasks
    rows = EncodedRows.of(encoder, table, targets, scenario, None)
    fit = _fit(rows, encoder, targets, scenario, chosen.document.device)
    wanted, kept = {task.epochs for task in own.values()}, dict[int, Params]()

    def after(epoch: int, params: Params, trained: Values) -> bool:
        if epoch in wanted:
            kept[epoch] = params
        return True

    course = fit.run(max(wanted), after)
    tasks = {
        task: own[task].model_copy(update={"center": target.center, "scale": target.scale})
        for task, target in targets.items()
    }
    return _fitted(fit, encoder, tasks, course, kept)


def _targets(table: Table, scenario: Scenario) -> dict[str, Target]:
    names = sorted(scenario.tasks)  # as the file has them
    return {task: Target.of(table.rows(task), scenario.tasks[task].objective) for task in names}


def _fit(
    rows: EncodedRows, encoder: FeatureEncoder, targets: dict[str, Target], scenario: Scenario, device: str
) -> Fit:
    network = Architecture.of(scenario.deep, len(encoder.dense_names), encoder.sizes, len(targets))
    plan = Plan(network, tuple(target.objective for target in targets.values()), scenario.deep)
    weights = np.array([scenario.tasks[task].weight for task in targets])
    bias = np.array([target.base for target in targets.values()], dtype=np.float32)
    return Fit(plan, rows, tuple(targets), weights / weights.mean(), bias, scenario.seed, device, scenario.file)


def _fitted(
    fit: Fit, encoder: FeatureEncoder, tasks: dict[str, DeepTask], course: Course, kept: dict[int, Params]
) -> FittedNetworks:
    settings = fit.plan.settings
    document = DeepDocument(
        structure=settings.structure,
        layers=settings.layers,
        experts=settings.experts,
        task_experts=settings.task_experts,
        embedding=settings.embedding,
        seeds=settings.seeds,
        device=fit.device,
        tasks=tasks,
        encoder=encoder.document(),
        importance={},
        sharing=_sharing(fit.tasks, course),
        every=fit.rows.every,
    )
    learned = FittedNetworks(document, encoder, kept)
    return replace(learned, document=document.model_copy(update={"importance": _importance(learned, fit.rows)}))


def _importance(learned: FittedNetworks, rows: EncodedRows) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return features' shares of the mean absolute integrated gradients of some training rows."""
    some = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.intp)
    parts = contributions(learned, rows.dense[some], rows.codes[some])
    names = [*learned.encoder.dense_names, *learned.encoder.levels]
    return {task: tuple(shares_of(np.abs(part).mean(axis=0), names)) for task, part in parts.items()}


def _sharing(tasks: tuple[str, ...], course: Course) -> Sharing:
    pairs = [(first, second) for first in range(len(tasks)) for second in range(first + 1, len(tasks))]
    cosines = {f"{tasks[i]}|{tasks[j]}": _rounded([each[i, j] for each in course.cosines]) for i, j in pairs}
    weights = {task: _rounded([each[position] for each in course.weights]) for position, task in enumerate(tasks)}
    return Sharing(cosines=cosines, weights=weights, step=PERIOD)


def _rounded(values: list[Any]) -> tuple[float, ...]:
    return tuple(round(float(value), DIGITS) for value in values)
