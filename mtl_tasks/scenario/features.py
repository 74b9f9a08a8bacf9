"""The sections `factors` and `features`: how the past of users and items is described."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mtl_tasks.scenario.base import Days, Flag, Model, Name, Positive, Strength, Whole


class Factors(Model):
    """Hyper-parameters of the two factor models."""

    dimensions: Whole = Field(default=32, ge=2, le=512)
    iterations: Whole = Field(default=15, ge=1, le=1000)
    regularization: Positive = 10.0
    alpha: Positive = Field(default=10.0, description="confidence = 1 + alpha * sum of the weights of its signals")
    signals: dict[Name, Strength] | None = Field(
        default=None,
        description="weight of each signal that an item was taken, a binary task or one of source.signals; null: every "
        "binary task weighs 1, and without any every interaction does",
    )
    rating_dimensions: Whole = Field(default=32, ge=2, le=256)
    rating_regularization: Positive = 20.0
    rating_iterations: Whole = Field(default=10, ge=1, le=1000)
    refresh_days: Days = Field(default=7, description="how often items new since history get a vector")
    refit_days: Days = Field(
        default=1,
        description="how often the factors are fitted anew: on what lies before the last day divisible by this, at or "
        "before the train window. With 7, the runs of a week share them, and with them the features of the days that "
        "they have in common",
    )
    warm_start: Literal["none", "champion"] = Field(
        default="none",
        description="champion: fitting goes on from the factors of the champion of the time, for warm_iterations "
        "instead of iterations. What a run makes then depends on which runs were promoted before it",
    )
    warm_iterations: Whole = Field(default=5, ge=1, le=1000)
    device: Literal["auto", "cpu", "gpu"] = "cpu"


class Features(Model):
    """Which lengths and dampings the point-in-time aggregates use."""

    windows: tuple[Days, ...] = Field(default=(7, 28), max_length=20)
    damping: Positive = Field(default=5.0, description="pseudo-count of a damped mean")
    last_items: Whole = Field(default=20, ge=1, le=10_000)
    raw_factors: Flag = Field(
        default=False, description="the taste vectors of user and item as columns too, a column a dimension"
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
