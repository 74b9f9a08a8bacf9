"""The section `gate`: the rules that a candidate must meet to be promoted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from mtl_tasks.scenario.base import Count, Flag, Line, Model, Real, Value, Whole

UserId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Rule(Model):
    """One absolute rule: a minimum or a maximum of a task's fused metric."""

    task: Line = Field(description="a task, or ranking for the recommendations")
    metric: Line = Field(description="metric of the task's kind, such as rmse or auc; ndcg and others for ranking")
    min: Value | None = Field(default=None, description="smallest value that passes; give either this or `max`")
    max: Value | None = Field(default=None, description="largest value that passes; give either this or `min`")
    slice: Line | None = Field(
        default=None, description="cold_users, warm_users, cold_items or warm_items; null: all test rows"
    )
    min_rows: Count = Field(default=50, description="a slice with fewer rows fails the rule")

    @model_validator(mode="after")
    def _bounded(self) -> Rule:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of `min` and `max`")
        return self


class Margin(Model):
    """One relative rule: how much worse than the champion a metric may be."""

    task: Line = Field(description="a task")
    metric: Line = Field(description="metric of the task's kind, such as rmse or auc")
    margin: Real = Field(
        ge=0, le=1e15, description="how much worse than the champion the metric may be, in the metric's unit"
    )
    slice: Line | None = Field(
        default=None, description="cold_users, warm_users, cold_items or warm_items; null: all test rows"
    )
    min_rows: Count = Field(default=50, description="a slice with fewer rows fails the rule")


Index = Annotated[Real, Field(gt=0, le=1000)]  # a population stability index


class Drift(Model):
    """Limits on the shift of the test rows from those that the champion was judged on; null: no limit."""

    labels: Index | None = Field(default=None, description="limit for the label that shifted most")
    predictions: Index | None = Field(default=None, description="limit for the fused prediction that shifted most")
    features: Index | None = Field(default=None, description="limit for the feature that shifted most")

    @property
    def limits(self) -> dict[str, float]:
        """Limited groups of variables, each with its largest population stability index."""
        given = {"labels": self.labels, "predictions": self.predictions, "features": self.features}
        return {group: limit for group, limit in given.items() if limit is not None}


class ListRule(Model):
    """One rule on recommendations: how they must compare with others on the same users, by a paired difference."""

    metric: Literal["ndcg", "recall", "map", "mrr", "hit_rate"] = Field(
        default="ndcg", description="metric at top_k, averaged over users"
    )
    beat: Literal["popularity", "popularity_1d", "als", "rrf", "utility", "champion"] = Field(
        default="popularity",
        description="whose recommendations are compared with: a simple ranker's, or the champion's, made again by its "
        "models and ranker",
    )
    margin: Real = Field(default=0.0, ge=0, le=1, description="how much worse the recommendations may be")
    significant: Flag = Field(
        default=False,
        description="whether the lower end of the difference's interval, rather than the difference, must be above "
        "-margin; a small log can hardly show that",
    )


class Gate(Model):
    """The rules a candidate must meet to be promoted."""

    absolute: tuple[Rule, ...] = Field(default=(), description="minimum and maximum values of metrics")
    relative: tuple[Margin, ...] = Field(
        default=(), description="non-inferiority rules against the champion of the time, on the same test rows"
    )
    lists: tuple[ListRule, ...] = Field(
        default=(ListRule(),),
        description="comparisons of the recommendations with others; by default they must not lose to popularity",
    )
    drift: Drift = Field(
        default=Drift(),
        description="limits on the population stability index of the variable that shifted most in each group. Off by "
        "default: seasons and campaigns shift a log too, and refusing the run that learned from the new days keeps a "
        "model that did not",
    )
    confidence: Real = Field(
        default=0.95, gt=0.5, lt=1, description="confidence level of comparisons with the champion and the baseline"
    )
    replicates: Whole = Field(
        default=500, ge=100, le=100_000, description="bootstrap replicates of those comparisons, clustered by user"
    )
    beat_floor: Flag = Field(
        default=True, description="every task's fusion must beat the popularity baseline significantly"
    )
    mode: Literal["enforce", "dry_run"] = Field(
        default="enforce", description="dry_run: write the verdict and promote nothing"
    )
    approval: Literal["none", "required"] = Field(
        default="none", description="required: a candidate that passed is promoted only after someone approves it"
    )
    approvers: tuple[UserId, ...] = Field(
        default=(),
        description="who may approve, by the ids of Airflow's auth manager: the user name with SimpleAuthManager, the "
        "user's number (`airflow users list`) with FAB. Empty: anyone who may answer in Airflow",
    )
    approval_hours: Real = Field(
        default=24.0, ge=0.001, le=8760, description="hours after which no answer counts as a no"
    )
