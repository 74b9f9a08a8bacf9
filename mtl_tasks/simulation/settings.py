"""Validated settings of a simulation, and the distribution of its events over days."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from mtl_tasks.core.errors import ConfigError

FIRST_DAY: Final = np.datetime64("2024-01-01", "D")  # a Monday
WEEK: Final = (90, 85, 90, 95, 110, 120, 110)  # events from Monday to Sunday, in per cent of the mean day
WORLD: Final = 1_000_000  # random streams from here on make the shop; lower ones are days
# Minimum and maximum of each number. The seed fills one 32-bit word: two longer ones could give the same stream.
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "users": (10, 100_000_000),
    "items": (10, 10_000_000),
    "days": (1, 3_650),
    "events": (1, 100_000_000_000),
    "seed": (0, 2**32 - 1),
    "correlation": (-1, 1),
    "noise": (0.1, 10),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a simulation.

    Attributes
    ----------
    users, items
        Numbers of users and items that can arrive. Seven in ten are there on the first day; the others arrive later,
        some after the last day.
    days, events
        Days from 2024-01-01 on, and exposures over all of them. The total is exact over whole weeks; otherwise it
        differs by less than a day's events. More days at the same ``events / days`` continue a shorter simulation.
    seed
        The same settings and seed give the same bytes.
    correlation
        Between the purchase driver and the satisfaction.
    noise
        Scale of randomness in user actions: at 1 the truth has an AUC of about 0.8; more noise lowers it.

    Raises
    ------
    ConfigError
        If a number is out of its limits, or there are fewer events than users or days.
    """

    users: int
    items: int
    days: int
    events: int
    seed: int = 1
    correlation: float = 0.5
    noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be simulated."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"simulate: --{name} is {value:,}, it must be from {low:,} to {high:,}: change it")
        for name in ("users", "days"):
            if self.events < getattr(self, name):
                raise ConfigError(
                    f"simulate: --events is {self.events:,}, fewer than --{name}, {getattr(self, name):,}: "
                    f"raise --events or lower --{name}"
                )

    def rows_before(self, day: int) -> int:
        """Return the number of events on the days before ``day`` (0 is the first)."""
        weeks, rest = divmod(day, len(WEEK))
        return self.events * (weeks * sum(WEEK) + sum(WEEK[:rest])) // (100 * self.days)

    def rows_on(self, day: int) -> int:
        """Return the number of events on a day."""
        return self.rows_before(day + 1) - self.rows_before(day)

    def stream(self, number: int) -> np.random.Generator:
        """Return the random generator of a day, or, from ``WORLD`` on, of a part of the shop."""
        return np.random.default_rng((self.seed, number))


def date_of(day: int) -> str:
    """Return the ISO date of a day of the simulation."""
    return str(FIRST_DAY + day)
