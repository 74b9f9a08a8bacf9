"""Document of the curves of a run's predictions on the test window, for the pages that draw them."""

from __future__ import annotations

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument


class Line(ArtifactDocument):
    """Points of a curve in drawing order, at most 100 of them."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class Histogram(ArtifactDocument):
    """Counts of values by bin.

    Attributes
    ----------
    edges
        Ends of the bins, one more than there are bins.
    counts
        Series, such as ``positive``, to the count of each bin.
    """

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


class PredictionBin(ArtifactDocument):
    """Rows of nearly equal predictions of a regression.

    Attributes
    ----------
    predicted, actual
        Mean prediction and mean label.
    low, high
        10 % and 90 % quantile of the labels.
    """

    predicted: float
    actual: float
    low: float
    high: float
    rows: int


class DailyMetric(ArtifactDocument):
    """The primary metric on each day of the test window.

    Attributes
    ----------
    days
        ``YYYY-MM-DD``.
    models
        Model to its value of each day; None where it is undefined.
    """

    metric: str
    days: tuple[str, ...]
    rows: tuple[int, ...]
    models: dict[str, tuple[float | None, ...]]


class TaskCurves(ArtifactDocument):
    """Curves of a task; those of the other kind of task are empty.

    Attributes
    ----------
    roc
        Model to true-positive share by false-positive share.
    precision_recall
        Model to precision by recall.
    lift
        Model to the positive share of each tenth of the rows, highest predictions first, over that of all rows.
    scores
        The fusion's predictions of ``positive`` and ``negative`` rows; of a regression its ``residual``, label less
        prediction, beside the floor's.
    predicted
        Bins of the fusion's predictions of a regression.
    """

    by_day: DailyMetric
    scores: Histogram
    roc: dict[str, Line] = Field(default={})
    precision_recall: dict[str, Line] = Field(default={})
    lift: dict[str, tuple[float, ...]] = Field(default={})
    predicted: tuple[PredictionBin, ...] = ()


class Curves(StoredDocument):
    """Curves by task."""

    tasks: dict[str, TaskCurves]
