"""One day of the simulated shop: exposures, prices, user actions, and their true probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from mtl_tasks.simulation.settings import WORLD, Settings
from mtl_tasks.simulation.world import (
    DIMENSIONS,
    Codes,
    Floats,
    ItemTraits,
    UserTraits,
    make_item_traits,
    make_user_traits,
)

CHOICES: Final = 4  # items drawn by popularity, of which the shop shows the one with the highest guessed affinity
GUESS_NOISE: Final = 1.0  # sd of the error of the shop's guess of an affinity, whose own sd is 1
LEVEL: Final = 0.6  # weight of the user's and of the item's level, relative to their affinity
NOVELTY: Final = 1.0  # extra log weight of a new item; it decays over about two weeks
PROMOTED_DAYS: Final = 4  # per cycle; items with an odd cycle are never promoted
DISCOUNT: Final = 0.2
CART_RATE: Final = 0.20  # means over exposures on the first day, whatever correlation and noise are
PURCHASE_RATE: Final = 0.08
STARS: Final = (-1.3, -0.6, 0.2, 1.2)  # satisfaction at which 2, 3, 4 and 5 stars become likelier than not
DAY_US: Final = 86_400_000_000
# Share of a day's events by hour, UTC: quiet nights, busy evenings.
HOURS: Final = (2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 9, 8, 6, 4)


@dataclass(frozen=True)
class Rows:
    """Exposures in time order, with the truth about each; all arrays have one value per row."""

    users: Codes
    items: Codes
    time_us: NDArray[np.int64]
    cart: NDArray[np.bool_]
    purchase: NDArray[np.bool_]
    rating: NDArray[np.int8]
    rated: NDArray[np.bool_]
    price: NDArray[np.float64]
    promotion: NDArray[np.bool_]
    purchase_probability: Floats
    expected_rating: Floats


@dataclass(frozen=True)
class _Shelf:
    """The items of a day: cumulative popularity, price, and whether they are promoted."""

    popularity: NDArray[np.float64]
    price: NDArray[np.float64]
    promotion: NDArray[np.bool_]


class Shop:
    """A simulated shop, from which any block of any day can be drawn."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.user_traits: UserTraits = make_user_traits(settings)
        self.item_traits: ItemTraits = make_item_traits(settings)
        self._cart_level, self._purchase_level = self._levels()

    def users_on(self, day: int) -> int:
        """Return the number of users who have arrived by a day."""
        return int(np.searchsorted(self.user_traits.arrival, day, side="right"))

    def items_on(self, day: int) -> int:
        """Return the number of items that have arrived by a day."""
        return int(np.searchsorted(self.item_traits.arrival, day, side="right"))

    def shelf(self, day: int) -> _Shelf:
        """Return the items of a day."""
        there = slice(self.items_on(day))
        made = self.item_traits
        cycle, phase = made.cycle[there], made.phase[there]
        place = (day + (phase * cycle).astype(np.int32)) % cycle
        promotion = (place < PROMOTED_DAYS) & (cycle % 2 == 0)
        season = np.sin(2 * np.pi * (day / 90 + phase))
        age = day - made.arrival[there]
        novelty = np.where(made.arrival[there] > 0, NOVELTY * np.exp(-age / 14), 0)
        weight = np.exp(made.exposure[there] + made.swing[there] * season + novelty + 0.5 * promotion)
        price = made.list_price[there] * (1 + 0.05 * season) * np.where(promotion, 1 - DISCOUNT, 1)
        return _Shelf(np.cumsum(weight, dtype=np.float64), np.maximum(np.round(price, 2), 0.01), promotion)

    def draw(self, day: int, rng: np.random.Generator, shelf: _Shelf, first: int, count: int, total: int) -> Rows:
        """Draw rows ``first`` to ``first + count`` of a day that has ``total``."""
        time_us = _times(rng, first, count, total)
        users, items = self._exposures(day, rng, shelf, count)
        driver, satisfaction = self._drivers(day, users, items)
        cart_odds, buy_odds = self._odds(day, users, items, shelf, driver)
        carted, bought = expit(cart_odds + self._cart_level), expit(buy_odds + self._purchase_level)
        stars = self._stars(satisfaction)
        chance = rng.random((4, count), dtype=np.float32)
        cart = chance[0] < carted
        purchase = cart & (chance[1] < bought)
        # Whether a user rates depends on the expected rating, not on the rating itself, so that the expectation also
        # holds among the rated rows.
        rated = chance[2] < expit(np.float32(0.5) * satisfaction + np.where(purchase, 0.6, -5.5).astype(np.float32))
        return Rows(
            users=users,
            items=items,
            time_us=time_us,
            cart=cart,
            purchase=purchase,
            rating=np.asarray(1 + (chance[3] < stars).sum(axis=0), dtype=np.int8),
            rated=rated,
            price=shelf.price[items],
            promotion=shelf.promotion[items],
            purchase_probability=carted * bought,
            expected_rating=1 + stars.sum(axis=0),
        )

    def _exposures(self, day: int, rng: np.random.Generator, shelf: _Shelf, count: int) -> tuple[Codes, Codes]:
        """Draw users by activity, and for each the best of a few popular items by a noisy guess of the affinity."""
        users = _weighted(rng, self.user_traits.activity[: self.users_on(day)], count)
        offered = _weighted(rng, shelf.popularity, count * CHOICES).reshape(CHOICES, count)
        taste = self.user_traits.taste_on(day, users)
        guess = np.empty((CHOICES, count), dtype=np.float32)
        for choice, items in enumerate(offered):
            guess[choice] = _affinity(taste, self.item_traits.taste[items])
        guess += np.float32(GUESS_NOISE) * rng.standard_normal(guess.shape, dtype=np.float32)
        return users, np.take_along_axis(offered, guess.argmax(axis=0)[None], axis=0)[0]

    def _drivers(self, day: int, users: Codes, items: Codes) -> tuple[Floats, Floats]:
        """Return purchase driver and satisfaction, each with variance 1, with the correlation of the settings."""
        user_traits, item_traits = self.user_traits, self.item_traits
        scale = np.float32(1 / np.sqrt(1 + 2 * LEVEL**2))
        level = np.float32(LEVEL)
        affinity = _affinity(user_traits.taste_on(day, users), item_traits.taste[items])
        driver = scale * (affinity + level * (user_traits.keenness[users] + item_traits.appeal[items]))
        affinity = _affinity(user_traits.judgment[users], item_traits.judgment[items])
        own = scale * (affinity + level * (user_traits.mildness[users] + item_traits.quality[items]))
        correlation = self.settings.correlation
        shared, rest = np.float32(correlation), np.float32(np.sqrt(1 - correlation**2))
        return driver, shared * driver + rest * own

    def _odds(self, day: int, users: Codes, items: Codes, shelf: _Shelf, driver: Floats) -> tuple[Floats, Floats]:
        """Return the log-odds of the cart, and of the purchase from the cart, without their intercepts."""
        promotion = shelf.promotion[items].astype(np.float32)
        log_price = self.item_traits.relative_price[items] + np.float32(np.log(1 - DISCOUNT)) * promotion
        burden = self.user_traits.thrift[users] * log_price
        weekend = 0.15 * (day % 7 >= 5)
        noise = self.settings.noise
        cart = np.float32(1.1 / noise) * driver + np.float32(0.4 / noise) * (promotion - burden)
        buy = np.float32(0.6 / noise) * driver + np.float32(0.4 / noise) * (promotion - 2 * burden)
        return cart, buy + np.float32(weekend / noise)

    def _stars(self, satisfaction: Floats) -> Floats:
        """Return the probability (4, rows) of at least 2, 3, 4 and 5 stars: proportional odds in the satisfaction."""
        slope = np.float32(1.8 / self.settings.noise)
        return np.asarray(expit(slope * (satisfaction - np.array(STARS, dtype=np.float32)[:, None])))

    def _levels(self) -> tuple[np.float32, np.float32]:
        """Return the intercepts that give carts and purchases their target rates on the first day."""
        rng, shelf = self.settings.stream(WORLD + 2), self.shelf(0)
        users, items = self._exposures(0, rng, shelf, 20_000)
        cart, buy = self._odds(0, users, items, shelf, self._drivers(0, users, items)[0])
        cart_level = brentq(lambda level: expit(cart + level).mean() - CART_RATE, -100, 100)
        carted = expit(cart + cart_level)
        buy_level = brentq(lambda level: (carted * expit(buy + level)).mean() - PURCHASE_RATE, -100, 100)
        return np.float32(cart_level), np.float32(buy_level)


def _affinity(left: Floats, right: Floats) -> Floats:
    """Return row-wise inner products, scaled to variance 1 over random pairs."""
    return np.asarray(np.einsum("ij,ij->i", left, right)) * np.float32(1 / np.sqrt(DIMENSIONS))


def _weighted(rng: np.random.Generator, cumulative: NDArray[np.float64], count: int) -> NDArray[Any]:
    """Draw positions by weight. Sorted draws pass through the weights once; random ones would jump about in them."""
    drawn = np.sort(rng.random(count)) * cumulative[-1]
    place = np.minimum(np.searchsorted(cumulative, drawn, side="right"), len(cumulative) - 1).astype(np.int32)
    return rng.permutation(place)


def _times(rng: np.random.Generator, first: int, count: int, total: int) -> NDArray[np.int64]:
    """Return microseconds of the day, ascending; each block has its share of the day, so that blocks are in order."""
    share = (first + np.sort(rng.random(count)) * count) / total
    reached = np.concatenate([[0], np.cumsum(HOURS)]) / sum(HOURS)
    hours = np.interp(share, reached, np.arange(len(HOURS) + 1))
    return np.minimum((hours * (DAY_US / len(HOURS))).astype(np.int64), DAY_US - 1)
