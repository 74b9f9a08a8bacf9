"""The section `tasks`: what is predicted."""

from __future__ import annotations

import math
from typing import Final, Literal

from pydantic import Field, model_validator

from mtl_tasks.scenario.base import Fraction, Line, Model, Positive, Value, Whole

# Units of a member's score, by what its trees learn.
SCORE_UNITS: Final[dict[str, str]] = {
    "regression": "label points",
    "binary": "log-odds",
    "fraction": "log-odds of the place in the range",
}


class Negatives(Model):
    """The source of the negatives of a binary task."""

    how: Literal["logged", "sampled"] = Field(
        description="logged: the label column holds zeros; sampled: negatives are drawn by popularity"
    )
    per_positive: Whole = Field(default=4, ge=1, le=100, description="sampled: negatives drawn for each positive")
    power: Fraction = Field(default=1.0, description="sampled: exponent on the item counts of the same day")


class Task(Model):
    """One thing to predict."""

    kind: Literal["regression", "binary"] = Field(description="a number, or yes and no")
    label: Line | None = Field(
        default=None, description="label column, or an event type in a long log; null: every interaction is a positive"
    )
    range: tuple[Value, Value] | None = Field(
        default=None, description="regression, required: [low, high]; a label outside it is a bad row"
    )
    above: Value | None = Field(
        default=None, description="binary: label values above this count as 1, all others as 0; null: the label is 0/1"
    )
    scale: Literal["linear", "log"] = Field(
        default="linear",
        description="regression; log: log(1 + label) is learned, predicted and judged; recommendations show the value "
        "itself",
    )
    loss: Literal["squared_error", "log_loss"] = Field(
        default="squared_error",
        description="regression: loss that boosted trees minimize; log_loss: that of the label's position in its "
        "range, which suits labels that are often near an end of the range",
    )
    negatives: Negatives | None = Field(default=None, description="binary: where the negatives come from")
    weight: Positive = Field(default=1.0, description="weight of the task's gradient in shared trees")

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.kind == "regression" and (self.label is None or self.range is None):
            raise ValueError("a regression task needs `label` and `range: [low, high]`")
        if self.kind == "regression" and self.negatives is not None:
            raise ValueError("`negatives` belongs to binary tasks only")
        if self.kind == "binary" and self.label is None and (self.negatives is None or self.negatives.how == "logged"):
            raise ValueError("a binary task without a `label` column needs `negatives: {how: sampled}`")
        if self.above is not None and (self.kind != "binary" or self.label is None):
            raise ValueError("`above` is for a binary task with a `label` column")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("`range` must be [low, high] with low < high")
        if self.scale == "log" and (self.kind != "regression" or self.range is None or self.range[0] < 0):
            raise ValueError("`scale: log` is for a regression whose range begins at 0 or above")
        if self.kind == "binary" and self.loss != "squared_error":
            raise ValueError("`loss` is for a regression: a binary task is learned by log loss")
        return self

    @property
    def objective(self) -> Literal["regression", "binary", "fraction"]:
        """Objective of boosted trees: a value, a probability, or a value's position in its range."""
        return "fraction" if self.kind == "regression" and self.loss == "log_loss" else self.kind

    @property
    def score_unit(self) -> str:
        """Unit of what a member adds up before it is a prediction."""
        return SCORE_UNITS[self.objective]

    @property
    def limits(self) -> tuple[float, float] | None:
        """The range on the scale that is learned."""
        if self.range is None or self.scale == "linear":
            return self.range
        return math.log1p(self.range[0]), math.log1p(self.range[1])

    @property
    def described(self) -> str:
        """Kind of the task in words."""
        return "regression of log(1 + label)" if self.scale == "log" else self.kind

    @property
    def sampled(self) -> bool:
        """Whether the task's negatives are drawn by us rather than logged."""
        return self.negatives is not None and self.negatives.how == "sampled"
