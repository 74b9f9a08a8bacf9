"""Random logs in memory, in canonical form, small enough to fit factors on in milliseconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtl_tasks import columns
from mtl_tasks.features.build import Tables
from mtl_tasks.scenario import Scenario
from tests.logs import tiny_scenario

FIRST = 15_800  # UTC day of the first event; 15_804 is a refresh day, as 15_800 + 4 is divisible by 3
START = FIRST + 6  # first day of the train window
END = FIRST + 14  # as_of
USERS, ITEMS = 12, 10
GENRES = ("Comedy", "Drama", "War")


class Event(NamedTuple):
    """One interaction; ``rating`` and ``like`` may be NaN."""

    user: int
    item: int
    day: int
    rating: float
    like: float


def world_scenario(**settings: Any) -> Scenario:
    """Return the tiny scenario with factors of a few dimensions, raw ones too, and new items every three days."""
    factors = {
        "dimensions": 4,
        "iterations": 2,
        "rating_dimensions": 3,
        "rating_iterations": 2,
        "rating_regularization": 1.0,
        "refresh_days": 3,
    }
    features = {"raw_factors": True, **settings.pop("features", {})}
    return tiny_scenario(factors=factors, features=features, **settings)


def random_events(rng: np.random.Generator, count: int = 120) -> list[Event]:
    """Draw events with even ids; their order is that of a log: by nothing in particular."""
    return [
        Event(
            user=100 + 2 * int(rng.integers(USERS)),
            item=10 + 2 * int(rng.integers(ITEMS)),
            day=FIRST + int(rng.integers(END - FIRST)),
            rating=float(rng.integers(0, 11)) if rng.random() < 0.8 else float("nan"),
            like=float(rng.integers(2)),
        )
        for _ in range(count)
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
        }
    )


def item_table(codes: list[int], *, text: bool = False) -> pd.DataFrame:
    """Return an item table with a year and one to three genres an item."""
    series = pd.Series(codes, dtype="int64")
    return pd.DataFrame(
        {
            columns.ITEM: ids(series, text),
            columns.TITLE: [f"Film {code}" for code in codes],
            "year": np.array([1990 + code for code in codes], dtype=np.float32),
            "genres": ["|".join(GENRES[place] for place in range(3) if (code // 2) >> place & 1) for code in codes],
        }
    ).astype({"genres": "str", columns.TITLE: "str"})


def tables(items: pd.DataFrame) -> Tables:
    """Return an item table with no table of users beside it."""
    return Tables(pd.DataFrame({columns.USER: pd.Series([], dtype="int64")}), items)


def random_rows(rng: np.random.Generator, count: int, *, text: bool = False) -> pd.DataFrame:
    """Draw rows from the first day of train to the day of serving, known and unknown users and items among them."""
    users = pd.Series(100 + 2 * rng.integers(USERS + 2, size=count))
    items = pd.Series(10 + 2 * rng.integers(ITEMS + 2, size=count))
    days = rng.integers(START, END + 1, size=count).astype(np.int32)
    return pd.DataFrame({columns.USER: ids(users, text), columns.ITEM: ids(items, text), columns.DAY: days})


def ids(codes: pd.Series, text: bool) -> pd.Series:
    """Return ids as integers, or as texts of several lengths that sort otherwise than the integers."""
    return codes.map("id-{}".format).astype("str") if text else codes.astype("int64")
