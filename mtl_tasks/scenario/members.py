"""The models of a scenario and how they are fitted and combined: `members`, `boosting` and `fusion`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mtl_tasks.scenario.base import NAME, Count, Fraction, Model, Name, Real, Strength, Whole

MemberKind = Literal[
    "popularity", "als", "linear", "independent", "cascade", "shared", "shared_tail", "distilled", "deep"
]


@dataclass(frozen=True)
class MemberTraits:
    """A member's code and settings.

    Attributes
    ----------
    implementation
        Module and class in ``mtl_tasks/models``, which is imported only where the member is used.
    section
        Section of the scenario with its settings, which has a key ``device``; None for a member without settings.
    further
        Other sections that the fit depends on.
    """

    implementation: str
    section: Literal["boosting", "deep"] | None = None
    further: tuple[str, ...] = ()


MEMBERS: Final[dict[MemberKind, MemberTraits]] = {
    "popularity": MemberTraits("baselines:PopularityMember"),
    "als": MemberTraits("baselines:AlsMember"),
    "linear": MemberTraits("linear:LinearMember"),
    "independent": MemberTraits("independent:IndependentMember", "boosting"),
    "cascade": MemberTraits("cascade:CascadeMember", "boosting"),
    "shared": MemberTraits("shared:SharedMember", "boosting"),
    "shared_tail": MemberTraits("shared_tail:SharedTailMember", "boosting"),
    "distilled": MemberTraits("distilled:DistilledMember", "boosting", ("compression",)),
    "deep": MemberTraits("deep.member:DeepMember", "deep"),
}
BOOSTED: Final = frozenset(kind for kind, traits in MEMBERS.items() if traits.section == "boosting")  # grow trees
FusionMethod = Literal["auto", "mean", "weighted", "vote"]

# LightGBM's settings that someone may miss in the section `boosting`, and why they are not there.
REFUSED: dict[Any, str] = {
    "boosting_type": "trees are gbdt; dart rescales earlier trees, and each task's own leaves must stay as set",
    "linear_tree": "every task gives the shared trees leaves of its own, which must be constants",
    "use_quantized_grad": "it was slower and less accurate here, and LightGBM aborts on categorical columns with CUDA",
}


Rate = Annotated[Real, Field(ge=1e-6, le=1)]  # above 0: nothing is learned at 0


class Shared(Model):
    """Settings of the members `shared` and `shared_tail`, whose tasks grow trees together."""

    combine: Literal["sketch", "alternate", "sum"] = Field(
        default="sketch",
        description="how the tasks' gradients become one split gradient: a random projection in each round, one task "
        "after the other, or their sum (which conflicting tasks spoil)",
    )
    learning_rate: Rate = Field(default=0.1, description="learning rate of the shared trees")
    leaf_l2: Annotated[
        Annotated[Strength, Tag("[number]")] | Annotated[dict[Name, Strength], Tag("[by task]")],
        Discriminator(lambda given: "[by task]" if isinstance(given, dict) else "[number]"),
    ] = Field(default=30.0, description="added to a leaf's sum of second derivatives: a number, or task -> number")
    split_hessian: Literal["newton", "constant"] = Field(
        default="newton", description="second derivatives that splits are found with: those of the tasks, or constants"
    )
    task_weighting: Literal["fixed", "uncertainty", "dwa"] = Field(
        default="fixed",
        description="fixed: `tasks.<task>.weight` alone; uncertainty and dwa multiply it by a weight that follows the "
        "losses",
    )
    checkpoints: tuple[Fraction, ...] = Field(
        default=(1.0,),
        min_length=1,
        max_length=20,
        description="`shared_tail`: fractions of the shared rounds after which a task's own trees may begin; the first "
        "is taken unless another is clearly better on tune. [1, 0] lets a task that sharing harms use its own trees "
        "only, at the cost of growing those for every task",
    )


class Cascade(Model):
    """Settings of `cascade`: each task gets the predictions of earlier tasks as features."""

    order: tuple[Name, ...] | None = Field(
        default=None,
        description="order of the tasks; each gets the predictions of those before it; null: the order of the file",
    )
    folds: Whole = Field(
        default=3,
        ge=2,
        le=20,
        description="folds of users for the predictions of training rows: no model has seen the row's user",
    )


class Boosting(Model):
    """LightGBM settings shared by the boosted members."""

    learning_rate: Rate = Field(default=0.05, description="learning rate of the trees of a single task")
    num_leaves: Whole = Field(default=31, ge=2, le=131_072, description="maximum leaves of a tree")  # LightGBM's limit
    min_data_in_leaf: Count = Field(default=50, description="minimum rows in a leaf")
    min_sum_hessian_in_leaf: Strength = Field(
        default=0.001,
        description="binary, trees of the task's own: smallest sum of p (1 - p) in a leaf; with rare positives that is "
        "about the number of positives expected in it",
    )
    bagging_fraction: Rate = Field(default=0.8, description="fraction of the rows that each tree is trained on")
    feature_fraction: Rate = Field(default=0.8, description="fraction of the features that a tree may use")
    lambda_l2: Strength = Field(default=1.0, description="L2 penalty on leaf values")
    rounds: Whole = Field(default=2000, ge=1, le=100_000, description="maximum number of boosting rounds")
    patience: Whole = Field(
        default=50, ge=1, le=100_000, description="rounds without gain on tune after which a task stops"
    )
    seeds: Whole = Field(default=1, ge=1, le=20, description="models averaged for each task")
    device: Literal["auto", "cpu", "gpu", "cuda"] = Field(
        default="cpu",
        description="gpu is OpenCL; auto takes cuda, else gpu unless OpenCL runs on the processor, else cpu",
    )
    threads: Whole = Field(
        default=2, ge=1, le=1024, description="threads of a task, and the slots it takes of the pool cpu_heavy"
    )
    warm_start: str = Field(
        default="none",
        pattern=NAME,
        description="warm start of the trees: none, champion, or the name of a scenario, whose champion is then taken",
    )
    cascade: Cascade = Field(default=Cascade(), description="settings of the member `cascade`")
    shared: Shared = Field(default=Shared(), description="settings of the members `shared` and `shared_tail`")

    @model_validator(mode="before")
    @classmethod
    def _combinable(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key in REFUSED:
                raise ValueError(f"{key!r} is not offered: {REFUSED[key]}")
        return given


class Fusion(Model):
    """The combination of the members' predictions."""

    method: FusionMethod = Field(
        default="auto",
        description="auto: weights shrunk toward equal weights of the members that are not significantly worse than "
        "the best one on blend, as much as the cross-fitted loss allows; one member alone if all others are worse",
    )
