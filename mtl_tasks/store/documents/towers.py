"""Document of a fitted two-tower model: its sizes, and the columns that describe users and items."""

from __future__ import annotations

from pydantic import Field

from mtl_tasks.core.documents import StoredDocument


class TowersDocument(StoredDocument):
    """All but the arrays."""

    dimensions: int = Field(description="length of a vector")
    item_columns: tuple[str, ...] = Field(description="columns that describe items")
    user_columns: tuple[str, ...] = Field(description="columns that describe users")
    text_ids: bool = Field(description="whether item ids are texts")
    interactions: int = Field(description="positive interactions that it was trained on")
    before: int = Field(description="day, since 1970-01-01, before which these were")
    losses: tuple[float, ...] = Field(description="mean training loss of each epoch")
