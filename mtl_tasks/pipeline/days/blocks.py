"""Blocks of days: quiet days share an artifact, so that a sparse log leaves few files and is read with few requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import groupby
from typing import Final

from mtl_tasks.core.days import day_text

BLOCK_DAYS: Final = 32
_SEPARATOR: Final = "--"  # ISO 8601 separates the ends of an interval so where a slash is not allowed

Block = tuple[int, ...]


def divided(sizes: Mapping[int, int], span: range, limit: int) -> list[Block]:
    """Divide days into blocks, ascending.

    The days of a 32-day period that begins at a multiple of 32 share a block if the whole period is in the span and
    their sizes add up to no more than the limit. Any other day has a block of its own. A block depends only on its
    days, so that runs of other dates have the same blocks.

    Parameters
    ----------
    sizes
        Day (UTC days since 1970-01-01) to its size, such as rows or bytes.
    span
        The days that are complete.
    limit
        Largest size of a shared block, in the unit of the sizes.
    """
    blocks: list[Block] = []
    for number, group in groupby(sorted(sizes), key=lambda day: day // BLOCK_DAYS):
        days, start = tuple(group), number * BLOCK_DAYS
        complete = span.start <= start and start + BLOCK_DAYS <= span.stop
        shared = complete and sum(sizes[day] for day in days) <= limit
        blocks += [days] if shared else [(day,) for day in days]
    return blocks


def block_name(block: Block) -> str:
    """Return the name of a block's folder: its day, or its first and last."""
    return _SEPARATOR.join(day_text(day) for day in sorted({block[0], block[-1]}))


def days_named(name: str) -> set[str]:
    """Return the days (``YYYY-MM-DD``) that a folder of this name may hold."""
    first, _, last = name.partition(_SEPARATOR)
    if not last:
        return {first}
    start, end = (date.fromisoformat(text).toordinal() for text in (first, last))
    return {date.fromordinal(day).isoformat() for day in range(start, end + 1)}
