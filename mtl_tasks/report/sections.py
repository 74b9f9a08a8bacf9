"""Figures, tables and charts of a run's page, for the template ``sections.html``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mtl_tasks.core.program import PROGRAM
from mtl_tasks.metrics.metric import Metric
from mtl_tasks.report import charts, curve_charts, labels
from mtl_tasks.report.document import FLOOR, FUSION, RunDocument, models_in_order
from mtl_tasks.scenario import DEEP
from mtl_tasks.store.documents.evaluation import CalibrationPoint, SliceCalibration, SliceEvaluation, TaskEvaluation
from mtl_tasks.store.documents.lists import ImpressionsDocument, RankingEvaluation
from mtl_tasks.store.documents.measurements import Measurement, Measurements
from mtl_tasks.store.documents.rank import RankDocument
from mtl_tasks.store.documents.training import Sharing, TaskDescription, TaskExplanation, TaskFusion
from mtl_tasks.store.documents.versus_champion import TaskVersusChampion


@dataclass(frozen=True)
class Column:
    """A metric's column, with the models that are best by it."""

    name: str
    shown: Metric
    best: set[str]


@dataclass(frozen=True)
class SliceTable:
    """Metrics of a slice by model, the fusion first; ``gain`` is the primary metric's over the champion."""

    name: str
    rows: int
    models: Mapping[str, Measurements]
    metrics: list[Column]
    gain: Measurement | None


@dataclass(frozen=True)
class Candidate:
    """A candidate of a fusion with its loss on the blend window."""

    name: str
    loss: float | None
    taken: bool


@dataclass(frozen=True)
class TaskSection:
    """Everything about a task; charts are None where there is nothing to draw."""

    name: str
    described: str
    evaluation: TaskEvaluation
    models: Mapping[str, Measurements]
    metrics: list[Column]
    differences: Markup | None
    slices: list[SliceTable]
    fusion: TaskFusion
    weights: Markup | None
    candidates: list[Candidate]
    calibration: Markup | None
    slice_calibration: Mapping[str, SliceCalibration]
    bins: Sequence[CalibrationPoint]
    curves: list[Markup]
    versus: TaskVersusChampion | None


@dataclass(frozen=True)
class RankingTable:
    """Metrics of the recommendations.

    Attributes
    ----------
    rankers
        Metrics of each ranker, best NDCG first.
    versus
        Ranker to the paired difference of its NDCG from popularity's.
    impressions
        Task to the models' metrics of what was shown, best GAUC first, with its columns.
    """

    evaluation: RankingEvaluation
    metrics: list[Column]
    rankers: dict[str, Measurements]
    versus: dict[str, Measurement]
    impressions: dict[str, ImpressionsTable]
    rank: RankDocument | None


@dataclass(frozen=True)
class ImpressionsTable:
    """Metrics of how models order what users were shown."""

    document: ImpressionsDocument
    metrics: list[Column]
    models: dict[str, Measurements]


@dataclass(frozen=True)
class TaskPanel:
    """How a member learned a task; charts are None if they are not drawn."""

    task: str
    description: TaskDescription
    rows: int | None
    split: bool = False
    curve: Markup | None = None
    effects: Markup | None = None
    amount: str | None = None
    importance: Markup | None = None


@dataclass(frozen=True)
class MemberPanel:
    """How a member learned."""

    name: str
    device: str
    panels: list[TaskPanel]
    opened: bool
    most_used: bool
    conflict: Markup | None
    task_weights: Markup | None

    @property
    def drawn(self) -> bool:
        """Whether there are charts."""
        return any(panel.curve or panel.importance for panel in self.panels)


def task_section(document: RunDocument, name: str, deferred: Container[str] = ()) -> TaskSection:
    """Return everything about a task, without the charts of the ``deferred`` sections."""
    evaluation, fusion = document.evaluation.tasks[name], document.fusion[name]
    models = document.models(name)
    metrics = labels.in_order(models[FLOOR])
    bins = document.evaluation.calibration.get(name, ())
    weights = document.weights(name)
    slices = document.evaluation.slices.get(name, {})
    versus = None if document.versus_champion is None else document.versus_champion.tasks.get(name)
    return TaskSection(
        name=name,
        described=document.scenario.tasks[name].described,
        evaluation=evaluation,
        models=models,
        metrics=_columns(metrics, models),
        differences=None if "metrics" in deferred else _differences(name, evaluation.versus_floor, metrics),
        slices=[_slice(label, part, metrics, _gain_of(versus, label)) for label, part in slices.items()],
        fusion=fusion,
        weights=charts.weights(weights, f"{name}: fusion weights") if weights and "fusion" not in deferred else None,
        candidates=_candidates(fusion),
        calibration=charts.calibration(bins, f"{name}: calibration")
        if bins and "calibration" not in deferred
        else None,
        slice_calibration=document.evaluation.slice_calibration.get(name, {}),
        bins=bins,
        curves=[] if "curves" in deferred else _curves(document, name),
        versus=versus,
    )


def _curves(document: RunDocument, name: str) -> list[Markup]:
    """Return the charts of a task's curves; empty for a run from before they were kept."""
    curves = None if document.curves is None else document.curves.tasks.get(name)
    if curves is None:
        return []
    drawn = [curve_charts.by_day(curves.by_day, f"{name}: {curves.by_day.metric} by day")]
    if curves.predicted:
        title = f"{name}: predicted and actual, residuals"
        drawn.append(curve_charts.regression(curves.predicted, curves.scores, "label points", title))
    else:
        if curves.roc:
            drawn.append(curve_charts.discrimination(curves, f"{name}: ROC, precision and recall, lift"))
        drawn.append(curve_charts.scores(curves.scores, f"{name}: predictions by class"))
    return drawn


