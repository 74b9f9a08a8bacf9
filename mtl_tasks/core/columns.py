"""Column names of the canonical tables, each defined once."""

from typing import Final

USER: Final = "user_id"
ITEM: Final = "item_id"
TIME: Final = "event_time"  # datetime64[us, UTC]
DAY: Final = "day"  # int32, UTC days since 1970-01-01
KNOWN: Final = "known_day"  # int32, the day on which the row's labels become final; without it, the row's own day
WINDOW: Final = "window"  # train, tune, blend or test
TITLE: Final = "title"
TEXT: Final = "content:text"  # str: an item's free text; '' if none
VECTORS: Final = "content:vectors"  # prefix of the columns of an item's given vector
VALID: Final = "valid_from"  # datetime64[us, UTC], the time from which a row of an attribute table is valid
REASON: Final = "reason"  # why validation quarantined a row
FILE: Final = "file"  # category: the file that a row was read from; validation drops it from good rows
PARTITION: Final = "partition_day"  # int32: the day of the row's dt= folder; only in a partitioned log
RANK: Final = "rank"


def label(task: str) -> str:
    """Name of the label column of a task or signal (float32; NaN where the label was not observed)."""
    return f"label:{task}"


def vector(axis: int) -> str:
    """Name of the column of one number of an item's given vector (float32; NaN where an item has no vector).

    >>> vector(3)
    'content:vectors:3'
    """
    return f"{VECTORS}:{axis}"


def context(name: str) -> str:
    """Name of a context column (float32, or category if categorical)."""
    return f"context:{name}"


def prediction(task: str) -> str:
    """Name of a task's prediction column (float64)."""
    return f"prediction:{task}"
