"""The validated interactions of a run, as stages pass them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mtl_tasks.core.columns import DAY, ITEM, KNOWN, TIME, USER
from mtl_tasks.core.errors import DataError

_IDS: Final = "int64 or str"
_DTYPES: Final = {USER: _IDS, ITEM: _IDS, TIME: "datetime64[us, UTC]", DAY: "int32"}
_OPTIONAL: Final = {KNOWN: "int32"}
_LABEL: Final = "label:"


@dataclass(frozen=True)
class InteractionLog:
    """The good rows of a run's log. Columns and dtypes are checked on construction; the frame is not copied.

    >>> InteractionLog(pd.DataFrame({"user_id": [1], "item_id": [7]}))
    Traceback (most recent call last):
        ...
    mtl_tasks.core.errors.DataError: interactions: no column event_time, day; validate the log again with --force

    Attributes
    ----------
    frame
        user_id and item_id (int64 or str), event_time (datetime64[us, UTC]), day (int32), label columns (float32) and
        context columns; in the long layout known_day (int32).

    Raises
    ------
    DataError
        If a column is missing or has another dtype.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in _DTYPES if name not in self.frame]
        if missing:
            raise DataError(f"interactions: no column {', '.join(missing)}; validate the log again with --force")
        wrong = [
            f"{name} is {self.frame[name].dtype}, must be {wanted}"
            for name, wanted in _wanted(self.frame)
            if not _fits(self.frame[name].dtype, wanted)
        ]
        if wrong:
            raise DataError(f"interactions: {'; '.join(wrong)}; validate the log again with --force")

    def before(self, day: int) -> InteractionLog:
        """Return the interactions before a day, without a copy if those are all."""
        before = self.frame[DAY] < day
        return self if before.all() else InteractionLog(self.frame[before])

    @property
    def newest_time(self) -> str | None:
        """Time of the newest interaction, ISO 8601; None without any."""
        newest = self.frame[TIME].max()
        return None if pd.isna(newest) else newest.isoformat()

    def __len__(self) -> int:
        return len(self.frame)


def _wanted(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return name and dtype of the columns whose dtype is known; a context column may be a number or a category."""
    optional = [(name, dtype) for name, dtype in _OPTIONAL.items() if name in frame]
    labels = [(str(name), "float32") for name in frame if str(name).startswith(_LABEL)]
    return [*_DTYPES.items(), *optional, *labels]


def _fits(dtype: Any, wanted: str) -> bool:
    return str(dtype) in ("int64", "str") if wanted is _IDS else str(dtype) == wanted
