"""Settings of the member `deep`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from mtl_tasks.scenario.base import Model, Real, Whole

Structure = Literal["shared_bottom", "mmoe", "ple"]
TaskWeighting = Literal["fixed", "uncertainty", "dwa", "gradnorm", "pcgrad"]
DEEP: Final = "deep"  # the section, the member, and the optional part that it needs


class Deep(Model):
    """A network of all tasks, beside a linear path from the features to each task: member `deep`."""

    structure: Structure = Field(
        default="shared_bottom",
        description="what the tasks share: all layers (shared_bottom), experts that each task mixes by a gate of its "
        "own (mmoe), or in every layer experts beside some of the task's own (ple)",
    )
    layers: tuple[Annotated[Whole, Field(ge=1, le=4096)], ...] = Field(
        default=(128, 64), min_length=1, max_length=6, description="width of each hidden layer"
    )
    experts: Whole = Field(default=4, ge=1, le=64, description="mmoe: experts; ple: shared experts of each layer")
    task_experts: Whole = Field(default=1, ge=1, le=16, description="ple: each task's own experts of each layer")
    embedding: Whole = Field(
        default=16,
        ge=1,
        le=256,
        description="largest embedding of a categorical feature; with few categories it is smaller",
    )
    dropout: Annotated[Real, Field(ge=0, le=0.9)] = Field(
        default=0.2, description="share of hidden units that are dropped in a training step"
    )
    category_dropout: Annotated[Real, Field(ge=0, le=0.9)] = Field(
        default=0.05,
        description="share of categories that count as unknown in a training step, so that new ones can be scored",
    )
    learning_rate: Annotated[Real, Field(ge=1e-6, le=1)] = Field(default=0.003, description="learning rate of Adam")
    batch_rows: Whole = Field(default=1024, ge=8, le=1_000_000, description="rows of a training step")
    epochs: Whole = Field(
        default=3, ge=1, le=1000, description="maximum passes over the train window; each task uses the best on tune"
    )
    seeds: Whole = Field(default=1, ge=1, le=20, description="networks averaged, which are trained side by side")
    task_weighting: TaskWeighting = Field(
        default="fixed",
        description="fixed: `tasks.<task>.weight` alone; uncertainty, dwa and gradnorm multiply it by a weight that "
        "follows losses or gradients; pcgrad removes conflicts between the tasks' gradients",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="cpu", description="gpu is what JAX calls so; auto takes it if there is one, else cpu"
    )
