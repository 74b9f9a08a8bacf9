"""UTC days as integers since 1970-01-01, the day of a run, and calendar features in a named time zone."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mtl_tasks.core.columns import context
from mtl_tasks.core.errors import ConfigError

# In microseconds, like all times: nanoseconds, the unit of pd.Timestamp(0), end in 2262.
EPOCH: Final = pd.Timestamp("1970-01-01", tz="UTC").as_unit("us")
EARLIEST: Final = "1900-01-01"  # minus the longest windows, still a valid timestamp in ns


@dataclass(frozen=True, order=True)
class AsOf:
    """The UTC midnight at or after which a run knows nothing; as a field of a pydantic model, an ISO date.

    >>> as_of = AsOf.parse("2013-08-25")
    >>> as_of.day, as_of.iso, as_of.timestamp.isoformat()
    (15942, '2013-08-25', '2013-08-25T00:00:00+00:00')

    Attributes
    ----------
    day
        UTC days since 1970-01-01.
    """

    day: int

    @classmethod
    def parse(cls, text: str | None, today: AsOf | None = None) -> AsOf:
        """Parse an ISO date, ``YYYY-MM-DD``.

        Parameters
        ----------
        today
            The last day to accept; None accepts any.

        Raises
        ------
        ConfigError
            If the text is missing, not a date, before ``EARLIEST`` or after today.
        """
        if text is None:
            raise ConfigError("as_of is missing: give a date, for example --as-of 2013-08-25")
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ConfigError(f"as_of {text!r} is not a date: write YYYY-MM-DD; runs know whole UTC days")
        try:
            as_of = cls(_day_number(date.fromisoformat(text)))
        except ValueError as error:
            raise ConfigError(f"as_of {text!r} is not a date: {error}") from error
        if text < EARLIEST:
            raise ConfigError(f"as_of {text} is before {EARLIEST}: take a day of the log")
        if today is not None:
            as_of.refuse_future(today)
        return as_of

    @classmethod
    def of(cls, moment: datetime) -> AsOf:
        """Return the UTC day of a time with a zone."""
        return cls(_day_number(moment.astimezone(UTC).date()))

    def refuse_future(self, today: AsOf) -> None:
        """Refuse a day after today.

        Raises
        ------
        ConfigError
            If it is one.
        """
        if self > today:
            raise ConfigError(f"as_of {self} is in the future (today is {today}): its days are not over yet")

    @property
    def iso(self) -> str:
        """The date as ``YYYY-MM-DD``."""
        return day_text(self.day)

    @property
    def timestamp(self) -> pd.Timestamp:
        """The UTC midnight."""
        return pd.Timestamp(self.iso, tz="UTC")

    def __str__(self) -> str:
        return self.iso

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            cls._validated,
            core_schema.is_instance_schema(cls),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def _validated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return cls.parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error


def _day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


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
