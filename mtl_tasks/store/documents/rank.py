"""Document of the stage `rank`: the rankers, and which was chosen on what evidence."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument


class RankerEvidence(ArtifactDocument):
    """Quality of a ranker on the blend window's lists; a fitted one is cross-fitted over users.

    Attributes
    ----------
    ndcg
        Mean over all users with a truth.
    difference, standard_error
        NDCG minus that of the chosen ranker, and the standard error of this difference over users.
    """

    ndcg: float
    difference: float
    standard_error: float


class TrainingDay(ArtifactDocument):
    """A day of training lists: its users, and the lists with a relevant candidate."""

    day: str
    users: int
    lists: int


class RankDocument(StoredDocument):
    """Rankers that the stage ``rank`` fitted, and the choice among them with its evidence."""

    chosen: str = Field(description="the ranker that orders the recommendations")
    requested: str = Field(description="recommend.ranker")
    note: str = Field(description="why it was chosen, in one sentence")
    degraded: bool = Field(description="whether the requested ranker, or any evidence, was missing")
    k: int
    target: tuple[str, ...]
    gains: dict[str, float]
    horizon_days: int = Field(description="days after a list's start in which what is taken counts")
    blend: TrainingDay | None = Field(description="lists that the choice was made on")
    early: tuple[TrainingDay, ...] = Field(description="earlier lists, which LambdaMART learned from")
    evidence: dict[str, RankerEvidence] = Field(description="by ranker")
    left_out: dict[str, str] = Field(description="ranker to why it was not fitted")
    rankers: dict[str, dict[str, Any]] = Field(description="ranker to what it is made of")

    @property
    def ranked(self) -> list[tuple[str, RankerEvidence]]:
        """The evidence, best ranker first."""
        return sorted(self.evidence.items(), key=lambda entry: -entry[1].ndcg)
