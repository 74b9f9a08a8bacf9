"""Summaries of a verdict's reasons, which the registry keeps as sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_FAILED: Final = re.compile(r": fails[,: ]|fails closed")
_HELD: Final = re.compile(r": holds,")


def deciding_reason(reasons: Sequence[str]) -> str:
    """Return the first failed rule's sentence, or else how many rules passed; empty without reasons.

    Parameters
    ----------
    reasons
        Sentences of the rules and warnings, in any order; see :class:`mtl_tasks.store.documents.verdict.Verdict`.

    >>> deciding_reason(["a <= 1: holds, a is 0.5", "b >= 2: fails, b is 1"])
    'b >= 2: fails, b is 1'
    >>> deciding_reason(["a <= 1: holds, a is 0.5", "b >= 2: holds, b is 3"])
    '2 of 2 rules passed'
    """
    for reason in reasons:
        if _FAILED.search(reason):
            return reason
    held = sum(_HELD.search(reason) is not None for reason in reasons)
    if held:
        return f"{held} of {held} rules passed"
    return reasons[0] if reasons else ""
