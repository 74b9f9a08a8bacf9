"""Hour and weekday of a moment where the scenario is at home."""

from __future__ import annotations

import pandas as pd

from mtl_tasks.columns import context
from mtl_tasks.conversion import zone_of
from mtl_tasks.scenario import Source


def calendar(times: pd.Series, source: Source) -> dict[str, pd.Series]:
    """Return the columns ``context:hour`` (0 to 23) and ``context:weekday`` (Monday 0), float32, of times in UTC."""
    local = times.dt.tz_convert("UTC" if source.timezone is None else zone_of(source)).dt
    return {context("hour"): local.hour.astype("float32"), context("weekday"): local.day_of_week.astype("float32")}
