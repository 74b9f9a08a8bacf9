"""Documents beside the weights of members without trees."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument
from mtl_tasks.store.documents.training import LearningCurve, Sharing

Level = bool | int | float | str  # a category
Size = Annotated[int, Field(ge=0, le=1_000_000)]


class EncoderDocument(ArtifactDocument):
    """The columns of a feature encoder; its quantiles are arrays beside the document.

    Attributes
    ----------
    numbers
        Numeric columns in order.
    knots
        Number of quantiles of each numeric column.
    flags
        Numeric columns whose missing values have an indicator.
    levels
        Categorical column to its categories; category ``k`` has code ``k + 1``.
    """

    numbers: tuple[str, ...]
    knots: tuple[Size, ...]
    flags: tuple[str, ...]
    levels: dict[str, tuple[Level, ...]]


class LinearTask(ArtifactDocument):
    """The penalty of a task's model, and the loss of each penalty on tune."""

    penalty: float
    tune_losses: dict[str, float]


class LinearDocument(StoredDocument):
    """The member ``linear`` without its arrays.

    Attributes
    ----------
    tasks
        Task to its choice; the rows of the weights are in their order.
    every
        The model is fitted on every k-th row of its table.
    """

    schema_version: ClassVar[int] = 1

    tasks: dict[str, LinearTask]
    encoder: EncoderDocument
    every: Annotated[int, Field(ge=1)]


class DeepTask(ArtifactDocument):
    """How the member ``deep`` learned a task.

    Attributes
    ----------
    epochs
        Passes over the training rows after which the task's parameters were taken.
    center, scale
        A number is learned as ``(label - center) / scale``.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)]
    center: float
    scale: Annotated[float, Field(gt=0)]
    curve: LearningCurve


class DeepDocument(StoredDocument):
    """The member ``deep`` without its arrays.

    Attributes
    ----------
    structure, layers, experts, task_experts, embedding
        The scenario's settings of the network that was fitted.
    seeds
        Number of networks, which are averaged.
    tasks
        Task to how it was learned; outputs are in their order.
    importance
        Task to its features' shares of all that moves it, largest first.
    sharing
        Cosines of the tasks' gradients and the tasks' weights, by tenth of an epoch.
    every
        The networks are fitted on every k-th row of their table.
    """

    schema_version: ClassVar[int] = 1

    structure: Literal["shared_bottom", "mmoe", "ple"]
    layers: Annotated[tuple[Size, ...], Field(min_length=1, max_length=6)]
    experts: Size
    task_experts: Size
    embedding: Size
    seeds: Annotated[int, Field(ge=1, le=20)]
    device: str
    tasks: dict[str, DeepTask]
    encoder: EncoderDocument
    importance: dict[str, tuple[tuple[str, float], ...]]
    sharing: Sharing
    every: Annotated[int, Field(ge=1)]
