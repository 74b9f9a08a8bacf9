"""The models of a scenario and how they are fitted and combined: `members`, `boosting` and `fusion`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mtl_tasks.scenario.base import Model, Name

MemberKind = Literal["popularity", "als", "independent", "cascade", "shared", "shared_tail"]
BOOSTED: frozenset[MemberKind] = frozenset({"independent", "cascade", "shared", "shared_tail"})  # grow trees
FusionMethod = Literal["auto", "mean", "weighted", "vote"]

# LightGBM's settings that someone may miss in the section `boosting`, and why they are not there.
REFUSED: dict[Any, str] = {
    "boosting_type": "trees are gbdt; dart rescales earlier trees, and each task's own leaves must stay as set",
    "linear_tree": "every task gives the shared trees leaves of its own, which must be constants",
    "use_quantized_grad": "it was slower and less accurate here, and LightGBM aborts on categorical columns with CUDA",
}


class Shared(Model):
    """How several tasks grow trees together: members `shared` and `shared_tail`."""

    combine: Literal["sketch", "alternate", "sum"] = Field(
        default="sketch",
        description="one split gradient from those of all tasks: a random projection a round, one task after the "
        "other, or their sum (which conflicting tasks spoil)",
    )
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    leaf_l2: float | dict[Name, float] = Field(
        default=30.0, description="added to a leaf's sum of second derivatives, of every task or by task"
    )
    split_hessian: Literal["newton", "constant"] = "newton"
    task_weighting: Literal["fixed", "uncertainty", "dwa"] = Field(
        default="fixed", description="fixed: tasks.<task>.weight alone; the others multiply it by a moving weight"
    )
    checkpoints: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(1.0,),
        min_length=1,
        description="member `shared_tail`: the parts of the shared rounds after which a task's own trees begin; the "
        "first, unless another is clearly better on tune. [1, 0] lets a task that sharing harms keep to trees of its "
        "own, at the cost of growing those for every task to compare",
    )


class Cascade(Model):
    """How a chain of tasks is told each other's predictions: member `cascade`."""

    order: tuple[Name, ...] | None = Field(
        default=None,
        description="each task is told the predictions of those before it; null: as they stand in the file",
    )
    folds: int = Field(
        default=3, ge=2, le=20, description="users are divided so that no row is told a prediction that learnt from it"
    )


class Boosting(Model):
    """LightGBM settings shared by the boosted members."""

    learning_rate: float = Field(default=0.05, gt=0, le=1)
    num_leaves: int = Field(default=31, ge=2)
    min_data_in_leaf: int = Field(default=50, ge=1)
    min_sum_hessian_in_leaf: float = Field(
        default=0.001,
        ge=0,
        description="of trees of a binary task's own: a leaf's sum of p (1 - p), where positives are rare about how "
        "many of them it is expected to hold",
    )
    bagging_fraction: float = Field(default=0.8, gt=0, le=1)
    feature_fraction: float = Field(default=0.8, gt=0, le=1)
    lambda_l2: float = Field(default=1.0, ge=0)
    rounds: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)
    seeds: int = Field(default=1, ge=1, le=20, description="models averaged per task")
    device: Literal["auto", "cpu", "gpu", "cuda"] = Field(
        default="cpu", description="gpu is OpenCL; auto takes cuda, else gpu unless it is the processor, else cpu"
    )
    threads: int = Field(default=2, ge=1)
    transfer: str = Field(
        default="none",
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="what trees are grown on from: none, champion, or the champion of the scenario of that name",
    )
    cascade: Cascade = Cascade()
    shared: Shared = Shared()

    @model_validator(mode="before")
    @classmethod
    def _combinable(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key in REFUSED:
                raise ValueError(f"{key!r} is not offered: {REFUSED[key]}")
        return given


class Fusion(Model):
    """How the members' predictions are combined."""

    method: FusionMethod = "auto"
