"""Evaluation on the test window: metrics with intervals by member, fusion and slice, and list metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.metrics.bootstrap import UserBootstrap, measured
from mtl_tasks.metrics.catalog import Prepared, improvement, metrics_of
from mtl_tasks.metrics.ranking import calibration_curve
from mtl_tasks.store.documents.evaluation import CalibrationPoint, SliceEvaluation, TaskEvaluation
from mtl_tasks.store.documents.measurements import UNKNOWN, Measurement, Measurements

Values = NDArray[np.float64]
Replicates = dict[tuple[str, str], Values]  # by model and metric
REPLICATES: Final = 200
FLOOR: Final = "popularity"
FUSION: Final = "fusion"


@dataclass(frozen=True)
class ScoredRows:
    """The labeled test rows of one task.

    Attributes
    ----------
    users
        (n,) user id of each row.
    days
        (n,) day number of each row.
    label
        float64 (n,).
    predictions
        Member name, or ``fusion``, to float64 (n,).
    slices
        Slice name to bool (n,).
    """

    users: NDArray[Any]
    days: NDArray[Any]
    label: Values
    predictions: dict[str, Values]
    slices: dict[str, NDArray[np.bool_]]

    def where(self, mask: NDArray[np.bool_]) -> ScoredRows:
        """Select some of the rows, without slices."""
        predictions = {name: values[mask] for name, values in self.predictions.items()}
        return ScoredRows(self.users[mask], self.days[mask], self.label[mask], predictions, {})


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
