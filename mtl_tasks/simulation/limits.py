"""Bayes limits of a simulated log: metrics of the truth itself, which no model exceeds on average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.simulation.files import EXPECTED, PROBABILITY, PURCHASE, RATING, part

METRICS: Final = {"purchase": ("auc", "log_loss"), "rating": ("rmse",)}
_READ: Final = {"events": [PURCHASE, RATING], "truth": [PROBABILITY, EXPECTED]}


def bayes_limits(folder: Path, first: str, last: str) -> dict[str, dict[str, float]]:
    """Return the metrics of the truth on the rows of some days.

    Parameters
    ----------
    folder
        As :func:`mtl_tasks.simulation.simulate` wrote it.
    first, last
        ISO dates, both inclusive.

    Returns
    -------
    dict
        ``{"purchase": {"auc", "log_loss", "rows"}, "rating": {"rmse", "rows"}}``.

    Raises
    ------
    DataError
        If a day is not in the simulation.
    """
    days = [str(day) for day in np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 1)]
    events, truth = (_read(folder, kind, days, names) for kind, names in _READ.items())
    purchase, probability = (column.to_numpy().astype(np.float64) for column in (events[PURCHASE], truth[PROBABILITY]))
    rated = events[RATING].is_valid()
    rating, expected = (c.filter(rated).to_numpy().astype(np.float64) for c in (events[RATING], truth[EXPECTED]))
    pairs = {"purchase": (purchase, probability), "rating": (rating, expected)}
    return {
        task: {metric: compute(metric, *pairs[task]) for metric in metrics} | {"rows": len(pairs[task][0])}
        for task, metrics in METRICS.items()
    }


def describe(folder: Path) -> str:
    """Return a few lines on the content of a simulation and the limits on its last week."""
    made = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    counts = {name: f"{count:,}" for name, count in made["counts"].items()}
    last = np.datetime64(made["last_day"], "D")
    first = max(last - 6, np.datetime64(made["first_day"], "D"))
    limits = bayes_limits(folder, str(first), str(last))
    purchase, rating = limits["purchase"], limits["rating"]
    return (
        f"{folder}: {counts['events']} exposures from {made['first_day']} to {made['last_day']}, of "
        f"{counts['items']} items to {counts['users']} users\n"
        f"  {counts['carts']} carts, {counts['purchases']} purchases, {counts['ratings']} ratings\n"
        f"  limits on {first} to {last}: purchase AUC {purchase['auc']:.4f}, log loss {purchase['log_loss']:.4f}; "
        f"rating RMSE {rating['rmse']:.4f}"
    )


def _read(folder: Path, kind: str, days: list[str], names: list[str]) -> pa.Table:
    paths = [part(folder, kind, day) for day in days]
    missing = [day for day, path in zip(days, paths, strict=True) if not path.is_file()]
    if missing or not days:
        asked = f"{len(missing)} of {len(days)} days, the first {missing[0]}" if missing else "no day was asked for"
        raise DataError(f"{folder}: {kind}: not in the simulation: {asked}: choose days that simulation.json covers")
    return pa.concat_tables([pq.ParquetFile(path).read(columns=names) for path in paths])
