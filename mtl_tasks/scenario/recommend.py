"""Settings of the recommendations: candidate sources, rankers, and what lists are made of."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator

from mtl_tasks.scenario.base import Days, Model, Name, Positive, Real, Whole
from mtl_tasks.scenario.reranking import Reranking

Size = Annotated[Whole, Field(ge=0, le=100_000)]
SourceName = Literal[
    "als", "popular", "co_occurrence", "attributes", "item_item", "ease", "new_items", "repeats", "content", "two_tower"
]
SOURCE_NAMES: Final[tuple[SourceName, ...]] = get_args(SourceName)  # a source's place is its bit in a candidate's mask


class Sources(Model):
    """Candidates of a user from each source; 0 switches a source off."""

    als: Size | None = Field(
        default=None, description="nearest items by the preference factors; null: recommend.candidates"
    )
    popular: Size | None = Field(
        default=None,
        description="items with the most positive interactions in the last seven days; null: recommend.candidates",
    )
    co_occurrence: Size | None = Field(
        default=None, description="items that share users with the user's items; null: recommend.candidates"
    )
    attributes: Size | None = Field(
        default=None,
        description="items of each attribute whose values the user's items have, with a positive interaction in the "
        "last 28 days; null: recommend.candidates",
    )
    item_item: Size = Field(default=0, description="nearest neighbors of the user's items by the cosine of their users")
    ease: Size = Field(
        default=0,
        description="items by EASE, a linear item-item model in closed form; refused above 20,000 items with a "
        "positive interaction in the last 365 days",
    )
    new_items: Size = Field(
        default=0,
        description="items first seen in the last seven days, by attributes and by their positive interactions so far",
    )
    repeats: Size | None = Field(
        default=None,
        description="the user's own items by recency and frequency; null: recommend.candidates if recommend.repeat is "
        "allow, else 0",
    )
    content: Size = Field(
        default=0,
        description="items with an interaction in the last 28 days whose texts and vectors are nearest to those of the "
        "user's items; needs source.items.text or source.items.vectors",
    )
    two_tower: Size = Field(
        default=0,
        description="items with an interaction in the last 28 days nearest by a two-tower model of attributes, texts "
        "and last items; trained with JAX, the optional part `deep`",
    )


RankerName = Literal["utility", "popularity", "popularity_1d", "als", "rrf", "softmax", "lambdarank", "stacked"]
RANKERS: Final[tuple[RankerName, ...]] = get_args(RankerName)  # the simplest first


class Ranking(Model):
    """Lists that rankers are fitted on, made on days before the test window as recommendations are made."""

    days: Whole = Field(
        default=4,
        ge=0,
        le=60,
        description="days before the blend window, each as far from the next as the blend window is long, whose lists "
        "`lambdarank` learns from; none is before the train window",
    )
    users: Whole = Field(
        default=2000, ge=10, le=1_000_000, description="maximum users whose lists are made on each of these days"
    )
    min_lists: Whole = Field(
        default=300,
        ge=10,
        le=1_000_000,
        description="lists with a relevant candidate that `lambdarank` needs; with fewer it is left out",
    )


class TwoTower(Model):
    """Settings of the candidate source `two_tower`."""

    dimensions: Whole = Field(default=32, ge=2, le=256, description="length of a vector")
    epochs: Whole = Field(default=5, ge=1, le=100, description="passes over the positive interactions")
    learning_rate: Positive = Field(default=0.003, le=1, description="step of Adam")


class Recommend(Model):
    """Settings of the recommendations."""

    top_k: Whole = Field(default=10, ge=1, le=1000, description="items recommended to each user")
    candidates: Whole = Field(
        default=100,
        ge=10,
        le=100_000,
        description="items from each candidate source whose size in recommend.sources is null",
    )
    sources: Sources = Field(default=Sources(), description="candidates of a user from each source")
    two_tower: TwoTower = Field(default=TwoTower(), description="settings of the candidate source `two_tower`")
    repeat: Literal["leave_out", "allow"] = Field(
        default="leave_out",
        description="whether items with which a user has a positive interaction may be recommended again",
    )
    active_days: Days = Field(
        default=28, description="users with an event in this many days before as_of get recommendations"
    )
    utility: str | None = Field(
        default=None,
        description="value of an item to a user: arithmetic over task names, such as purchase * rating; it orders the "
        "recommendations if the ranker is `utility`; null: the first binary task",
    )
    ranker: Literal["auto", RankerName] = Field(
        default="auto",
        description="what orders the recommendations; auto: the ranker with the best NDCG on lists made at the start "
        "of the blend window",
    )
    target: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        description="tasks whose positives, or high values, recommendations should contain: rankers learn from them "
        "and lists are judged by them; null: the binary tasks in the utility, or all of its tasks if none is binary",
    )
    gains: dict[Name, Annotated[Real, Field(gt=0, le=1e6)]] = Field(
        default={}, description="target task -> gain of a positive, or of the highest value of a regression; default 1"
    )
    ranking: Ranking = Field(default=Ranking(), description="lists that rankers are fitted on")
    reranking: Reranking = Field(
        default=Reranking(),
        description="rules that change what the ranker recommends; all are off by default",
    )

    @property
    def source_sizes(self) -> dict[SourceName, int]:
        """Number of candidates of a user from each source that is on, in the order of the sources' bits."""
        given = self.sources.model_dump()
        if given["repeats"] is None and self.repeat == "leave_out":
            given["repeats"] = 0
        sizes = {name: self.candidates if given[name] is None else int(given[name]) for name in SOURCE_NAMES}
        return {name: size for name, size in sizes.items() if size}

    @model_validator(mode="after")
    def _with_candidates(self) -> Recommend:
        if self.sources.repeats and self.repeat == "leave_out":
            raise ValueError(
                f"sources.repeats is {self.sources.repeats}, but repeat is 'leave_out', which offers no item again: "
                "set recommend.repeat to 'allow', or sources.repeats to 0"
            )
        if not self.source_sizes:
            raise ValueError(
                f"sources: every source has size 0, so there are no candidates: give one of {', '.join(SOURCE_NAMES)} "
                "a size above 0"
            )
        return self
