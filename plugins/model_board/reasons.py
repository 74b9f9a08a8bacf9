"""Drawings of a user's reasons: contributions to a prediction as a waterfall, and the user's events on a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mtl_tasks.pipeline.explore import PastEvent
    from mtl_tasks.store.documents.explanation import MemberScore

WIDTH: Final = 100.0  # of a drawing, in its own units
THINNEST: Final = 1.2  # of a bar


@dataclass(frozen=True)
class Step:
    """A bar of a waterfall.

    Attributes
    ----------
    words
        The feature and its value, or what the bar stands for.
    amount
        In the unit of the breakdown.
    left, width
        Of the bar, in the drawing's units.
    sign
        ``up``, ``down`` or ``sum``.
    """

    words: str
    amount: float
    left: float
    width: float
    sign: str


def waterfall(breakdown: MemberScore) -> list[Step]:
    """Return the baseline, the contributions, the other features together, and their sum, the score.

    Baseline and sum are marks: bars from zero would leave no room for contributions that are small beside them.
    """
    parts = [(part.words, part.contribution) for part in breakdown.contributions]
    rest = breakdown.others
    if rest.features:
        parts.append((f"{rest.features} other features", rest.contribution))
    ends = [breakdown.base]
    for _, amount in parts:
        ends.append(ends[-1] + amount)
    low, scale = min(ends), (WIDTH - THINNEST) / ((max(ends) - min(ends)) or 1.0)

    def bar(words: str, amount: float, start: float, end: float, sign: str) -> Step:
        left, right = sorted(((start - low) * scale, (end - low) * scale))
        return Step(words, amount, round(left, 2), round(max(right - left, THINNEST), 2), sign)

    base, score = breakdown.base, breakdown.score
    steps = [bar("baseline: mean over the training rows", base, base, base, "sum")]
    for (words, amount), start in zip(parts, ends, strict=False):
        steps.append(bar(words, amount, start, start + amount, "up" if amount >= 0 else "down"))
    return [*steps, bar("sum: score of the member", score, score, score, "sum")]


@dataclass(frozen=True)
class Strip:
    """Events on a line, the oldest at the left.

    Attributes
    ----------
    events
        Horizontal position of each event in percent, and its words.
    first, last
        Days at the ends.
    """

    events: list[tuple[float, str]]
    first: str
    last: str


def event_strip(history: Sequence[PastEvent]) -> Strip | None:
    """Return the events of a user on a line; None without any."""
    if not history:
        return None
    times = [datetime.fromisoformat(event.at).timestamp() for event in history]
    first, span = min(times), (max(times) - min(times)) or 1.0
    events = [
        (round(1 + 98 * (time - first) / span, 2), f"{event.at[:10]}: {event.title or event.item_id}")
        for time, event in zip(times, history, strict=True)
    ]
    return Strip(events, min(event.at for event in history)[:10], max(event.at for event in history)[:10])
