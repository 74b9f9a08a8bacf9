"""The section `gate`: the rules that a candidate must meet to be promoted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from mtl_tasks.scenario.base import Count, Flag, Line, Model, Real, Value, Whole

UserId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Rule(Model):
    """One absolute rule: a floor or a ceiling on a task's fused metric."""

    task: Line
    metric: Line
    min: Value | None = None
    max: Value | None = None
    slice: Line | None = None
    min_rows: Count = 50

    @model_validator(mode="after")
    def _bounded(self) -> Rule:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of `min` and `max`")
        return self


class Margin(Model):
    """One relative rule: how much worse than the champion a metric may be."""

    task: Line
    metric: Line
    margin: Real = Field(ge=0, le=1e15)
    slice: Line | None = None
    min_rows: Count = 50


Index = Annotated[Real, Field(gt=0, le=1000)]  # a population stability index


class Drift(Model):
    """How far the test rows may have shifted from those that the champion was judged on; null: no limit."""

    labels: Index | None = None
    predictions: Index | None = None
    features: Index | None = None

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
        "seasons and campaigns move a log too, and refusing the run that has learned from the new days keeps a model "
        "that has not",
    )
    confidence: Real = Field(default=0.95, gt=0.5, lt=1)
    replicates: Whole = Field(default=500, ge=100, le=100_000)
    beat_floor: Flag = Field(default=True, description="every task's fusion must beat `popularity` significantly")
    mode: Literal["enforce", "dry_run"] = "enforce"
    approval: Literal["none", "required"] = Field(
        default="none", description="required: what passed is promoted only once somebody has approved it"
    )
    approvers: tuple[UserId, ...] = Field(
        default=(),
        description="who may answer, by the ids of Airflow's auth manager: the user name with SimpleAuthManager, the "
        "user's number (`airflow users list`) with FAB. Empty: whoever may answer in Airflow",
    )
    approval_hours: Real = Field(
        default=24.0, ge=0.001, le=8760, description="no answer for so long in Airflow is a no"
    )
