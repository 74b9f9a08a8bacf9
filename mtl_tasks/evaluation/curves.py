"""Curves of predictions on the test window: ROC, precision and recall, lift, residuals, metrics by day."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.days import day_text
from mtl_tasks.evaluation.evaluate import FLOOR, FUSION, ScoredRows
from mtl_tasks.metrics.catalog import compute, primary
from mtl_tasks.store.documents.curves import DailyMetric, Histogram, Line, PredictionBin, TaskCurves

Values = NDArray[np.float64]
POINTS: Final = 100  # of a curve
BINS: Final = 20  # of a histogram, and of the predictions of a regression
TENTHS: Final = 10
_DIGITS: Final = 5
_RESIDUAL_RANGE: Final = (0.005, 0.995)  # quantiles: a few outliers would leave one bin for all other residuals


def task_curves(rows: ScoredRows, kind: Literal["regression", "binary"]) -> TaskCurves | None:
    """Return the curves of a task; None if it has no rows."""
    if not len(rows.label):
        return None
    by_day = daily_metric(rows, primary(kind))
    if kind == "regression":
        return TaskCurves(by_day=by_day, scores=_residuals(rows), predicted=prediction_bins(rows))
    both = 0 < rows.label.sum() < len(rows.label)
    models = rows.predictions if both else {}
    return TaskCurves(
        by_day=by_day,
        scores=_scores_by_class(rows),
        roc={name: roc(rows.label, values) for name, values in models.items()},
        precision_recall={name: precision_recall(rows.label, values) for name, values in models.items()},
        lift={name: lift(rows.label, values) for name, values in models.items()},
    )


def roc(label: Values, prediction: Values) -> Line:
    """Return the receiver operating characteristic of a binary label with both classes.

    Its points are among those of scikit-learn's ``roc_curve``; tied predictions share a point.
    """
    true, false = _cumulated(label, prediction)
    x, y = np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])
    return _thinned(x, y, (x + y) / 2)


def precision_recall(label: Values, prediction: Values) -> Line:
    """Return precision by recall of a binary label with a positive, from the highest prediction on."""
    true, false = _cumulated(label, prediction)
    recall, precision = true / true[-1], true / (true + false)
    return _thinned(recall, precision, recall)


def lift(label: Values, prediction: Values) -> tuple[float, ...]:
    """Return the positive share of each tenth of the rows over that of all; tied rows count as their mean label."""
    _, group, rows = np.unique(-prediction, return_inverse=True, return_counts=True)
    ranked = (np.bincount(group, label) / rows)[np.sort(group)]
    parts = np.array_split(ranked, min(TENTHS, len(ranked)))
    return _rounded(np.array([part.mean() for part in parts]) / label.mean())


def daily_metric(rows: ScoredRows, metric: str) -> DailyMetric:
    """Return a metric of every model on each day with rows."""
    days = np.unique(rows.days)
    parts = [rows.where(rows.days == day) for day in days]
    return DailyMetric(
        metric=metric,
        days=tuple(day_text(int(day)) for day in days),
        rows=tuple(len(part.label) for part in parts),
        models={
            name: tuple(_finite(compute(metric, part.label, part.predictions[name])) for part in parts)
            for name in rows.predictions
        },
    )


def prediction_bins(rows: ScoredRows) -> tuple[PredictionBin, ...]:
    """Return labels by bins of the fusion's predictions; the bins have nearly equally many rows.

    Tied rows share a bin, so that predictions with few values have fewer bins.
    """
    order = np.argsort(rows.predictions[FUSION], kind="stable")
    ranked, bins = rows.predictions[FUSION][order], min(BINS, len(order))
    starts = np.unique(np.searchsorted(ranked, ranked[np.arange(bins) * len(order) // bins]))
    made = []
    for part in np.split(order, starts[1:]):
        label = rows.label[part]
        low, high = np.quantile(label, [0.1, 0.9])
        figures = _rounded(np.array([rows.predictions[FUSION][part].mean(), label.mean(), low, high]))
        made.append(
            PredictionBin(predicted=figures[0], actual=figures[1], low=figures[2], high=figures[3], rows=len(part))
        )
    return tuple(made)


def _residuals(rows: ScoredRows) -> Histogram:
    found = {name: rows.label - rows.predictions[name] for name in (FUSION, FLOOR) if name in rows.predictions}
    low, high = np.quantile(np.concatenate(list(found.values())), _RESIDUAL_RANGE)
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    return _histogram({name: np.clip(values, edges[0], edges[-1]) for name, values in found.items()}, edges)


def _scores_by_class(rows: ScoredRows) -> Histogram:
    values = rows.predictions[FUSION]
    top = float(values.max())
    edges = np.linspace(0.0, top if top > 0 else 1.0, BINS + 1)
    return _histogram({"negative": values[rows.label != 1], "positive": values[rows.label == 1]}, edges)


def _histogram(series: dict[str, Values], edges: Values) -> Histogram:
    counts = {name: tuple(np.histogram(values, edges)[0].tolist()) for name, values in series.items()}
    return Histogram(edges=_rounded(edges), counts=counts)


def _cumulated(label: Values, prediction: Values) -> tuple[Values, Values]:
    """Return the numbers of positive and negative rows with at least each distinct prediction, highest first."""
    order = np.argsort(-prediction, kind="stable")
    ranked, positive = prediction[order], label[order] == 1
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true = np.cumsum(positive)[last].astype(np.float64)
    return true, last + 1.0 - true


def _thinned(x: Values, y: Values, along: Values) -> Line:
    """Keep at most ``POINTS`` of the points, evenly spaced ``along`` the curve, the first and the last among them."""
    places = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], POINTS)).clip(max=len(along) - 1))
    return Line(x=_rounded(x[places]), y=_rounded(y[places]))


def _rounded(values: Values) -> tuple[float, ...]:
    return tuple(np.round(values, _DIGITS).tolist())


def _finite(value: float) -> float | None:
    return round(value, _DIGITS) if np.isfinite(value) else None
