"""The sections `factors` and `features`: how the past of users and items is described."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mtl_tasks.scenario.base import Days, Flag, Model, Name, Positive, Strength, Whole


class Factors(Model):
    """Hyper-parameters of the two factor models."""

    dimensions: Whole = Field(default=32, ge=2, le=512, description="implicit ALS: length of a vector")
    iterations: Whole = Field(default=15, ge=1, le=1000, description="implicit ALS: iterations of a fit")
    regularization: Positive = Field(default=10.0, description="implicit ALS: L2 penalty")
    alpha: Positive = Field(
        default=10.0, description="implicit ALS: confidence = 1 + alpha * sum of the weights of the signals"
    )
    signals: dict[Name, Strength] | None = Field(
        default=None,
        description="binary task or name of `source.signals` -> weight as a sign that the user took the item; null: "
        "every binary task weighs 1, and without binary tasks every interaction does",
    )
    rating_dimensions: Whole = Field(default=32, ge=2, le=256, description="explicit ALS: length of a vector")
    rating_regularization: Positive = Field(default=20.0, description="explicit ALS: L2 penalty")
    rating_iterations: Whole = Field(default=10, ge=1, le=1000, description="explicit ALS: iterations of a fit")
    refresh_days: Days = Field(default=7, description="days between updates that give new items a vector")
    refit_days: Days = Field(
        default=1,
        description="days between fits: factors are fitted on what lies before the last day divisible by this, at or "
        "before the train window. With 7 the runs of a week share them, and with them the features of their common "
        "days",
    )
    warm_start: Literal["none", "champion"] = Field(
        default="none",
        description="champion: warm-start from the factors of the champion of the time, with warm_iterations. The "
        "result of a run then depends on which runs were promoted before it",
    )
    warm_iterations: Whole = Field(default=5, ge=1, le=1000, description="iterations of a fit from a warm start")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="cpu", description="device of implicit ALS; auto takes the GPU if there is one that works"
    )


class TextFeatures(Model):
    """Features of `source.items.text` and `source.items.vectors`."""

    dimensions: Whole = Field(
        default=16,
        ge=2,
        le=256,
        description="dimensions that texts and vectors are reduced to; each is a column",
    )


class Features(Model):
    """Window lengths and damping of the point-in-time aggregates."""

    windows: tuple[Days, ...] = Field(
        default=(7, 28), max_length=20, description="days that recent counts and means look back; 7 must be among them"
    )
    damping: Positive = Field(default=5.0, description="pseudo-count of a damped mean")
    last_items: Whole = Field(
        default=20, ge=1, le=10_000, description="the user's last items, which co-occurrence features compare with"
    )
    raw_factors: Flag = Field(
        default=False, description="add the preference factors of user and item as columns, one for each dimension"
    )
    text: TextFeatures = Field(
        default=TextFeatures(), description="features of the items' texts and of their given vectors"
    )

    @field_validator("windows")
    @classmethod
    def _with_a_week(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(windows)) != len(windows):
            raise ValueError("lengths must be different whole days of 1 or more")
        if 7 not in windows:
            raise ValueError(
                "7 must be one of the lengths: what was taken in the last week orders the list `popular_7d`"
            )
        return windows
