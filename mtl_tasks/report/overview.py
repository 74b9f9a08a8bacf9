"""The overview of a run: rules, metrics beside floor and champion, changes since, and what the run cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mtl_tasks.metrics.metric import Metric
from mtl_tasks.report import labels
from mtl_tasks.report.document import FLOOR, Change, RunDocument
from mtl_tasks.store.documents.data import StageUsage
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.verdict import RuleResult
from mtl_tasks.store.documents.versus_champion import PairedMetric

SHOWN_RULES: Final = 8  # failed ones are all shown
SHOWN_METRICS: Final = 12  # more rows than this would leave the screen: then only each task's primary metric is shown
SHOWN_CHANGES: Final = 6
_DIRECTION: Final = " (positive is better)"
_LISTS: Final = "lists"
_LIST_METRICS: Final = ("ndcg", "recall")


@dataclass(frozen=True)
class RuleRow:
    """A rule of the gate, with the positions of its figures on its own scale, 0 to 100; None without a value."""

    result: RuleResult
    bar: Mapping[str, float] | None

    @property
    def passed(self) -> bool:
        """Whether the rule passed."""
        return self.result.passed

    @property
    def sentence(self) -> str:
        """The result in words, without its outcome and direction, which the page shows beside it."""
        reason = self.result.reason.replace(": holds, ", ": ", 1).replace(": fails, ", ": ", 1)
        return labels.reason_text(reason.removesuffix(_DIRECTION))


@dataclass(frozen=True)
class MetricRow:
    """A metric of the run beside the champion's and the floor's; what is not known is None.

    Attributes
    ----------
    group
        The task, or ``lists``.
    versus
        The champion's value on the same rows, with the paired gain.
    over_floor
        The paired gain over the popularity baseline.
    """

    group: str
    shown: Metric
    own: Measurement
    versus: PairedMetric | None
    over_floor: Measurement | None


@dataclass(frozen=True)
class Overview:
    """The first screen of a run.

    Attributes
    ----------
    failed, passed, further
        Rules: the failed ones, the first passed ones, and the passed ones that are folded away.
    metrics
        Rows of the tasks and of the recommendations; only primary metrics if ``shortened``.
    changes, further_changes
        Differences from the champion's run, settings first.
    made
        Wall-clock time of the verdict; None if unknown.
    seconds, cpu_seconds, peak_mb
        Sums and the maximum over the stages.
    """

    failed: list[RuleRow]
    passed: list[RuleRow]
    further: list[RuleRow]
    metrics: list[MetricRow]
    shortened: bool
    changes: list[Change]
    further_changes: list[Change]
    made: str | None
    seconds: float
    cpu_seconds: float
    peak_mb: float

    @property
    def paired(self) -> bool:
        """Whether any metric stands beside the champion's."""
        return any(row.versus is not None for row in self.metrics)


def overview(document: RunDocument) -> Overview:
    """Return the overview of a run."""
    rules = [RuleRow(rule, rule_bar(rule)) for rule in document.verdict.rules]
    failed, passed = ([row for row in rules if row.passed is wanted] for wanted in (False, True))
    room = max(0, SHOWN_RULES - len(failed))
    rows = [*_task_rows(document), *_list_rows(document)]
    shortened = len(rows) > SHOWN_METRICS
    changes = [] if document.champion is None else sorted(document.champion.changes, key=_by_kind)
    return Overview(
        failed=failed,
        passed=passed[:room],
        further=passed[room:],
        metrics=[row for row in rows if not shortened or _is_primary(row, rows)],
        shortened=shortened,
        changes=changes[:SHOWN_CHANGES],
        further_changes=changes[SHOWN_CHANGES:],
        made=made_at(document.made_at),
        seconds=sum(stage.seconds for stage in document.stages),
        cpu_seconds=sum(stage.cpu_seconds for stage in document.stages),
        peak_mb=peak(document.stages),
    )


def peak(stages: tuple[StageUsage, ...]) -> float:
    """Return the largest memory of a stage in MiB."""
    return max((stage.peak_rss_mb for stage in stages), default=0.0)


def made_at(seconds: float | None) -> str | None:
    """Format a time in seconds since 1970 as a wall-clock time.

    >>> made_at(0.0)
    '1970-01-01 00:00 UTC'
    """
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def rule_bar(rule: RuleResult) -> dict[str, float] | None:
    """Return the positions of a rule's figures on a scale of its own, from 8 to 92; None without a value."""
    if rule.value is None:
        return None
    figures = {"value": rule.value, "low": rule.low, "high": rule.high, "limit": rule.limit}
    known = {part: figure for part, figure in figures.items() if figure is not None}
    first, last = min(known.values()), max(known.values())
    width = (last - first) or 1.0
    return {part: round(8 + 84 * (value - first) / width, 1) for part, value in known.items()}


def _task_rows(document: RunDocument) -> Iterator[MetricRow]:
    beside = document.versus_champion
    for name, task in document.evaluation.tasks.items():
        versus = {} if beside is None or name not in beside.tasks else beside.tasks[name].metrics
        gains = task.versus_floor.get("fusion", {})
        for metric in labels.in_order(task.fusion):
            shown = labels.metric(metric)
            yield MetricRow(name, shown, task.fusion[metric], versus.get(metric), gains.get(metric))


def _list_rows(document: RunDocument) -> Iterator[MetricRow]:
    ranking, beside = document.evaluation.ranking, document.versus_champion
    own = ranking.by_ranker.get(ranking.published, {})
    gains = {}
    if ranking.comparison is not None and ranking.published in ranking.comparison.everyone.rankers:
        gains = ranking.comparison.everyone.rankers[ranking.published].versus.get(FLOOR, {})
    for metric in (name for name in _LIST_METRICS if name in own):
        versus = None if beside is None else beside.lists.get(metric)
        yield MetricRow(_LISTS, labels.metric(metric), own[metric], versus, gains.get(metric))


def _is_primary(row: MetricRow, rows: list[MetricRow]) -> bool:
    return row is next(other for other in rows if other.group == row.group)


def _by_kind(change: Change) -> int:
    return ("setting", "code", "library", "data").index(change.kind)
