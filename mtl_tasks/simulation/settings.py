"""What a simulation is asked for, checked, and how its events are spread over the days."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from mtl_tasks.core.errors import ConfigError

FIRST_DAY: Final = np.datetime64("2024-01-01", "D")  # a Monday
WEEK: Final = (90, 85, 90, 95, 110, 120, 110)  # events from Monday to Sunday, in per cent of the mean day
WORLD: Final = 1_000_000  # streams of random numbers from here on make the shop; those below are days
# The least and most of each number. The seed fills one 32-bit word: two longer ones could give the same stream.
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
    """What to simulate.

    Attributes
    ----------
    users, items
        People and articles there can be. Seven in ten are there on the first day; the others arrive later, some
        after the last day.
    days, events
        Days from 2024-01-01 on, and exposures in all of them. The total is exact over whole weeks; otherwise it
        differs by less than a day's events. More days at the same ``events / days`` continue a shorter simulation.
    seed
        Same settings and seed, same bytes.
    correlation
        Between what makes people buy and what makes them content.
    noise
        Scale of chance in what people do: at 1 the truth has an AUC of about .8; more of it, and it has less.

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
        """Refuse what cannot be simulated."""
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
        """Events of the days before ``day`` (0 is the first)."""
        weeks, rest = divmod(day, len(WEEK))
        return self.events * (weeks * sum(WEEK) + sum(WEEK[:rest])) // (100 * self.days)

    def rows_on(self, day: int) -> int:
        """Events of one day."""
        return self.rows_before(day + 1) - self.rows_before(day)

    def stream(self, number: int) -> np.random.Generator:
        """Random numbers of a day, or, from ``WORLD`` on, of a part of the shop."""
        return np.random.default_rng((self.seed, number))


def date_of(day: int) -> str:
    """ISO date of a day of the simulation."""
    return str(FIRST_DAY + day)
