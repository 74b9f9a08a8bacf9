"""Documents of the stage `evaluate`: metrics by member, fusion and slice, and metrics of recommendations."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument
from mtl_tasks.store.documents.lists import RankingEvaluation
from mtl_tasks.store.documents.measurements import Measurements, TaskMeasurements

LISTS: Final = "ranking"  # key of the recommendations among the metrics of the tasks


class SliceEvaluation(ArtifactDocument):
    """Metrics of a task on some of its test rows: by member, and of the fusion."""

    rows: int
    members: dict[str, Measurements]
    fusion: Measurements


class TaskEvaluation(ArtifactDocument):
    """Metrics of a task on its test rows.

    Attributes
    ----------
    positives
        Number of positive rows; None for a regression.
    versus_floor
        Model to metric to the paired gain over the popularity baseline; positive is better.
    """

    kind: Literal["regression", "binary"]
    rows: int
    positives: int | None
    members: dict[str, Measurements]
    fusion: Measurements
    versus_floor: dict[str, Measurements]


class CalibrationPoint(ArtifactDocument):
    """A bin of the calibration curve: mean prediction, mean label, and number of rows."""

    predicted: float
    observed: float
    rows: int


class SliceCalibration(ArtifactDocument):
    """Expected against observed labels of a slice; what cannot be computed is None.

    Attributes
    ----------
    expected, observed
        Mean prediction of the fusion, and mean label.
    gap, gap_se
        Observed less expected, and its standard error, clustered by user.
    """

    rows: int
    expected: float | None
    observed: float | None
    gap: float | None
    gap_se: float | None


class Evaluation(StoredDocument):
    """All metrics of a run on the test window.

    Attributes
    ----------
    slices
        Task to slice to its metrics.
    calibration
        Binary task to its calibration curve.
    slice_calibration
        Task to slice to its calibration; empty in a document from before it was computed.
    """

    tasks: dict[str, TaskEvaluation]
    slices: dict[str, dict[str, SliceEvaluation]]
    calibration: dict[str, tuple[CalibrationPoint, ...]]
    ranking: RankingEvaluation
    slice_calibration: dict[str, dict[str, SliceCalibration]] = Field(default={})

    @property
    def metrics(self) -> TaskMeasurements:
        """Metrics of the fusion by task, and of the recommendations, as the registry records them."""
        made = {name: task.fusion for name, task in self.tasks.items()}
        lists = self.ranking.by_ranker.get(self.ranking.published)
        return made if lists is None else {**made, LISTS: lists}
