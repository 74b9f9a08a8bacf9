"""Documents beside the weights of members without trees."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument

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
        The model is fitted on every so-many-th row of its table.
    """

    schema_version: ClassVar[int] = 1

    tasks: dict[str, LinearTask]
    encoder: EncoderDocument
    every: Annotated[int, Field(ge=1)]
