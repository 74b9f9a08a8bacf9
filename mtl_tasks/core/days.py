"""UTC days as integers since 1970-01-01, and calendar features in a named time zone."""

from __future__ import annotations

import zoneinfo
from typing import Final

import numpy as np
import pandas as pd

from mtl_tasks.core.columns import context
from mtl_tasks.core.errors import ConfigError

# In microseconds, like all times: nanoseconds, the unit of pd.Timestamp(0), end in 2262.
EPOCH: Final = pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")


def day_text(day: int) -> str:
    """ISO date of a day number."""
    return str(np.datetime64(int(day), "D"))


def zone_of(name: str | None) -> zoneinfo.ZoneInfo:
    """Return the time zone of a name, the scenario's ``source.timezone``.

    Raises
    ------
    ConfigError
        If there is no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"source.timezone: unknown zone {name!r}, give one like Europe/Paris") from None


def calendar(times: pd.Series, zone: str | None) -> dict[str, pd.Series]:
    """Return the columns ``context:hour`` (0 to 23) and ``context:weekday`` (Monday is 0), float32, of UTC times.

    Parameters
    ----------
    zone
        Name of the time zone of hour and weekday; None: UTC.
    """
    local = times.dt.tz_convert("UTC" if zone is None else zone_of(zone)).dt
    return {context("hour"): local.hour.astype("float32"), context("weekday"): local.day_of_week.astype("float32")}
