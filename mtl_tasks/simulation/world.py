"""Users and items of the simulated shop: hidden factors, and attributes that reveal a part of them.

Both are ordered by arrival day, so that those present on a day are a prefix, and an id reveals nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.simulation.settings import WORLD, Settings

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

CATEGORIES: Final = (
    "audio", "beauty", "books", "fashion", "garden", "kitchen", "pets", "phones", "shoes", "sports", "tools", "toys",
)  # fmt: skip
SEGMENTS: Final = ("bargain", "classic", "family", "outdoor", "tech", "trend")
AGE_GROUPS: Final = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
PRICE_BANDS: Final = ("very low", "low", "middle", "high", "very high")
DIMENSIONS: Final = 4  # of a taste
FROM_THE_START: Final = 0.7  # share of users and items that are there on the first day
MEAN_WAIT: Final = 60.0  # mean days until the others arrive; fixed, so that more days continue a shorter simulation
GROUPED: Final = 0.6  # share of a taste's variance that segment or category explains
MISLABELED: Final = 0.05  # share of segments and categories that are recorded wrongly
QUARTER_TURN: Final = 180  # days in which a taste turns into another


@dataclass(frozen=True)
class UserTraits:
    """All users who may ever arrive.

    ``taste`` and ``later_taste`` (N, DIMENSIONS) are their tastes on the first day and a quarter turn later;
    ``judgment`` is what satisfies them beyond taste. ``keenness``, ``mildness`` and ``thrift`` are user levels of
    buying, rating and price sensitivity. ``activity`` is cumulative.
    """

    arrival: NDArray[np.int32]
    taste: Floats
    later_taste: Floats
    judgment: Floats
    keenness: Floats
    mildness: Floats
    thrift: Floats
    activity: NDArray[np.float64]
    segment: NDArray[np.int8]
    age_group: NDArray[np.int8]

    def taste_on(self, day: int, users: Codes) -> Floats:
        """Return the tastes (users, DIMENSIONS) on a day: each turns slowly toward ``later_taste``."""
        angle = np.pi / 2 * day / QUARTER_TURN
        turned = np.float32(np.cos(angle)) * self.taste[users]
        turned += np.float32(np.sin(angle)) * self.later_taste[users]
        return turned


@dataclass(frozen=True)
class ItemTraits:
    """All items that may ever arrive; ``appeal`` and ``quality`` are item levels of being bought and of satisfying.

    ``exposure`` is the log weight of an item among exposures, before its changes by day.
    """

    arrival: NDArray[np.int32]
    taste: Floats
    judgment: Floats
    appeal: Floats
    quality: Floats
    exposure: Floats
    swing: Floats
    phase: Floats
    list_price: NDArray[np.float64]
    relative_price: Floats
    cycle: NDArray[np.int32]
    category: NDArray[np.int8]
    brand: NDArray[np.int32]

    @property
    def price_band(self) -> NDArray[np.int8]:
        """Quintile of the item's list price, from 0."""
        edges = np.quantile(self.list_price, [0.2, 0.4, 0.6, 0.8])
        return np.searchsorted(edges, self.list_price, side="right").astype(np.int8)


def make_user_traits(settings: Settings) -> UserTraits:
    """Draw the users of a simulation."""
    rng, count = settings.stream(WORLD), settings.users
    segment = rng.integers(len(SEGMENTS), size=count, dtype=np.int8)
    keenness, thrift = _normal(rng, count), _normal(rng, count)
    age = 0.7 * thrift + 0.4 * keenness + 0.6 * _normal(rng, count)
    return UserTraits(
        arrival=_arrivals(rng, count),
        taste=_grouped(rng, segment, len(SEGMENTS)),
        later_taste=_grouped(rng, segment, len(SEGMENTS)),
        judgment=_grouped(rng, segment, len(SEGMENTS)),
        keenness=keenness,
        mildness=_normal(rng, count),
        thrift=np.exp(np.float32(0.5) * thrift),
        activity=np.cumsum(np.exp(_normal(rng, count)), dtype=np.float64),
        segment=_mislabeled(rng, segment, len(SEGMENTS)),
        age_group=np.digitize(age, [-1.0, -0.4, 0.1, 0.6, 1.2]).astype(np.int8),
    )


def make_item_traits(settings: Settings) -> ItemTraits:
    """Draw the items of a simulation."""
    rng, count = settings.stream(WORLD + 1), settings.items
    category = rng.choice(len(CATEGORIES), count, p=_zipf(len(CATEGORIES), 0.6)).astype(np.int8)
    brands = max(5, min(500, count // 20))
    brand = rng.choice(brands, count, p=_zipf(brands, 0.8)).astype(np.int32)
    appeal = np.float32(0.6) * _normal(rng, brands)[brand] + np.float32(0.8) * _normal(rng, count)
    quality = np.float32(0.6) * _normal(rng, brands)[brand] + np.float32(0.8) * _normal(rng, count)
    relative_price = np.float32(0.3) * quality + np.float32(0.4) * _normal(rng, count)
    typical = np.exp(3.0 + 0.7 * rng.standard_normal(len(CATEGORIES)))
    return ItemTraits(
        arrival=_arrivals(rng, count),
        taste=_grouped(rng, category, len(CATEGORIES)),
        judgment=_grouped(rng, category, len(CATEGORIES)),
        appeal=appeal,
        quality=quality,
        exposure=_exposure(rng, appeal),
        swing=np.abs(np.float32(0.5) * _normal(rng, count)),
        phase=rng.random(count, dtype=np.float32),
        list_price=np.round(typical[category] * np.exp(relative_price.astype(np.float64)), 2),
        relative_price=relative_price,
        cycle=rng.integers(14, 57, size=count, dtype=np.int32),
        category=_mislabeled(rng, category, len(CATEGORIES)),
        brand=brand,
    )


def _normal(rng: np.random.Generator, size: int | tuple[int, int]) -> Floats:
    return rng.standard_normal(size, dtype=np.float32)


def _arrivals(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    later = rng.random(count) >= FROM_THE_START
    wait = rng.exponential(MEAN_WAIT, count)
    return np.sort(np.where(later, 1 + wait, 0).astype(np.int32))


def _grouped(rng: np.random.Generator, group: NDArray[np.int8], groups: int) -> Floats:
    """Draw standard normal vectors that share a part within each group."""
    common = np.sqrt(GROUPED) * _normal(rng, (groups, DIMENSIONS))
    own = _normal(rng, (len(group), DIMENSIONS))
    own *= np.float32(np.sqrt(1 - GROUPED))
    own += common.astype(np.float32)[group]
    return own


def _mislabeled(rng: np.random.Generator, group: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    wrong = rng.random(len(group)) < MISLABELED
    return np.where(wrong, rng.integers(groups, size=len(group), dtype=np.int8), group)


def _zipf(count: int, power: float) -> NDArray[Any]:
    weight = np.arange(1, count + 1, dtype=np.float64) ** -power
    return np.asarray(weight / weight.sum())


def _exposure(rng: np.random.Generator, appeal: Floats) -> Floats:
    """Draw log weights that follow Zipf's law over a ranking influenced by appeal."""
    rank = np.empty(len(appeal), dtype=np.int64)
    rank[np.argsort(-(appeal + _normal(rng, len(appeal))))] = np.arange(len(appeal))
    return np.asarray(-0.9 * np.log(rank + 5.0), dtype=np.float32)
