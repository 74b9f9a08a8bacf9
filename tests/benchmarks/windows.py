"""Counts and means of the last 7 and 28 days per user and per item, in several ways, for the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.features.running_sums import KeySpace, RunningSums, Timeline
from tests.benchmarks.aggregates import DailySums

LENGTHS: Final = (7, 28)
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Events:
    """Coded events or rows, ordered by day."""

    keys: dict[str, NDArray[np.int64]]
    days: NDArray[np.int64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, frame: pd.DataFrame, value: str) -> Events:
        """Ids of the simulator are small numbers, and serve as codes."""
        ordered = frame.sort_values(columns.DAY, kind="stable")
        keys = {side: ordered[side].to_numpy(dtype=np.int64) for side in (columns.USER, columns.ITEM)}
        return cls(keys, ordered[columns.DAY].to_numpy(dtype=np.int64), ordered[value].to_numpy(dtype=np.float64))

    def frame(self, side: str) -> dict[str, NDArray[Any]]:
        """Key, day and value as columns."""
        return {"key": self.keys[side], "day": self.days, "value": self.value}


def ours(events: Events, rows: Events) -> Columns:
    """Days taken in one after the other, as the features are made."""
    made: Columns = {}
    for side in events.keys:
        size = int(max(events.keys[side].max(), rows.keys[side].max())) + 1
        sums = RunningSums(KeySpace({side: size}), ("value",), LENGTHS)
        past, wanted = Timeline(events.days), Timeline(rows.days)
        for day, place in wanted.until(int(rows.days[-1]) + 1):
            for then, part in past.until(day):
                sums.advance(then)
                sums.add(then, events.keys[side][part], {"value": events.value[part]})
            sums.advance(day)
            for length in LENGTHS:
                found = sums.last(rows.keys[side][place], length)
                for name, values in (
                    (f"{side}.count_{length}", found.count),
                    (f"{side}.mean_{length}", found.mean("value")),
                ):
                    made.setdefault(name, np.empty(len(rows.days)))[place] = values
    return made


def numpy(events: Events, rows: Events) -> Columns:
    """Sort, cumulate, search."""
    made: Columns = {}
    for side in events.keys:
        sums = DailySums(events.keys[side], events.days, {"value": events.value})
        for length in LENGTHS:
            found = sums.between(rows.keys[side], rows.days - length, rows.days)
            made |= {f"{side}.count_{length}": found.count, f"{side}.mean_{length}": found.mean("value")}
    return made


def polars(events: Events, rows: Events) -> Columns:
    """Daily sums by key, rolled by day, joined to the rows."""
    import polars as pl

    made: Columns = {}
    for side in events.keys:
        daily = (
            pl.DataFrame(events.frame(side))
            .group_by("key", "day")
            .agg(pl.len().alias("count"), pl.col("value").sum())
            .with_columns(kind=0)
        )
        asked = pl.DataFrame({"key": rows.keys[side], "day": rows.days}).unique().with_columns(kind=1)
        both = pl.concat([daily, asked], how="diagonal").sort("key", "day")
        for length in LENGTHS:
            rolled = both.rolling("day", period=f"{length}i", group_by="key", closed="left").agg(
                pl.col("count").sum().alias("n"), pl.col("value").sum().alias("total")
            )
            found = rolled.unique(["key", "day"])
            joined = pl.DataFrame({"key": rows.keys[side], "day": rows.days}).join(found, on=["key", "day"], how="left")
            count = joined["n"].fill_null(0).to_numpy()
            made |= {f"{side}.count_{length}": count, f"{side}.mean_{length}": _mean(joined["total"].to_numpy(), count)}
    return made


def duckdb(events: Events, rows: Events) -> Columns:
    """Daily sums by key, a window of days over them and the rows' keys, joined to the rows."""
    import duckdb as database

    made: Columns = {}
    with database.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute("SET enable_progress_bar = false")  # it is written among the results
        for side in events.keys:
            log = pd.DataFrame(events.frame(side))
            asked = pd.DataFrame({"key": rows.keys[side], "day": rows.days, "place": np.arange(len(rows.days))})
            connection.register("log", log)
            connection.register("asked", asked)
            for length in LENGTHS:
                found = connection.execute(
                    """
                    WITH daily AS (SELECT key, day, count(*) AS n, sum(value) AS total FROM log GROUP BY ALL),
                    days AS (SELECT DISTINCT key, day FROM asked),
                    points AS (
                        SELECT key, day, n, total FROM daily
                        UNION ALL SELECT key, day, 0, 0 FROM days ANTI JOIN daily USING (key, day)
                    ),
                    rolled AS (
                        SELECT key, day, sum(n) OVER recent AS n, sum(total) OVER recent AS total FROM points
                        WINDOW recent AS (PARTITION BY key ORDER BY day
                                          RANGE BETWEEN $days PRECEDING AND 1 PRECEDING)
                    )
                    SELECT n, total FROM asked LEFT JOIN rolled USING (key, day) ORDER BY place
                    """,
                    {"days": length},
                ).fetchnumpy()
                count = np.ma.filled(found["n"].astype(np.float64), 0.0)
                total = np.ma.filled(found["total"].astype(np.float64), 0.0)
                made |= {f"{side}.count_{length}": count, f"{side}.mean_{length}": _mean(total, count)}
    return made


def pandas(events: Events, rows: Events) -> Columns:
    """``groupby.rolling`` over the days."""
    made: Columns = {}
    for side in events.keys:
        log = pd.DataFrame({**events.frame(side), "row": -1})
        asked = pd.DataFrame(
            {"key": rows.keys[side], "day": rows.days, "value": np.nan, "row": np.arange(len(rows.days))}
        )
        both = pd.concat([log, asked]).sort_values(["key", "day"], kind="stable", ignore_index=True)
        both["time"] = pd.to_datetime(both["day"], unit="D")
        for length in LENGTHS:
            rolled = both.groupby("key").rolling(f"{length}D", on="time", closed="left")["value"]
            for name, values in (("count", rolled.count()), ("mean", rolled.mean())):
                found = both.assign(found=values.to_numpy()).query("row >= 0").sort_values("row")["found"]
                made[f"{side}.{name}_{length}"] = found.fillna(0).to_numpy() if name == "count" else found.to_numpy()
    return made


def _mean(total: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


WAYS: Final[dict[str, Callable[[Events, Events], Columns]]] = {
    "running sums": ours,
    "numpy": numpy,
    "polars": polars,
    "duckdb": duckdb,
    "pandas": pandas,
}
