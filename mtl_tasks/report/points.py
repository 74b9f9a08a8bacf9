"""Points of the chart of a metric over time; they need no drawing library."""

from __future__ import annotations

from typing import NamedTuple


class RunPoint(NamedTuple):
    """A run's value of a metric, with its interval and the run's standing; what is unknown is None."""

    as_of: str
    standing: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


class ChampionPoint(NamedTuple):
    """The value of the champion from a day on."""

    as_of: str
    value: float | None
