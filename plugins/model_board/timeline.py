"""A metric over time as points of an inline SVG: each point is a link with the run's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from mtl_tasks.pipeline.past_runs import ChampionPeriod, History, PastRun
from mtl_tasks.report.labels import number
from plugins.model_board.run_table import Column

WIDTH, HEIGHT = 460, 150  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26  # margins
INSET: Final = 10  # between the margins and the first and last point
MOST_TICKS: Final = 4
SPARK_WIDTH, SPARK_HEIGHT, SPARK_RUNS = 120, 28, 30


@dataclass(frozen=True)
class Point:
    """A run in the drawing."""

    run: PastRun
    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Timeline:
    """A metric of some runs over time.

    Attributes
    ----------
    intervals
        Path of the runs' intervals, a line for each; empty without any.
    champion
        Path of the champion's value, a step for each champion; empty if it is not known.
    ticks
        Vertical position and label of each line of the grid.
    dates
        Horizontal position and label of the first and the last day.
    missing
        Number of runs without the value.
    """

    column: Column
    points: list[Point]
    intervals: str
    champion: str
    ticks: list[tuple[float, str]]
    dates: list[tuple[float, str]]
    missing: int


class _Scale:
    """Positions of days and values."""

    def __init__(self, days: Sequence[int], values: Sequence[float]) -> None:
        self._first, self._days = min(days), max(max(days) - min(days), 1)
        self.low, self.high = min(values), max(values)
        self._range = (self.high - self.low) or 1.0

    def x(self, day: int) -> float:
        place = (day - self._first) / self._days
        return round(LEFT + INSET + place * (WIDTH - LEFT - RIGHT - 2 * INSET), 1)

    def y(self, value: float) -> float:
        place = (value - self.low) / self._range
        return round(HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return position and label of the round values of the range, or of its only value."""
        from matplotlib.ticker import MaxNLocator

        if self.low == self.high:
            return [(self.y(self.low), number(self.low))]
        found = MaxNLocator(MOST_TICKS, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        values = [float(value) for value in found if self.low <= value <= self.high]
        digits = max((len(f"{value:.4g}".partition(".")[2]) for value in values), default=0)
        return [(self.y(value), f"{value:.{digits}f}") for value in values]


def draw(runs: Sequence[PastRun], history: History, column: Column) -> Timeline | None:
    """Return the drawing of a metric of some runs; None if none of them has it.

    Parameters
    ----------
    history
        Of the scenario, for its champions.
    """
    found = [(run, measured) for run in runs if (measured := column.of(run)) is not None and measured.value is not None]
    if not found:
        return None
    days = [_day(run.entry.as_of) for run, _ in found]
    bounds = [bound for _, measured in found for bound in (measured.bounds or (measured.value or 0.0,))]
    scale = _Scale(days, bounds)
    points, intervals = [], ""
    for run, measured in found:
        x = scale.x(_day(run.entry.as_of))
        words = f"{run.entry.as_of}, {run.standing}: {number(measured.value)}"
        if measured.bounds is not None:
            words += f" [{number(measured.bounds[0])}, {number(measured.bounds[1])}]"
            intervals += f"M{x} {scale.y(measured.bounds[0])}V{scale.y(measured.bounds[1])}"
        words += f", run {run.entry.run_key[:12]}"
        points.append(Point(run, x, scale.y(measured.value or 0.0), words))
    return Timeline(
        column,
        points,
        intervals,
        _champion_path(history, column, scale, (min(days), max(days))),
        scale.ticks(),
        [(scale.x(_day(day)), day) for day in dict.fromkeys((_iso(min(days)), _iso(max(days))))],
        len(runs) - len(found),
    )


def _champion_path(history: History, column: Column, scale: _Scale, ends: tuple[int, int]) -> str:
    """Return steps over the shown days; one whose value is outside the drawing is left out."""
    by_key = {run.entry.run_key: run for run in history.runs}
    steps: list[str] = []
    for period, following in zip(history.champions, [*history.champions[1:], None], strict=True):
        measured = column.of(by_key[period.run_key]) if period.run_key in by_key else None
        begin, end = max(_day(period.as_of), ends[0]), _end(following, ends[1])
        if measured is None or measured.value is None or begin > end:
            continue
        if scale.low <= measured.value <= scale.high:
            steps.append(f"M{scale.x(begin)} {scale.y(measured.value)}H{scale.x(end)}")
    return "".join(steps)


def _end(following: ChampionPeriod | None, last: int) -> int:
    return last if following is None else min(_day(following.as_of), last)


def spark(history: History, column: Column) -> tuple[str, str] | None:
    """Return the path of a metric of the newest runs, and its words; None with fewer than two values."""
    found = [column.of(run) for run in history.runs[-SPARK_RUNS:]]
    values = [measured.value for measured in found if measured is not None and measured.value is not None]
    if len(values) < 2:
        return None
    low, span = min(values), (max(values) - min(values)) or 1.0
    step = (SPARK_WIDTH - 4) / (len(values) - 1)
    places = (
        f"{2 + step * n:.1f} {SPARK_HEIGHT - 3 - (value - low) / span * (SPARK_HEIGHT - 6):.1f}"
        for n, value in enumerate(values)
    )
    words = f"{len(values)} runs, from {number(values[0])} to {number(values[-1])}"
    return "M" + "L".join(places), words


def _day(as_of: str) -> int:
    return date.fromisoformat(as_of).toordinal()


def _iso(day: int) -> str:
    return date.fromordinal(day).isoformat()
