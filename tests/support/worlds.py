"""Random logs in memory, in canonical form, small enough to fit factors on in milliseconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.features.builder import FactorModels, Tables, fit_factor_models
from mtl_tasks.features.content import fit_content
from mtl_tasks.scenario import Scenario
from tests.support.logs import tiny_scenario

FIRST = 15_800  # UTC day of the first event; 15_804 is a refresh day, as 15_800 + 4 is divisible by 3
START = FIRST + 6  # first day of the train window
END = FIRST + 14  # as_of
USERS, ITEMS = 12, 10
GENRES = ("Comedy", "Drama", "War")
WORDS = ("a harbor", "night train", "the island", "snow", "two brothers", "letters", "winter")


# Settings of a scenario that has all that a log can tell beside users, items, times and labels.
RICH: dict[str, Any] = {
    "source__users": {
        "path": "people.parquet",
        "id": "person",
        "numeric": {"fans": "fans"},
        "categorical": {"segment": "segment"},
        "times": {"joined": "joined"},
        "valid_from": "since",
    },
    "source__context": {"numeric": {"price": "price"}, "categorical": {"tab": "tab"}, "serve": {"tab": "user"}},
    "source__items__text": "plot",
    "source__items__vectors": "embedding",
    "source__signals": {"cart": "cart"},
    "factors__signals": {"like": 1.0, "cart": 0.5},
}


class Event(NamedTuple):
    """One interaction; ``rating`` and ``like`` may be NaN, ``tab`` missing."""

    user: int
    item: int
    day: int
    rating: float
    like: float
    tab: str = ""
    cart: float = 0.0


def world_scenario(**settings: Any) -> Scenario:
    """Return the tiny scenario with factors of a few dimensions, raw ones too, and new items every three days."""
    factors: dict[str, Any] = {
        "dimensions": 4,
        "iterations": 2,
        "rating_dimensions": 3,
        "rating_iterations": 2,
        "rating_regularization": 1.0,
        "refresh_days": 3,
    }
    for name in [name for name in settings if name.startswith("factors__")]:
        factors[name.removeprefix("factors__")] = settings.pop(name)
    features = {"raw_factors": True, "text": {"dimensions": 3}, **settings.pop("features", {})}
    return tiny_scenario(factors=factors, features=features, **settings)


def random_events(rng: np.random.Generator, count: int = 120) -> list[Event]:
    """Draw events with even ids; their order is that of a log: by nothing in particular."""
    events = [
        Event(
            user=100 + 2 * int(rng.integers(USERS)),
            item=10 + 2 * int(rng.integers(ITEMS)),
            day=FIRST + int(rng.integers(END - FIRST)),
            rating=float(rng.integers(0, 11)) if rng.random() < 0.8 else float("nan"),
            like=float(rng.integers(2)),
        )
        for _ in range(count)
    ]
    return [
        event._replace(tab=("", "home", "search")[place % 3], cart=float(place % 5 == 0))
        for place, event in enumerate(events)
    ]


def canonical(events: list[Event], *, text: bool = False) -> pd.DataFrame:
    """Return events as the stage ``validate`` would publish them."""
    frame = pd.DataFrame(events, columns=list(Event._fields))
    day = frame["day"].to_numpy()
    return pd.DataFrame(
        {
            columns.USER: ids(frame["user"], text),
            columns.ITEM: ids(frame["item"], text),
            columns.TIME: pd.to_datetime(day * 86_400 + 43_200, unit="s", utc=True).astype("datetime64[us, UTC]"),
            columns.DAY: day.astype(np.int32),
            columns.label("rating"): frame["rating"].to_numpy(dtype=np.float32),
            columns.label("like"): frame["like"].to_numpy(dtype=np.float32),
            columns.label("cart"): frame["cart"].to_numpy(dtype=np.float32),
            columns.context("tab"): frame["tab"].where(frame["tab"] != "").astype("category"),
            columns.context("price"): frame["cart"].to_numpy(dtype=np.float32) + 1,
        }
    )


def item_table(codes: list[int], *, text: bool = False) -> pd.DataFrame:
    """Return an item table with a year, one to three genres, a text and a vector of four numbers an item.

    The text and the vector of an item depend on its code alone, and every fifth item has neither.
    """
    series = pd.Series(codes, dtype="int64")
    plots = ["" if code % 5 == 0 else " ".join(WORDS[code % n] for n in (2, 3, 5, 7)) for code in codes]
    vectors = np.array([np.sin(code * np.arange(1.0, 5.0)) for code in codes]).reshape(-1, 4)
    vectors[[code % 5 == 0 for code in codes]] = np.nan
    return pd.DataFrame(
        {
            columns.ITEM: ids(series, text),
            columns.TITLE: [f"Film {code}" for code in codes],
            "year": np.array([1990 + code for code in codes], dtype=np.float32),
            "genres": ["|".join(GENRES[place] for place in range(3) if (code // 2) >> place & 1) for code in codes],
            columns.TEXT: plots,
            **{columns.vector(axis): vectors[:, axis].astype(np.float32) for axis in range(4)},
        }
    ).astype({"genres": "str", columns.TITLE: "str", columns.TEXT: "str"})


def fit_all(events: pd.DataFrame, items: pd.DataFrame, scenario: Scenario, start: int, end: int) -> FactorModels:
    """Return the factor models and the projections of contents, as the stage ``factors`` fits them."""
    return fit_factor_models(events, scenario, start, end) | fit_content(items, events, scenario, start)


def tables(items: pd.DataFrame) -> Tables:
    """Return an item table with no table of users beside it."""
    return Tables(pd.DataFrame({columns.USER: pd.Series([], dtype="int64")}), items)


def user_versions(rng: np.random.Generator, *, text: bool = False) -> pd.DataFrame:
    """Return a table of users with three versions each, in the course of the log."""
    codes = pd.Series(np.repeat(100 + 2 * np.arange(USERS), 3))
    since = np.sort(rng.integers((FIRST - 5) * 24, (END + 3) * 24, size=(USERS, 3)), axis=1).ravel()
    since += np.tile(np.arange(3), USERS)  # no two at one time
    return pd.DataFrame(
        {
            columns.USER: ids(codes, text),
            "fans": rng.integers(100, size=len(codes)).astype(np.float32),
            "segment": rng.choice(["new", "old", ""], size=len(codes)),
            "joined": pd.to_datetime(rng.integers(FIRST, END, size=len(codes)), unit="D", utc=True),
            columns.VALID: pd.to_datetime(since, unit="h", utc=True).astype("datetime64[us, UTC]"),
        }
    ).sort_values([columns.USER, columns.VALID], ignore_index=True)


def random_rows(rng: np.random.Generator, count: int, *, text: bool = False) -> pd.DataFrame:
    """Draw rows from the first day of train to the day of serving, known and unknown users and items among them."""
    users = pd.Series(100 + 2 * rng.integers(USERS + 2, size=count))
    items = pd.Series(10 + 2 * rng.integers(ITEMS + 2, size=count))
    days = rng.integers(START, END + 1, size=count).astype(np.int32)
    tabs = pd.Categorical([("home", "search", "feed", None)[place % 4] for place in range(count)])
    return pd.DataFrame(
        {
            columns.USER: ids(users, text),
            columns.ITEM: ids(items, text),
            columns.DAY: days,
            columns.context("tab"): tabs,
            columns.context("price"): np.arange(count, dtype=np.float32),
        }
    )


def ids(codes: pd.Series, text: bool) -> pd.Series:
    """Return ids as integers, or as texts of several lengths that sort otherwise than the integers."""
    return codes.map("id-{}".format).astype("str") if text else codes.astype("int64")
