"""Documents of the evaluation of lists and impressions: immutable, and refused if a number is not finite."""

from __future__ import annotations

from typing import Final

from pydantic import AliasChoices, Field

from mtl_tasks.core.documents import ArtifactDocument
from mtl_tasks.store.documents.measurements import Measurement, Measurements

LIST_QUESTION: Final = (
    "Out of the catalog: do the k items that a ranker chose from all items contain what the user took afterward?"
)
IMPRESSION_QUESTION: Final = (
    "Among what was shown: does a model place the items that a user took above the others shown on the same day?"
)
IMPRESSION_WEIGHTING: Final = "gauc weights a group by its rows; impression_ndcg counts every group once"
OFF_POLICY_QUESTION: Final = (
    "Among items shown at random, what mean label would a model's k best for each user and day have had?"
)


WITH_RULES: Final = "with_rules"  # the chosen ranker's recommendations after the rules of recommend.reranking


class Measures(ArtifactDocument):
    """Metrics of one ranker or model."""

    metrics: Measurements = Field(description="metric to its value")
    versus: dict[str, Measurements] = Field(
        default={}, description="reference to metric to the paired difference; positive: better than the reference"
    )


class ListSlice(ArtifactDocument):
    """Metrics of all rankers on the same lists."""

    lists: int = Field(ge=0, description="users' lists, one for each user and start day")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    rankers: dict[str, Measures] = Field(description="ranker to its metrics")


class ListsDocument(ArtifactDocument):
    """Evaluation of recommendation lists out of the catalog."""

    question: str = Field(default=LIST_QUESTION, description="the question that these metrics answer")
    k: int = Field(ge=1, description="length of a list")
    starts: tuple[int, ...] = Field(description="days at whose start the lists were made, since 1970-01-01")
    items: int = Field(ge=0, description="items of the catalog")
    confidence: float = Field(description="confidence level of the intervals")
    replicates: int = Field(description="bootstrap replicates of the intervals")
    unreachable: float | None = Field(description="share of the truth's pairs whose item is not in the catalog")
    candidate_recall: float | None = Field(
        default=None, description="share of the truth's pairs among the candidates; null: candidates were not counted"
    )
    candidates_per_list: float | None = Field(default=None, description="mean number of candidates of a list")
    everyone: ListSlice = Field(description="all lists")
    slices: dict[str, ListSlice] = Field(
        description="cold_users and warm_users: lists of users with few positives before the start day, and of others; "
        "cold_items: recall and hit rate counting only items with few interactions before the start day"
    )


class ImpressionsDocument(ArtifactDocument):
    """Evaluation of the order of what users were shown: groups of one user and day with both labels."""

    question: str = Field(default=IMPRESSION_QUESTION, description="the question that these metrics answer")
    weighting: str = Field(
        default=IMPRESSION_WEIGHTING,
        description="how groups are averaged",
    )
    k: int | None = Field(description="rank at which impression_ndcg is cut; null: not cut")
    rows: int = Field(ge=0, description="rows of the groups")
    groups: int = Field(ge=0, description="users' days with both labels among what was shown")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    left_out: int = Field(ge=0, description="labeled rows in groups whose labels are all alike")
    chance: dict[str, float | None] = Field(description="metric to its expectation in random order")
    models: dict[str, Measures] = Field(description="model to its metrics")


class PolicyEstimate(ArtifactDocument):
    """Estimated mean label of a model's k best items."""

    snips: Measurement = Field(description="self-normalized inverse-propensity estimate")
    versus: Measurements = Field(default={}, description="reference to the paired difference")
    effective_rows: float = Field(
        ge=0, description="Kish's effective sample size: squared sum of weights / sum of squares"
    )
    clipped: int = Field(ge=0, description="chosen rows whose inverse propensity was clipped")


class OffPolicyDocument(ArtifactDocument):
    """Off-policy estimates from exposures at random, with known propensities."""

    question: str = Field(default=OFF_POLICY_QUESTION, description="the question that these metrics answer")
    k: int = Field(ge=1, description="items chosen in each group")
    max_weight: float = Field(gt=0, description="limit at which inverse propensities are clipped")
    rows: int = Field(ge=0, description="rows with a propensity, in groups with more than k of them")
    groups: int = Field(ge=0, description="users' days with more than k such rows")
    users: int = Field(ge=0, description="users, the clusters of the intervals")
    models: dict[str, PolicyEstimate] = Field(description="model to its estimate")


class SourceShare(ArtifactDocument):
    """Recall of one source.

    Attributes
    ----------
    recall
        Share of the truth pairs that the source offers; null without a pair.
    unique
        Share of the truth pairs that no other source offers: the recall that is lost without the source.
    candidates_per_user
        Items that the source offers a user on average, those that other sources offer too among them.
    """

    recall: float | None
    unique: float | None
    candidates_per_user: float | None


class SliceRecall(ArtifactDocument):
    """Recall of all sources together and of each.

    Attributes
    ----------
    users, pairs
        Number of users and of truth pairs.
    recall, candidates_per_user
        As in :class:`SourceShare`, of the union of the sources.
    """

    users: int
    pairs: int
    recall: float | None
    candidates_per_user: float | None
    sources: dict[str, SourceShare]


class RecallReport(ArtifactDocument):
    """Recall of the candidate sources.

    Attributes
    ----------
    cold_user
        A user is cold with fewer positive interactions before the day.
    new_days
        An item is cold if it was first seen in this many days before the day.
    unreachable
        Truth pairs whose item was not in the log before the day: no source can offer it.
    slices
        ``all``, ``cold_users`` and ``cold_items``: candidates and truth of these users, or of these items.
    """

    cold_user: int
    new_days: int
    unreachable: int
    slices: dict[str, SliceRecall]


class RankingEvaluation(ArtifactDocument):
    """Metrics of the recommendations that would have been made at the start of the test window.

    Attributes
    ----------
    k
        Length of a user's list.
    users
        Number of users whose lists were evaluated, of ``eligible_users``.
    lists
        Name of the ranking to its metrics, in a document from before there were rankers.
    unreachable
        Share of the positives that no list could contain; None without positives.
    candidate_recall
        Share of the positives among the candidates.
    shortlist
        In a document from before all trees scored all candidates: the share of some users' recommendations that were
        the same with all trees.
    chosen
        The ranker that orders the recommendations.
    left_out
        Positives that no list contains because their user had the item before.
    comparison
        Metrics of every ranker, paired with popularity and ALS.
    impressions
        Task with logged negatives to how models order what users were shown.
    off_policy
        Task with logged negatives to estimates from exposures with known propensities.
    sources
        Recall of the candidate sources on the first start day.
    """

    k: int
    users: int
    eligible_users: int = Field(validation_alias=AliasChoices("eligible_users", "people"))
    lists: dict[str, Measurements] = Field(default={})
    unreachable: float | None
    candidate_recall: float
    candidates_per_user: float
    shortlist: dict[str, float] | None = None
    chosen: str = "fusion"
    left_out: int = 0
    comparison: ListsDocument | None = None
    impressions: dict[str, ImpressionsDocument] = Field(default={})
    off_policy: dict[str, OffPolicyDocument] = Field(default={})
    sources: RecallReport | None = None

    @property
    def published(self) -> str:
        """The name under which the recommendations themselves are judged."""
        return WITH_RULES if WITH_RULES in self.by_ranker else self.chosen

    @property
    def by_ranker(self) -> dict[str, Measurements]:
        """Metrics of each ranker's lists."""
        if self.comparison is None:
            return self.lists
        return {name: measures.metrics for name, measures in self.comparison.everyone.rankers.items()}
