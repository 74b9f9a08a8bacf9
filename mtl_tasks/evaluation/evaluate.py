"""Evaluation on the test window: metrics with intervals by member, fusion and slice, and list metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, SCORE, top_lists
from mtl_tasks.metrics.bootstrap import UserBootstrap, measured
from mtl_tasks.metrics.catalog import PER_USER, Prepared, improvement, metrics_of
from mtl_tasks.metrics.pointwise import calibration_curve, list_metrics
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.evaluation import (
    UNKNOWN,
    CalibrationPoint,
    Measurement,
    Measurements,
    RankingEvaluation,
    Shortlist,
    SliceEvaluation,
    TaskEvaluation,
)

Values = NDArray[np.float64]
Replicates = dict[tuple[str, str], Values]  # by model and metric
REPLICATES: Final = 200
JUDGED: Final = 10_000  # users whose top-k lists are evaluated; the interval of their mean NDCG is about ±.005
FLOOR: Final = "popularity"
FUSION: Final = "fusion"
LISTS: Final = {POPULAR: POPULAR, ALS: ALS, FUSION: SCORE}  # list name to the score it is ranked by


@dataclass(frozen=True)
class ScoredRows:
    """The labeled test rows of one task.

    Attributes
    ----------
    users
        (n,) user id of each row.
    label
        float64 (n,).
    predictions
        Member name, or ``fusion``, to float64 (n,).
    slices
        Slice name to bool (n,).
    """

    users: NDArray[Any]
    label: Values
    predictions: dict[str, Values]
    slices: dict[str, NDArray[np.bool_]]

    def where(self, mask: NDArray[np.bool_]) -> ScoredRows:
        """Select some of the rows, without slices."""
        predictions = {name: values[mask] for name, values in self.predictions.items()}
        return ScoredRows(self.users[mask], self.label[mask], predictions, {})


def slice_masks(features: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Return masks of rows whose user or item had no interaction before the row's day, and of the others."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for side in ("user", "item"):
        cold = features[f"{side}.count"].to_numpy() == 0
        masks |= {f"cold_{side}s": cold, f"warm_{side}s": ~cold}
    return masks


def evaluate_task(
    rows: ScoredRows, kind: Literal["regression", "binary"], seed: int
) -> tuple[TaskEvaluation, dict[str, SliceEvaluation]]:
    """Return the metrics of a task, and of its slices."""
    metrics = metrics_of(kind)
    made, replicates = _measure(rows, metrics, seed)
    task = TaskEvaluation(
        kind=kind,
        rows=len(rows.label),
        positives=int((rows.label == 1).sum()) if kind == "binary" else None,
        members=_without_fusion(made),
        fusion=made[FUSION],
        versus_floor={
            name: {metric: _against_floor(made, replicates, name, metric) for metric in metrics}
            for name in made
            if name != FLOOR
        },
    )
    return task, {name: _evaluate_slice(rows.where(mask), metrics, seed) for name, mask in rows.slices.items()}


def _evaluate_slice(rows: ScoredRows, metrics: tuple[str, ...], seed: int) -> SliceEvaluation:
    made, _ = _measure(rows, metrics, seed)
    return SliceEvaluation(rows=len(rows.label), members=_without_fusion(made), fusion=made[FUSION])


def _without_fusion(made: dict[str, Measurements]) -> dict[str, Measurements]:
    return {name: measured for name, measured in made.items() if name != FUSION}


def _measure(rows: ScoredRows, metrics: tuple[str, ...], seed: int) -> tuple[dict[str, Measurements], Replicates]:
    made: dict[str, Measurements] = {name: {} for name in rows.predictions}
    if not len(rows.label):
        return {name: dict.fromkeys(metrics, UNKNOWN) for name in made}, {}
    prepared = {
        (name, metric): one
        for name, values in rows.predictions.items()
        for metric, one in Prepared.several(metrics, rows.label, values).items()
    }
    replicates = UserBootstrap(rows.users, REPLICATES, seed).replicate(prepared)
    everything = np.ones(len(rows.label))
    for (name, metric), drawn in replicates.items():
        made[name][metric] = _measurement(prepared[name, metric].under(everything), drawn, len(rows.label))
    return made, replicates


def _measurement(value: float, replicates: Values, rows: int) -> Measurement:
    return Measurement.model_validate(measured(value, replicates, rows))


def _against_floor(made: dict[str, Measurements], replicates: Replicates, name: str, metric: str) -> Measurement:
    mine, floor = made[name][metric], made[FLOOR][metric]
    if mine.value is None or floor.value is None:
        return UNKNOWN.model_copy(update={"rows": mine.rows})
    gain = improvement(metric, mine.value, floor.value)
    drawn = replicates[name, metric] - replicates[FLOOR, metric]
    sign = improvement(metric, 1.0, 0.0)
    return _measurement(gain, sign * drawn, mine.rows)


def calibration_of(rows: ScoredRows) -> tuple[CalibrationPoint, ...]:
    """Return the calibration curve of the fusion."""
    bins = calibration_curve(rows.label, rows.predictions[FUSION])
    return tuple(CalibrationPoint.model_validate(one) for one in bins)


def list_target(scenario: Scenario) -> str | None:
    """Return the task whose positives a list should contain: the first binary one; None without one."""
    binary = scenario.tasks_of("binary")
    return binary[0] if binary else None


def taken_in_test(events: pd.DataFrame, scenario: Scenario, start: int) -> pd.DataFrame:
    """Return the user-item pairs of positives from ``start`` on, of users known before."""
    target = list_target(scenario)
    later = events[events[columns.DAY] >= start]
    if target is not None and scenario.tasks[target].label is not None:
        later = later[later[columns.label(target)] == 1]
    known = later[columns.USER].isin(events.loc[events[columns.DAY] < start, columns.USER])
    return later.loc[known, [columns.USER, columns.ITEM]].drop_duplicates(ignore_index=True)


def judged_people(truth: pd.DataFrame, seed: int, most: int = JUDGED) -> pd.DataFrame:
    """Keep the pairs of at most ``most`` users, drawn at random: scoring all users' candidates is expensive."""
    users = truth[columns.USER].unique()
    if len(users) <= most:
        return truth
    drawn = np.random.default_rng(seed).choice(len(users), most, replace=False)
    return truth[truth[columns.USER].isin(users[drawn])].reset_index(drop=True)


