"""Documents of drift: sketches of a run's variables, and their shifts from those of another run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument

Group = Literal["labels", "predictions", "features"]


class NumberSketch(ArtifactDocument):
    """Distribution of a number.

    Attributes
    ----------
    missing
        Number of rows whose value is not finite.
    at
        Quantiles.
    below, upto
        Number of rows below, and up to, each quantile.
    """

    rows: int
    missing: int
    at: tuple[float, ...]
    below: tuple[int, ...]
    upto: tuple[int, ...]


class CategorySketch(ArtifactDocument):
    """Distribution of a categorical: ``counts`` are those of its most frequent categories."""

    rows: int
    missing: int
    counts: dict[str, int] = Field(validation_alias=AliasChoices("counts", "kinds"))


Sketch = NumberSketch | CategorySketch
Sketches = dict[str, Sketch]  # by variable


class Variable(ArtifactDocument):
    """A label, prediction or feature."""

    group: Group
    name: str


class Shift(Variable):
    """The shift of a variable between two sets of rows.

    Attributes
    ----------
    psi
        Population stability index.
    noise
        Its value by chance alone.
    rows, reference_rows
        Number of rows on either side.
    """

    psi: float
    noise: float
    rows: int
    reference_rows: int


class Shifts(ArtifactDocument):
    """Shifts of all variables, the largest of a group first.

    Attributes
    ----------
    unmatched
        Variables that only one side has, or that cannot be compared.
    """

    shifts: tuple[Shift, ...]
    unmatched: tuple[Variable, ...]

    def of_group(self, group: str) -> list[Shift]:
        """Return the shifts of a group, the largest first."""
        return [shift for shift in self.shifts if shift.group == group]


class DriftReport(Shifts, StoredDocument):
    """Shifts from the rows of another run.

    Attributes
    ----------
    problem
        Why nothing could be compared; None if it was.
    run_key, as_of
        The run compared with; empty where the reader has named both runs.
    """

    problem: str | None
    run_key: str = ""
    as_of: str = ""


class Distributions(StoredDocument):
    """Sketches of a run's test rows, for later runs to compare with.

    Attributes
    ----------
    since_train
        Shifts of the test rows from the run's own train rows.
    """

    labels: Sketches
    predictions: Sketches
    features: Sketches
    since_train: Shifts

    @property
    def groups(self) -> dict[Group, Sketches]:
        """The sketches by group."""
        return {"labels": self.labels, "predictions": self.predictions, "features": self.features}

    @model_validator(mode="before")
    @classmethod
    def _without_format(cls, document: Any) -> Any:
        """Drop the key that held the version before documents had one."""
        if isinstance(document, dict) and document.get("format") == 1:
            return {name: value for name, value in document.items() if name != "format"}
        return document


class Drift(ArtifactDocument):
    """Drift of a run, as pages show it.

    Attributes
    ----------
    champion
        Shifts from the champion's test rows; None without a champion.
    since_train
        Shifts from the run's own train rows.
    """

    champion: DriftReport | None
    since_train: Shifts
