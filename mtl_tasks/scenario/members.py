"""The models of a scenario and how they are fitted and combined: `members`, `boosting` and `fusion`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mtl_tasks.scenario.base import NAME, Count, Fraction, Model, Name, Real, Strength, Whole

MemberKind = Literal["popularity", "als", "independent", "cascade", "shared", "shared_tail"]
BOOSTED: frozenset[MemberKind] = frozenset({"independent", "cascade", "shared", "shared_tail"})  # grow trees
FusionMethod = Literal["auto", "mean", "weighted", "vote"]

# LightGBM's settings that someone may miss in the section `boosting`, and why they are not there.
REFUSED: dict[Any, str] = {
    "boosting_type": "trees are gbdt; dart rescales earlier trees, and each task's own leaves must stay as set",
    "linear_tree": "every task gives the shared trees leaves of its own, which must be constants",
    "use_quantized_grad": "it was slower and less accurate here, and LightGBM aborts on categorical columns with CUDA",
}


Rate = Annotated[Real, Field(ge=1e-6, le=1)]  # above 0: nothing is learned at 0


class Shared(Model):
    """How several tasks grow trees together: members `shared` and `shared_tail`."""

    combine: Literal["sketch", "alternate", "sum"] = Field(
        default="sketch",
        description="one split gradient from those of all tasks: a random projection a round, one task after the "
        "other, or their sum (which conflicting tasks spoil)",
    )
    learning_rate: Rate = 0.1
    leaf_l2: Annotated[
        Annotated[Strength, Tag("[number]")] | Annotated[dict[Name, Strength], Tag("[by task]")],
        Discriminator(lambda given: "[by task]" if isinstance(given, dict) else "[number]"),
    ] = Field(default=30.0, description="added to a leaf's sum of second derivatives, of every task or by task")
    split_hessian: Literal["newton", "constant"] = "newton"
    task_weighting: Literal["fixed", "uncertainty", "dwa"] = Field(
        default="fixed", description="fixed: tasks.<task>.weight alone; the others multiply it by a moving weight"
    )
    checkpoints: tuple[Fraction, ...] = Field(
        default=(1.0,),
        min_length=1,
        max_length=20,
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
    folds: Whole = Field(
        default=3, ge=2, le=20, description="users are divided so that no row is told a prediction that learned from it"
    )


class Boosting(Model):
    """LightGBM settings shared by the boosted members."""

    learning_rate: Rate = 0.05
    num_leaves: Whole = Field(default=31, ge=2, le=131_072)  # LightGBM's own limit
    min_data_in_leaf: Count = 50
    min_sum_hessian_in_leaf: Strength = Field(
        default=0.001,
        description="of trees of a binary task's own: a leaf's sum of p (1 - p), where positives are rare about how "
        "many of them it is expected to hold",
    )
    bagging_fraction: Rate = 0.8
    feature_fraction: Rate = 0.8
    lambda_l2: Strength = 1.0
    rounds: Whole = Field(default=2000, ge=1, le=100_000)
    patience: Whole = Field(default=50, ge=1, le=100_000)
    seeds: Whole = Field(default=1, ge=1, le=20, description="models averaged per task")
    device: Literal["auto", "cpu", "gpu", "cuda"] = Field(
        default="cpu", description="gpu is OpenCL; auto takes cuda, else gpu unless it is the processor, else cpu"
    )
    threads: Whole = Field(default=2, ge=1, le=1024)
    transfer: str = Field(
        default="none",
        pattern=NAME,
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
