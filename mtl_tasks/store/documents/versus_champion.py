"""Document of the stage `gate`: the candidate beside the champion on the candidate's test rows."""

from __future__ import annotations

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument
from mtl_tasks.store.documents.measurements import Measurement


class PairedMetric(ArtifactDocument):
    """A metric of two models on the same rows.

    Attributes
    ----------
    candidate, champion
        Their values.
    gain
        The paired difference with its interval; positive is better than the champion.
    """

    candidate: float | None
    champion: float | None
    gain: Measurement


class TaskVersusChampion(ArtifactDocument):
    """A task's metrics, and those of its slices by name."""

    metrics: dict[str, PairedMetric]
    slices: dict[str, dict[str, PairedMetric]]


class VersusChampion(StoredDocument):
    """The candidate beside the champion on the same test rows.

    Attributes
    ----------
    problem
        Why the champion did not score these rows; None if it did.
    tasks
        By task; without those that the champion does not predict.
    lists
        Metric to its values on the same users' recommendations; empty unless a rule compares them.
    """

    run_key: str
    as_of: str
    problem: str | None
    tasks: dict[str, TaskVersusChampion]
    lists: dict[str, PairedMetric] = Field(default={})