def _differences(task: str, versus_floor: Mapping[str, Measurements], metrics: list[str]) -> Markup | None:
    others = {model: gains for model, gains in versus_floor.items() if model != FLOOR}
    return charts.differences(others, metrics, f"{task}: gain over the floor") if others else None


def _columns(names: list[str], models: Mapping[str, Measurements]) -> list[Column]:
    return [Column(name, labels.metric(name), labels.best(models, name)) for name in names]


def _slice(label: str, part: SliceEvaluation, metrics: list[str], gain: Measurement | None) -> SliceTable:
    models = {FUSION: part.fusion, **models_in_order(part.members)}
    return SliceTable(label.replace("_", " "), part.rows, models, _columns(metrics, models), gain)


def _gain_of(versus: TaskVersusChampion | None, label: str) -> Measurement | None:
    """Return the gain of a slice's primary metric over the champion."""
    found = {} if versus is None else versus.slices.get(label, {})
    return next((pair.gain for pair in found.values()), None)


def _candidates(fusion: TaskFusion) -> list[Candidate]:
    """Return the blend losses, best first, with the chosen one marked."""
    ordered = sorted(fusion.blend_loss.items(), key=lambda pair: (pair[1] is None, pair[1]))
    return [Candidate(labels.candidate_title(name), loss, name == fusion.candidate) for name, loss in ordered]


def ranking_table(document: RunDocument) -> RankingTable:
    """Return the metrics of the recommendations."""
    ranking = document.evaluation.ranking
    rankers = labels.best_first(ranking.by_ranker, "ndcg")
    names = labels.in_order(next(iter(rankers.values()), {}))
    versus = {}
    if ranking.comparison is not None:
        for name, measures in ranking.comparison.everyone.rankers.items():
            if "ndcg" in measures.versus.get(FLOOR, {}):
                versus[name] = measures.versus[FLOOR]["ndcg"]
    shown = {task: _impressions(part) for task, part in ranking.impressions.items() if part.groups}
    return RankingTable(ranking, _columns(names, rankers), rankers, versus, shown, document.rank)


def _impressions(document: ImpressionsDocument) -> ImpressionsTable:
    models = labels.best_first({name: model.metrics for name, model in document.models.items()}, "gauc")
    names = labels.in_order(next(iter(models.values()), {}))
    return ImpressionsTable(document, _columns(names, models), models)


def member_panels(document: RunDocument, only: str | None, *, drawn: bool = True) -> list[MemberPanel]:
    """Return how each member learned; with ``only``, one member has charts, and none without ``drawn``."""
    most = most_used(document)
    return [
        _member_panel(document, member, only, most, drawn=drawn and only in (None, member))
        for member in document.describe
    ]


def _member_panel(document: RunDocument, member: str, only: str | None, most: str, *, drawn: bool) -> MemberPanel:
    described = document.describe[member]
    conflict, task_weights = _sharing(document, member, described.sharing) if drawn else (None, None)
    return MemberPanel(
        name=member,
        device=described.device,
        panels=list(_task_panels(document, member, drawn=drawn)),
        opened=member == (only or most),
        most_used=member == most,
        conflict=conflict,
        task_weights=task_weights,
    )


def _task_panels(document: RunDocument, member: str, *, drawn: bool) -> Iterator[TaskPanel]:
    explained = document.explain.get(member, {})
    for task, description in document.describe[member].tasks.items():
        found = explained.get(task)
        if drawn:
            yield _drawn(f"{member}, {task}", task, description, found, document.scenario.tasks[task].score_unit)
        else:
            yield TaskPanel(task, description, found.rows if found else None)


def _drawn(
    name: str, task: str, description: TaskDescription, explained: TaskExplanation | None, unit: str
) -> TaskPanel:
    curve, shares = description.curve, description.importance
    gain = explained.gain if explained else None
    return TaskPanel(
        task=task,
        description=description,
        rows=explained.rows if explained else None,
        split=gain is not None,
        curve=charts.learning_curve(curve, description.rounds, f"{name}: learning curve") if curve else None,
        effects=charts.effects(explained.features, unit, f"{name}: effect of features", explained.amount)
        if explained
        else None,
        amount=explained.amount if explained else None,
        importance=charts.importance(shares, f"{name}: feature importance", gain) if shares else None,
    )


def most_used(document: RunDocument) -> str:
    """Return the member with the largest total weight in the tasks' fusions."""
    tasks = document.evaluation.tasks
    say = {member: sum(document.weights(task).get(member, 0.0) for task in tasks) for member in document.describe}
    return max(say, key=lambda member: say[member])


def _sharing(document: RunDocument, member: str, sharing: Sharing | None) -> tuple[Markup | None, Markup | None]:
    """Return the charts of the tasks' agreement and of their weights."""
    if sharing is None or not any(sharing.weights.values()):
        return None, None
    settings = document.scenario.deep if member == DEEP else document.scenario.boosting.shared
    moving = settings.task_weighting not in ("fixed", "pcgrad")
    title = f"{member}: agreement of the tasks' gradients"
    return (
        charts.conflict(sharing.cosines, title, sharing.step) if sharing.cosines else None,
        charts.task_weights(sharing.weights, f"{member}: task weights", sharing.step) if moving else None,
    )


def run_command(document: RunDocument) -> str:
    """Return the command that makes the run."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in document.overrides.items()}
    settings = [f"--set {shlex.quote(f'{key}={text}')}" for key, text in texts.items()]
    return " ".join([f"{PROGRAM} run", document.scenario.name, "--as-of", document.as_of, *settings])
