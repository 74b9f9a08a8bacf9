"""Tables of a run's data: checks of the log, drift, windows, stages and source files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mtl_tasks.report import expectation_text, labels
from mtl_tasks.report.document import RunDocument
from mtl_tasks.store.documents.data import ExpectationResult, ReadFile, StageUsage, WindowRows
from mtl_tasks.store.documents.drift import Drift, Shift, Shifts, Variable

_SHOWN_SOURCES: Final = 40
_SHOWN_SHIFTS: Final = 10
_LEAST_PSI: Final = 0.001  # where the scale of a shift begins


@dataclass(frozen=True)
class DriftRow:
    """A shift, with its share of a full bar on a logarithmic scale."""

    shift: Shift
    share: float


@dataclass(frozen=True)
class PsiScale:
    """A logarithmic scale of the population stability index.

    Attributes
    ----------
    low, high
        Its ends.
    marks
        Positions, 0 to 1, of the limits of a small and of a large shift.
    """

    low: float
    high: float
    marks: tuple[float, ...]


@dataclass(frozen=True)
class DriftTable:
    """The largest shifts of a comparison."""

    title: str
    problem: str | None
    scale: PsiScale
    rows: list[DriftRow]
    left_out: list[Shift]
    unmatched: Sequence[Variable]


@dataclass(frozen=True)
class ExpectationRow:
    """A check of the log in words."""

    check: ExpectationResult
    sentence: str
    seen: str


@dataclass(frozen=True)
class WindowRow:
    """A window, its purpose and its rows; None for the rows of a window without labels."""

    name: str
    first: str
    last: str
    use: str
    split: WindowRows | None


@dataclass(frozen=True)
class StageRow:
    """The costs of a stage, with its share of the longest one's time."""

    usage: StageUsage
    share: float


@dataclass(frozen=True)
class StageTable:
    """The costs of all stages: sums, and the maximum of the memory."""

    rows: list[StageRow]
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Bar:
    """A count, with its share of the largest one."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class SourceTable:
    """The last source files, and the number and size of all."""

    files: Sequence[ReadFile]
    left_out: int
    total: int
    size: int


def expectation_rows(document: RunDocument) -> list[ExpectationRow]:
    """Return the checks of the log as sentences, failed ones first."""
    checks = sorted(document.validation.expectations, key=lambda check: check.success)
    return [ExpectationRow(check, expectation_text.sentence(check), expectation_text.seen(check)) for check in checks]


def drift_tables(drift: Drift | None) -> list[DriftTable]:
    """Return the largest shifts of each comparison."""
    if drift is None:
        return []
    shown, champion = [], drift.champion
    if champion is not None:
        about = f"Against the test rows of the champion of {champion.as_of}"
        shown.append(_largest(about, champion.problem, champion))
    return [*shown, _largest("Against this run's own train rows", None, drift.since_train)]


def _largest(title: str, problem: str | None, compared: Shifts) -> DriftTable:
    features = compared.of_group("features")
    others = [shift for shift in compared.shifts if shift.group != "features"]
    shown = [*others, *features[:_SHOWN_SHIFTS]]
    # On a linear scale up to the largest shift, all others would look like none.
    high = max([2 * labels.SHIFTED[1], *(shift.psi for shift in shown)])
    marks = tuple(_log_position(limit, high) for limit in labels.SHIFTED)
    rows = [DriftRow(shift, _log_position(shift.psi, high)) for shift in shown]
    scale = PsiScale(_LEAST_PSI, high, marks)
    return DriftTable(title, problem, scale, rows, features[_SHOWN_SHIFTS:], compared.unmatched)


def _log_position(psi: float, high: float) -> float:
    """Return the position of an index between ``_LEAST_PSI`` and ``high`` on a logarithmic scale, 0 to 1."""
    return math.log(max(psi, _LEAST_PSI) / _LEAST_PSI) / math.log(high / _LEAST_PSI)


def window_rows(document: RunDocument) -> list[WindowRow]:
    """Return the windows in time order."""
    counted = document.split.windows
    return [
        WindowRow(name, first, last, labels.WINDOW_USES.get(name, ""), counted.get(name))
        for name, (first, last) in document.windows.items()
    ]


def stage_table(stages: Sequence[StageUsage]) -> StageTable:
    """Return the costs of the stages."""
    longest = max((stage.seconds for stage in stages), default=0) or 1
    return StageTable(
        rows=[StageRow(stage, stage.seconds / longest) for stage in stages],
        seconds=sum(stage.seconds for stage in stages),
        cpu_seconds=sum(stage.cpu_seconds for stage in stages),
        peak_rss_mb=max((stage.peak_rss_mb for stage in stages), default=0),
    )


def bars(counts: Mapping[str, int]) -> list[Bar]:
    """Return counts, the largest first."""
    most = max(counts.values(), default=0) or 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Bar(name, value, value / most) for name, value in ordered]


def source_table(files: Sequence[ReadFile]) -> SourceTable:
    """Return the source files."""
    left_out = max(0, len(files) - _SHOWN_SOURCES)
    return SourceTable(files[-_SHOWN_SOURCES:], left_out, len(files), sum(file.size for file in files))
