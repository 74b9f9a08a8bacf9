"""A tiny valid log on disk, for tests to read as it is or to spoil in one way."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtl_tasks.data.files import FileLog, SourceFile, list_tables
from mtl_tasks.scenario import Scenario, parse_scenario

FIRST_DAY = pd.Timestamp("2013-05-01", tz="UTC")
DAYS = 6
AS_OF = FIRST_DAY + pd.Timedelta(days=DAYS)
AS_OF_DAY = (AS_OF - pd.Timestamp(0, tz="UTC")).days
USERS, ITEMS = 10, 8

DOCUMENT: dict[str, Any] = {
    "name": "tiny",
    "title": "A tiny log",
    "source": {
        "events": "log",
        "columns": {"user": "person", "item": "film", "time": "seen_at"},
        "items": {
            "path": "films.parquet",
            "id": "film",
            "title": "name",
            "numeric": {"year": "year"},
            "multi": {"genres": "genres"},
        },
    },
    "tasks": {
        "rating": {"kind": "regression", "label": "stars", "range": [0, 10]},
        "like": {"kind": "binary", "label": "liked", "negatives": {"how": "logged"}},
        "purchase": {"kind": "binary", "negatives": {"how": "sampled"}},
    },
    "windows": {"train": 2, "tune": 1, "blend": 1, "test": 1, "min_history": 1},
    "validation": {"max_bad_fraction": 0.1},
    "gate": {"absolute": [{"task": "rating", "metric": "rmse", "max": 5}]},
}


def tiny_scenario(**settings: Any) -> Scenario:
    """Return the scenario of the tiny log; ``source__format="csv"`` sets ``source.format``, None removes a key."""
    document = copy.deepcopy(DOCUMENT)
    for name, value in settings.items():
        *parents, leaf = name.split("__")
        section = document
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[leaf]
        else:
            section[leaf] = value
    return parse_scenario(document, where="include/scenarios/tiny.yaml")


def tiny_log() -> pd.DataFrame:
    """Return the log's rows: every user meets one item an hour from noon, 10 rows a day, ordered by time."""
    day, user = (part.ravel() for part in np.mgrid[0:DAYS, 0:USERS])
    time = FIRST_DAY + pd.to_timedelta(24 * 60 * day + 12 * 60 + user, unit="min")
    return pd.DataFrame(
        {
            "person": 100 + user,
            "film": 1 + (day + user) % ITEMS,
            "seen_at": time.astype("datetime64[us, UTC]"),
            "stars": (day * 3 + user) % 11,
            "liked": (day + user) % 2,
        }
    )


def tiny_items() -> pd.DataFrame:
    """Return the item table."""
    ids = np.arange(1, ITEMS + 1)
    genres = np.where(ids % 2 == 0, "Drama|War", "Comedy")
    return pd.DataFrame({"film": ids, "name": [f"Film {n}" for n in ids], "year": 1990.0 + ids, "genres": genres})


def list_sources(scenario: Scenario, root: Path, as_of_day: int) -> list[SourceFile]:
    """Return the files that a run of a log in files reads: the log's and those of the tables beside it."""
    return [*FileLog(scenario, root).list_days(as_of_day), *list_tables(scenario, root)]


def write_log(root: Path, rows: pd.DataFrame | None = None, items: pd.DataFrame | None = None) -> None:
    """Write ``log/dt=YYYY-MM-DD/part-0.parquet`` and ``films.parquet`` under ``root``."""
    rows = tiny_log() if rows is None else rows
    for day, part in rows.groupby(rows["seen_at"].dt.strftime("%Y-%m-%d")):
        write_partition(root, str(day), part)
    (tiny_items() if items is None else items).to_parquet(root / "films.parquet", index=False)


def write_partition(root: Path, day: str, rows: pd.DataFrame) -> Path:
    """Write one day's file, whatever the rows' times are, and return its path."""
    folder = root / "log" / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "part-0.parquet", index=False)
    return folder / "part-0.parquet"
