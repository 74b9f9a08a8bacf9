"""Documents of the stage `evaluate`: metrics by member, fusion and slice, and metrics of recommendations."""

from __future__ import annotations

from typing import Final, Literal

from mtl_tasks.core.documents import ArtifactDocument, PartialDocument, StoredDocument


class Measurement(ArtifactDocument):
    """A value with its 95 % interval; what cannot be computed is None.

    Attributes
    ----------
    rows
        Number of rows, or of users' lists, that it was measured on.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int = 0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


Measurements = dict[str, Measurement]  # by metric
TaskMeasurements = dict[str, Measurements]  # by task
UNKNOWN: Final = Measurement(value=None, low=None, high=None, rows=0)


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


class Shortlist(PartialDocument):
    """How much of some users' recommendations the shortlist kept.

    Attributes
    ----------
    people
        Number of users that were checked.
    kept
        Share of their recommendations.
    """

    people: int
    kept: float


class RankingEvaluation(ArtifactDocument):
    """Metrics of the recommendations that would have been made at the start of the test window.

    Attributes
    ----------
    k
        Length of a user's list.
    users
        Number of users whose lists were evaluated, of ``people``.
    lists
        Name of the ranking to its metrics.
    unreachable
        Share of the positives that no list could contain; None without positives.
    candidate_recall
        Share of the positives among the candidates.
    shortlist
        None if all candidates are scored by all trees.
    """

    k: int
    users: int
    people: int
    lists: dict[str, Measurements]
    unreachable: float | None
    candidate_recall: float
    candidates_per_user: float
    shortlist: Shortlist | None = None


class Evaluation(StoredDocument):
    """All metrics of a run on the test window.

    Attributes
    ----------
    slices
        Task to slice to its metrics.
    calibration
        Binary task to its calibration curve.
    """

    tasks: dict[str, TaskEvaluation]
    slices: dict[str, dict[str, SliceEvaluation]]
    calibration: dict[str, tuple[CalibrationPoint, ...]]
    ranking: RankingEvaluation

    @property
    def metrics(self) -> TaskMeasurements:
        """Metrics of the fusion by task, as the registry records them."""
        return {name: task.fusion for name, task in self.tasks.items()}
