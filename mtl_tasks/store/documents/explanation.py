"""The explained predictions of a run for a user and an item."""

from __future__ import annotations

from mtl_tasks.core.documents import PartialDocument


class Contribution(PartialDocument):
    """Contribution of a feature to a score; ``words`` name the feature and its value."""

    words: str
    contribution: float


class OtherContributions(PartialDocument):
    """Contribution of all features that are not listed."""

    features: int
    contribution: float


class MemberScore(PartialDocument):
    """A member's score of a pair, as the sum of the base and the features' contributions, in ``unit``."""

    member: str
    unit: str
    score: float
    base: float
    contributions: tuple[Contribution, ...]
    others: OtherContributions


class MemberPrediction(PartialDocument):
    """A member's prediction, and its weight in the fusion."""

    member: str
    prediction: float
    weight: float


class TaskPrediction(PartialDocument):
    """The fused prediction of a task.

    Attributes
    ----------
    explained
        The boosted member with the largest weight; None if none has any.
    """

    kind: str
    prediction: float
    method: str
    calibration: str
    members: tuple[MemberPrediction, ...]
    explained: MemberScore | None


class PairExplanation(PartialDocument):
    """The explained predictions for a user and an item, with the run that made them."""

    scenario: str
    as_of: str
    run_key: str
    user_id: int | str
    item_id: int | str
    title: str | None
    new_user: bool
    tasks: dict[str, TaskPrediction]
