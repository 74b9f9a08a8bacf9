"""The section `gate`: the rules that a candidate must meet to be promoted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from mtl_tasks.scenario.base import Model


class Rule(Model):
    """One absolute rule: a floor or a ceiling on a task's fused metric."""

    task: str
    metric: str
    min: float | None = None
    max: float | None = None
    slice: str | None = None
    min_rows: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _bounded(self) -> Rule:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of `min` and `max`")
        return self


class Margin(Model):
    """One relative rule: how much worse than the champion a metric may be."""

    task: str
    metric: str
    margin: float = Field(ge=0)
    slice: str | None = None
    min_rows: int = Field(default=50, ge=1)


class Drift(Model):
    """How far the test rows may have shifted from those that the champion was judged on; null: no limit."""

    labels: float | None = Field(default=None, gt=0)
    predictions: float | None = Field(default=None, gt=0)
    features: float | None = Field(default=None, gt=0)

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and to which population stability index."""
        given = {"labels": self.labels, "predictions": self.predictions, "features": self.features}
        return {group: limit for group, limit in given.items() if limit is not None}


class Gate(Model):
    """The rules a candidate must meet to be promoted."""

    absolute: tuple[Rule, ...] = ()
    relative: tuple[Margin, ...] = ()
    drift: Drift = Field(
        default=Drift(),
        description="limits on the population stability index, of the furthest variable of each group. Off by default: "
        "seasons and campaigns move a log too, and refusing the run that has learnt from the new days keeps a model "
        "that has not",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    replicates: int = Field(default=500, ge=100)
    beat_floor: bool = Field(default=True, description="every task's fusion must beat `popularity` significantly")
    mode: Literal["enforce", "dry_run"] = "enforce"
    approval: Literal["none", "required"] = Field(
        default="none", description="required: what passed is promoted only once somebody has approved it"
    )
    approvers: tuple[Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)], ...] = Field(
        default=(),
        description="who may answer, by the ids of Airflow's auth manager: the user name with SimpleAuthManager, the "
        "user's number (`airflow users list`) with FAB. Empty: whoever may answer in Airflow",
    )
    approval_hours: float = Field(default=24.0, gt=0, description="no answer for so long in Airflow is a no")
