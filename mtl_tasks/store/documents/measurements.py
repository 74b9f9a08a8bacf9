"""Values with intervals, by metric."""

from __future__ import annotations

from typing import Final

from mtl_tasks.core.documents import ArtifactDocument


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
