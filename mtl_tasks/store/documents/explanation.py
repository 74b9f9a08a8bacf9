"""Explained predictions for a user and an item, and the run that made them."""

from __future__ import annotations

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import Document


class Contribution(Document):
    """The contribution of a feature to a prediction.

    Attributes
    ----------
    words
        The feature and its value in words.
    value
        None if it is missing or not finite.
    contribution
        In the unit of the :class:`MemberScore`.
    """

    feature: str
    words: str
    value: str | float | None
    contribution: float


class OtherFeatures(Document):
    """The features that are not named, together.

    Attributes
    ----------
    features
        Their number.
    """

    features: int
    contribution: float


class MemberScore(Document):
    """A boosted member's prediction as a sum over features: ``score = base + contributions + others``.

    Attributes
    ----------
    unit
        Unit of all amounts.
    score
        The prediction before it is turned into a probability.
    base
        The mean over the training rows.
    contributions
        The largest ones by absolute amount, the largest first.
    """

    member: str
    unit: str
    score: float
    base: float
    contributions: tuple[Contribution, ...]
    others: OtherFeatures


class MemberPrediction(Document):
    """The prediction of a member and its weight in the fusion."""

    member: str
    prediction: float
    weight: float


class TaskPrediction(Document):
    """The fused prediction of a task.

    Attributes
    ----------
    kind
        Kind of the task.
    method, calibration
        How the members' predictions were combined and calibrated.
    explained
        The boosted member with the largest weight, taken apart; None if none has any weight.
    """

    kind: str
    prediction: float
    method: str
    calibration: str
    members: tuple[MemberPrediction, ...]
    explained: MemberScore | None


class PairExplanation(Document):
    """The predictions for a user and an item, by task.

    Attributes
    ----------
    title
        None without one.
    new_user
        Whether the user has no event.
    """

    user_id: int | str
    item_id: int | str
    title: str | None
    new_user: bool
    tasks: dict[str, TaskPrediction]


class RunIdentity(Document):
    """The run that a document is from."""

    scenario: str
    as_of: AsOf
    run_key: str


class RunExplanation(PairExplanation, RunIdentity):  # in this order the JSON begins with the run
    """The predictions of a run for a user and an item."""
