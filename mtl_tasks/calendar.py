"""Days since 1970, and hour and weekday of a moment where the scenario is at home."""

from __future__ import annotations

from typing import Final

import pandas as pd

from mtl_tasks.columns import context
from mtl_tasks.conversion import zone_of
from mtl_tasks.scenario import Source

# In microseconds, as times are: pd.Timestamp(0) is in nanoseconds, which hold no year after 2262.
EPOCH: Final = pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")


def calendar(times: pd.Series, source: Source) -> dict[str, pd.Series]:
    """Return the columns ``context:hour`` (0 to 23) and ``context:weekday`` (Monday 0), float32, of times in UTC."""
    local = times.dt.tz_convert("UTC" if source.timezone is None else zone_of(source)).dt
    return {context("hour"): local.hour.astype("float32"), context("weekday"): local.day_of_week.astype("float32")}
