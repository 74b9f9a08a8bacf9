"""Documents of the stages that train: the fusion of each task, and the members' descriptions and explanations."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mtl_tasks.core.documents import PartialDocument
from mtl_tasks.core.errors import ArtifactError


class Calibration(PartialDocument):
    """The map from a fused probability to a calibrated one; ``kind`` is none, platt or isotonic.

    Its parameters and evidence depend on the kind; see :func:`mtl_tasks.models.calibration.fit_calibration`.
    """

    kind: str = "none"


class Estimate(PartialDocument):
    """A loss with its standard error, clustered by user."""

    loss: float
    se: float


class TaskFusion(PartialDocument):
    """Fitted fusion of one task, with the evidence from the blend window.

    Losses are RMSE for a regression and log loss for a binary task, cross-fitted over users, of the raw combination.
    Documents of earlier releases lack the fields from ``eligible`` on.

    Attributes
    ----------
    method
        ``single``, ``mean``, ``weighted``, ``vote``, or ``shrunken`` (``auto`` gives this one or ``single``).
    members
        The members that are combined; by default those with weights.
    weights
        Member to weight; a member with weight 0 need not be asked for predictions. By default ``single`` has weight 1
        for its one member.
    member
        The member of ``single``.
    thresholds
        Of ``vote`` for a binary task: the least prediction that is a vote, by member.
    blend_loss
        Candidate to loss; None if it could not be computed. A candidate is a method, or ``single:MEMBER``.
    requested
        ``fusion.method`` of the scenario.
    note
        Why this method and these weights, as a sentence.
    eligible
        Members that the weights of ``shrunken`` are shrunk toward.
    shrinkage
        From 0, fitted weights, to 1, equal weights of the eligible members; None for other methods.
    shrinkage_loss
        Shrinkage to loss.
    blend_loss_se
        Candidate to the standard error of its loss.
    blend_excess
        Candidate to its loss less that of the chosen one: mean squared errors or log losses, with standard error.
    """

    method: Literal["single", "mean", "weighted", "vote", "shrunken"]
    members: tuple[str, ...] = ()
    weights: dict[str, float]
    member: str | None = None
    thresholds: tuple[float, ...] | None = None
    calibration: Calibration = Field(default_factory=Calibration)
    blend_loss: dict[str, float | None] = Field(default_factory=dict)
    requested: str = ""
    note: str = ""
    eligible: tuple[str, ...] = ()
    shrinkage: float | None = None
    shrinkage_loss: dict[str, Estimate] = Field(default_factory=dict)
    blend_loss_se: dict[str, float] = Field(default_factory=dict)
    blend_excess: dict[str, Estimate] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_weights(cls, document: Any) -> Any:
        """Add the weights of a single member and the members of the weights, where a document lacks them."""
        if not isinstance(document, dict):
            return document
        given = {name: value for name, value in document.items() if value is not None}
        if given.get("method") == "single" and "member" in given:
            given.setdefault("weights", {given["member"]: 1.0})
        if isinstance(given.get("weights"), dict):
            given.setdefault("members", tuple(given["weights"]))
        return given

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read a stored document.

        Raises
        ------
        ArtifactError
            If it is not one.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise ArtifactError(f"fusion: not a fusion document: {where}: {first['msg']}") from error

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form; keys without a value, such as ``thresholds``, are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def candidate(self) -> str:
        """The key of ``blend_loss`` that was chosen: a method, or ``single:MEMBER``."""
        return f"single:{self.member}" if self.method == "single" else self.method

    def weight_of(self, member: str) -> float:
        """Return a member's weight in the fusion."""
        return self.weights.get(member, 0.0)

    @property
    def weighted(self) -> bool:
        """Whether members have weights."""
        return bool(self.weights)


Fusion = dict[str, TaskFusion]  # by task


class LearningCurve(PartialDocument):
    """A metric on train and on tune by boosting round, or by another ``step`` of training."""

    metric: str
    train: tuple[float, ...]
    tune: tuple[float, ...]
    step: str = "boosting round"


class TaskDescription(PartialDocument):
    """A member's training of a task.

    Attributes
    ----------
    rounds
        Number of boosting rounds of the first seed, whose curve is kept, or of epochs; None for a member that is fitted
        at once.
    rounds_by_seed
        The same of every seed; empty in a document from before they were kept.
    importance
        Features with their shares of the total gain, or of all that moves predictions, largest first.
    """

    note: str
    rounds: int | None = None
    rounds_by_seed: tuple[int, ...] = ()
    curve: LearningCurve | None = None
    importance: tuple[tuple[str, float], ...] | None = None

    @property
    def all_rounds(self) -> tuple[int, ...]:
        """The rounds of every seed, as far as they are known; empty for a member without trees."""
        return self.rounds_by_seed or (() if self.rounds is None else (self.rounds,))


class Sharing(PartialDocument):
    """Interaction of the tasks in what they share, by round or another ``step``; None once a task has stopped.

    Attributes
    ----------
    cosines
        ``first|second`` to the cosine of their gradients.
    weights
        Task to its weight.
    """

    cosines: dict[str, tuple[float | None, ...]]
    weights: dict[str, tuple[float | None, ...]]
    step: str = "boosting round"


class MemberDescription(PartialDocument):
    """A member's kind, device, and training by task.

    Attributes
    ----------
    sharing
        None without trees that tasks share.
    transfer
        What its warm start was; None for a run made before that was recorded.
    """

    kind: str
    device: str
    tasks: dict[str, TaskDescription]
    sharing: Sharing | None = None
    transfer: str | None = None


class FeatureEffect(PartialDocument):
    """The effect of a feature on predictions.

    Attributes
    ----------
    mean_abs
        Mean absolute amount.
    direction
        Rank correlation of value and contribution; None if there is none.
    """

    feature: str
    mean_abs: float
    direction: float | None


class TaskExplanation(PartialDocument):
    """The features that move a member's predictions of a task.

    Attributes
    ----------
    rows
        Number of test rows explained.
    amount
        What the amounts are.
    gain
        Feature, share in trees shared by all tasks, share in the task's own trees; None unless there are both.
    """

    rows: int
    features: tuple[FeatureEffect, ...]
    gain: tuple[tuple[str, float, float], ...] | None = None
    amount: str = "SHAP value"


MemberExplanation = dict[str, TaskExplanation]  # by task
