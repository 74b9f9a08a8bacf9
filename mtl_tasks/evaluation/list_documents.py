"""Documents of the evaluation of lists and impressions: immutable, and refused if a number is not finite."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

LIST_QUESTION: Final = (
    "Out of the catalog: do the k items that a ranker chose from all items contain what the user took afterward?"
)
IMPRESSION_QUESTION: Final = (
    "Among what was shown: does a model place the items that a user took above the others shown on the same day?"
)
OFF_POLICY_QUESTION: Final = (
    "Among what was shown at random: which mean label would a model's k best items of each user and day have had?"
)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Document):
    """A value with its user-clustered interval; null where it is undefined."""

    value: float | None = Field(description="the metric, or a difference that is positive if better")
    low: float | None = Field(description="lower end of the interval")
    high: float | None = Field(description="upper end of the interval")
    rows: int = Field(ge=0, description="lists, or groups of impressions, in which it is defined")


class Measures(_Document):
    """Metrics of one ranker or model."""

    metrics: dict[str, Estimate] = Field(description="metric to its value")
    versus: dict[str, dict[str, Estimate]] = Field(
        default={}, description="reference to metric to the paired difference; positive: better than the reference"
    )


class ListSlice(_Document):
    """Metrics of all rankers on the same lists."""

    lists: int = Field(ge=0, description="users' lists, one for each user and start day")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    rankers: dict[str, Measures] = Field(description="ranker to its metrics")


class ListsDocument(_Document):
    """Evaluation of recommendation lists out of the catalog."""

    question: str = Field(default=LIST_QUESTION, description="what these numbers answer")
    k: int = Field(ge=1, description="length of a list")
    starts: tuple[int, ...] = Field(description="days at whose start the lists were made, since 1970-01-01")
    items: int = Field(ge=0, description="items of the catalog")
    confidence: float = Field(description="confidence level of the intervals")
    replicates: int = Field(description="bootstrap replicates of the intervals")
    unreachable: float | None = Field(description="share of the truth's pairs whose item is not in the catalog")
    everyone: ListSlice = Field(description="all lists")
    slices: dict[str, ListSlice] = Field(
        description="cold_users and warm_users: lists of users with few positives before the start day, and of others; "
        "cold_items: recall and hit rate counting only items with few interactions before the start day"
    )


class ImpressionsDocument(_Document):
    """Evaluation of the order of what users were shown: groups of one user and day with both labels."""

    question: str = Field(default=IMPRESSION_QUESTION, description="what these numbers answer")
    weighting: str = Field(
        default="gauc weights a group by its rows; impression_ndcg counts every group once",
        description="how groups are averaged",
    )
    k: int | None = Field(description="rank at which impression_ndcg is cut; null: not cut")
    rows: int = Field(ge=0, description="rows of the groups")
    groups: int = Field(ge=0, description="users' days with both labels among what was shown")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    left_out: int = Field(ge=0, description="labeled rows in groups whose labels are all alike")
    chance: dict[str, float | None] = Field(description="metric to its expectation in random order")
    models: dict[str, Measures] = Field(description="model to its metrics")


class PolicyEstimate(_Document):
    """Estimated mean label of a model's k best items."""

    snips: Estimate = Field(description="self-normalized inverse-propensity estimate")
    versus: dict[str, Estimate] = Field(default={}, description="reference to the paired difference")
    effective_rows: float = Field(
        ge=0, description="Kish's effective sample size: squared sum of weights / sum of squares"
    )
    clipped: int = Field(ge=0, description="chosen rows whose inverse propensity was clipped")


class OffPolicyDocument(_Document):
    """Off-policy estimates from exposures at random, with known propensities."""

    question: str = Field(default=OFF_POLICY_QUESTION, description="what these numbers answer")
    k: int = Field(ge=1, description="items chosen in each group")
    max_weight: float = Field(gt=0, description="limit at which inverse propensities are clipped")
    rows: int = Field(ge=0, description="rows with a propensity, in groups with more than k of them")
    groups: int = Field(ge=0, description="users' days with more than k such rows")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    models: dict[str, PolicyEstimate] = Field(description="model to its estimate")
