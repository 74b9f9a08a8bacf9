"""Documents of the stages that train: the fusion of each task, and the members' descriptions and explanations."""

from __future__ import annotations

from mtl_tasks.core.documents import PartialDocument


class Calibration(PartialDocument):
    """The map from a fused probability to a calibrated one; ``kind`` is none, platt or isotonic."""

    kind: str


class TaskFusion(PartialDocument):
    """The fusion of a task's predictions.

    Attributes
    ----------
    method
        ``single``, ``shrunken``, ``mean``, ``weighted`` or ``vote``; ``single`` uses the one ``member``.
    blend_loss
        Loss of each candidate on the blend window, cross-fitted.
    requested
        The method that the scenario asks for.
    note
        Why this method was chosen.
    """

    method: str
    member: str | None = None
    weights: dict[str, float] | None = None
    blend_loss: dict[str, float | None]
    calibration: Calibration
    requested: str
    note: str = ""

    @property
    def candidate(self) -> str:
        """The key of ``blend_loss`` that was chosen: a method, or ``single:MEMBER``."""
        return f"single:{self.member}" if self.method == "single" else self.method

    def weight_of(self, member: str) -> float:
        """Return a member's weight in the fusion; a single member weighs 1."""
        if not self.weights and self.method == "single":
            return float(member == self.member)
        return (self.weights or {}).get(member, 0.0)

    @property
    def weighted(self) -> bool:
        """Whether members have weights."""
        return bool(self.weights) or self.method == "single"


Fusion = dict[str, TaskFusion]  # by task


class LearningCurve(PartialDocument):
    """A metric by boosting round on train and on tune."""

    metric: str
    train: tuple[float, ...]
    tune: tuple[float, ...]


class TaskDescription(PartialDocument):
    """How a member learned a task.

    Attributes
    ----------
    rounds
        Number of boosting rounds; None for a member without trees.
    importance
        Features with their shares of the total gain, largest first.
    """

    note: str
    rounds: int | None = None
    curve: LearningCurve | None = None
    importance: tuple[tuple[str, float], ...] | None = None


class Sharing(PartialDocument):
    """Interaction of the tasks in shared trees by round; None once a task has stopped.

    Attributes
    ----------
    cosines
        ``first|second`` to the cosine of their gradients.
    weights
        Task to its weight.
    """

    cosines: dict[str, tuple[float | None, ...]]
    weights: dict[str, tuple[float | None, ...]]


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
    """How far a feature moves predictions.

    Attributes
    ----------
    mean_abs
        Mean absolute SHAP value.
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
    gain
        Feature, share in trees shared by all tasks, share in the task's own trees; None unless there are both.
    """

    rows: int
    features: tuple[FeatureEffect, ...]
    gain: tuple[tuple[str, float, float], ...] | None = None


MemberExplanation = dict[str, TaskExplanation]  # by task