class ListJudge:
    """Collects top-k lists batch by batch and scores them against the test window.

    Lists are made once, at the start of the test window, from what was known then. The truth is all of a user's
    positives in the window, whether or not the log had the item before.

    Parameters
    ----------
    truth
        User and item, of the users whose lists are evaluated.
    people
        Number of users from whom these are sampled.
    known_items
        Items that a list could contain.
    """

    def __init__(self, truth: pd.DataFrame, people: int, known_items: NDArray[Any], k: int, seed: int) -> None:
        self._pairs = pd.MultiIndex.from_frame(truth)
        self._count = truth.groupby(columns.USER).size()
        self._hits = {name: np.zeros((len(self._count), k), dtype=bool) for name in LISTS}
        self._shown: dict[str, set[Any]] = {name: set() for name in LISTS}
        self._found = 0
        self._scored = 0
        self._unreachable = float(1.0 - truth[columns.ITEM].isin(known_items).mean()) if len(truth) else None
        self._people, self._catalog, self._k, self._seed = people, len(known_items), k, seed

    def add(self, scored: pd.DataFrame) -> None:
        """Add a batch of scored candidates."""
        self._found += int(self._taken(scored).sum())
        self._scored += len(scored)
        for name, score in LISTS.items():
            best = top_lists(scored, score, self._k)
            place = self._count.index.get_indexer(pd.Index(best[columns.USER]))
            self._hits[name][place, best[columns.RANK] - 1] = self._taken(best)
            self._shown[name].update(best[columns.ITEM])

    def _taken(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        return pd.MultiIndex.from_frame(frame[[columns.USER, columns.ITEM]]).isin(self._pairs)

    def document(self, shortlist: Mapping[str, Any] | None = None) -> RankingEvaluation:
        """Return the ranking part of the evaluation document.

        Parameters
        ----------
        shortlist
            The result of :meth:`mtl_tasks.recommend.scorer.ShortlistCheck.document`.
        """
        return RankingEvaluation(
            k=self._k,
            users=len(self._count),
            people=self._people,
            lists={name: self._measured(hits) | self._coverage(name) for name, hits in self._hits.items()},
            unreachable=self._unreachable,
            candidate_recall=self._found / max(int(self._count.sum()), 1),
            candidates_per_user=self._scored / max(len(self._count), 1),
            shortlist=None if shortlist is None else Shortlist.model_validate(shortlist),
        )

    def _coverage(self, name: str) -> Measurements:
        share = len(self._shown[name]) / max(self._catalog, 1)
        return {"coverage": Measurement(value=share, low=None, high=None, rows=len(self._hits[name]))}

    def _measured(self, hits: NDArray[np.bool_]) -> Measurements:
        if not len(hits):
            return dict.fromkeys(PER_USER, UNKNOWN)
        per_user = list_metrics(hits, self._count.to_numpy().astype(np.int64))
        users = UserBootstrap(self._count.index.to_numpy(), REPLICATES, self._seed)
        return {m: _measurement(per_user[m].mean(), users.means(per_user[m]), len(hits)) for m in PER_USER}
