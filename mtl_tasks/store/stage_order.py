"""Order of a run's stages, to sort them by name without importing what the stages need."""

from __future__ import annotations

from typing import Final

STAGE_ORDER: Final = (
    "resolve",
    "validate",
    "split",
    "factors",
    "features",
    "member",
    "fuse",
    "evaluate",
    "gate",
    "publish",
    "recommend",
)


def stage_place(stage: str) -> int:
    """Return the position of a stage in a run; unknown stages come last.

    >>> stage_place("split"), stage_place("member:als"), stage_place("report")
    (2, 5, 11)
    """
    kind = stage.partition(":")[0]
    return STAGE_ORDER.index(kind) if kind in STAGE_ORDER else len(STAGE_ORDER)
