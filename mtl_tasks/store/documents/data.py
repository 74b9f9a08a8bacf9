"""Documents of the stages that prepare the data, as they are shown: source files, validation, windows."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import Field

from mtl_tasks.core.documents import PartialDocument

_COUNTED: Final = re.compile(r"[\d,]+ of ([\d,]+) rows")


class ReadFile(PartialDocument):
    """A file that a run read; ``size`` in bytes."""

    path: str
    size: int
    sha256: str


class Resolution(PartialDocument):
    """The files that a run may read."""

    sources: tuple[ReadFile, ...]


class ExpectationResult(PartialDocument):
    """The result of a check of the log.

    Attributes
    ----------
    severity
        ``critical`` or ``warning``.
    unexpected
        Number of rows that fail it.
    arguments
        The bounds and values that it compares with; empty in a document from before they were kept.
    """

    expectation: str
    column: str | None
    severity: str
    success: bool
    observed: str
    unexpected: int
    arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Number of rows that were checked; None for a check of a whole column or table."""
        counted = _COUNTED.match(self.observed)
        return None if counted is None else int(counted[1].replace(",", ""))


class Duplicates(PartialDocument):
    """Exact copies of rows, and the rule for them."""

    rows: int
    rule: str


class AttributedLabel(PartialDocument):
    """Events of a label's type in a log of events, counted by outcome of attribution."""

    type: str
    events: int
    joined: int
    before_exposure: int
    outside_window: int
    no_exposure: int
    incomplete: int


class UnreadTypes(PartialDocument):
    """Types of events that the scenario does not name; ``most`` counts the most frequent ones."""

    types: int
    events: int
    most: dict[str, int]


class Attribution(PartialDocument):
    """Assignment of events to exposures; empty for a log of interactions."""

    labels: dict[str, AttributedLabel] = Field(default_factory=dict)
    unread: UnreadTypes | None = None


class ValidationReport(PartialDocument):
    """Result of validating the log.

    Attributes
    ----------
    bad_fraction
        Share of the rows that were set aside.
    quarantined
        Reason to number of rows.
    first_day, last_day
        ``YYYY-MM-DD``.
    """

    success: bool
    rows_read: int
    rows_kept: int
    bad_fraction: float
    max_bad_fraction: float
    duplicates: Duplicates
    attribution: Attribution = Field(default_factory=Attribution)
    quarantined: dict[str, int]
    expectations: tuple[ExpectationResult, ...]
    first_day: str
    last_day: str
    max_event_time: str


class TaskRows(PartialDocument):
    """Labeled rows of a task in a window.

    Attributes
    ----------
    positives
        None for a regression, which has ``mean`` instead.
    negatives_per_positive, repeated_negatives
        None unless negatives are drawn.
    """

    labelled: int
    positives: int | None = None
    mean: float | None = None
    negatives_per_positive: float | None = None
    repeated_negatives: int | None = None


class WindowRows(PartialDocument):
    """Rows of a window, and the labeled ones by task; ``first`` and ``last`` day are ``YYYY-MM-DD``, inclusive."""

    first: str
    last: str
    rows: int
    tasks: dict[str, TaskRows]


class SplitSummary(PartialDocument):
    """The windows with rows, by name; empty if the run's tables were pruned."""

    windows: dict[str, WindowRows] = Field(default_factory=dict)


class Usage(PartialDocument):
    """Time and memory of a stage; ``peak_rss_mb`` in MiB. Early manifests have no ``cpu_seconds``."""

    seconds: float
    cpu_seconds: float = 0.0
    peak_rss_mb: float


class ShardedUsage(Usage):
    """Usage of a stage with what its shards took; the fields are missing without shards.

    ``sharded_seconds`` is the wall time of all shards, ``shard_seconds`` the sum over shards, of which
    ``common_seconds`` went into work that every shard repeats. ``shard_peak_mb`` is the peak memory of a worker in MiB,
    missing if the shards ran in the stage's own process.
    """

    shards: int = Field(default=0, ge=0)
    sharded_seconds: float = 0.0
    shard_seconds: float = 0.0
    common_seconds: float = 0.0
    shard_peak_mb: float | None = None


class StageUsage(Usage):
    """Time and memory of a stage of a run, with the key of its artifact."""

    name: str
    reused: bool
    key: str


class SampleRecommendation(PartialDocument):
    """A recommended item: its title, and a figure for each task and the utility."""

    __pydantic_extra__: dict[str, float] = Field(init=False)
    title: str

    @property
    def figures(self) -> dict[str, float]:
        """The predictions by task, and the utility."""
        return self.__pydantic_extra__


class SampleUser(PartialDocument):
    """A user with the titles of recent items, newest first, and recommendations."""

    user_id: int | str
    history: tuple[str, ...]
    recommendations: tuple[SampleRecommendation, ...]


SampleUsers = tuple[SampleUser, ...]
