"""Document of a study: what was tried, the best settings, and whether they gain anything."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument


class TrialCounts(ArtifactDocument):
    """Trials by how they ended; ``interrupted`` ones have begun and not ended."""

    complete: int
    pruned: int
    failed: int
    interrupted: int

    @property
    def begun(self) -> int:
        """All trials."""
        return self.complete + self.pruned + self.failed + self.interrupted


class GainEstimate(ArtifactDocument):
    """A mean paired gain, positive is better, with its standard error over users and its 95 % interval."""

    mean: float
    standard_error: float
    low: float
    high: float


class TaskEvidence(ArtifactDocument):
    """Mean loss of a task as of a day with both settings, on the users that settings were not chosen on."""

    as_of: str
    task: str
    loss: str = Field(description="squared error, or log loss")
    shipped: float
    best: float
    gain: GainEstimate


class TuningResult(StoredDocument):
    """Result of a study.

    Values are losses as shares of the popularity baseline's, with tasks weighted by ``tasks.<task>.weight`` and days
    equally. ``gain`` is on the users that settings were not chosen on.
    """

    scenario: str
    as_of: tuple[str, ...]
    study: str
    storage: str = Field(description="where the trials are stored, without a password")
    space: dict[str, Any] = Field(description="key to its range or choices")
    widened: tuple[str, ...] = Field(description="keys whose range was widened to include the scenario's own value")
    members: tuple[str, ...] = Field(description="members that a trial fits")
    trials: TrialCounts
    cpu_seconds: float = Field(description="CPU seconds of all finished trials")
    shipped: dict[str, str | int | float] = Field(description="the scenario's own settings")
    best: dict[str, str | int | float] = Field(description="settings with the lowest value")
    best_trial: int
    shipped_value: float = Field(
        description="value of the scenario's settings, on the users that settings are chosen on"
    )
    best_value: float = Field(description="value of the best settings, on the same users")
    gain: GainEstimate | None = Field(description="None if no settings were better than the scenario's own")
    tasks: tuple[TaskEvidence, ...]
    confirmed: bool = Field(description="whether the gain is beyond noise: its 95 % interval is above 0")
    conclusion: str = Field(description="the result in one sentence")
    diff: str | None = Field(description="the proposed change of the scenario file; None if there is none")
