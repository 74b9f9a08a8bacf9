"""The stages of a run: their order, and how long their artifacts are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class StageTraits:
    """Retention of the artifacts of a stage.

    Attributes
    ----------
    retention
        ``run``: tables that only making the run and its recommendations needs; ``entry``: kept as long as the run's
        entry counts, to score with it or to show it; ``always``: small, read by people, never pruned.
    daily
        Whether its artifacts refer to per-day artifacts.
    """

    retention: Literal["run", "entry", "always"] = "entry"
    daily: bool = False


# In the order of a run. It is here, and not beside the stages, so that reading the registry imports no stage.
STAGES: Final[dict[str, StageTraits]] = {
    "resolve": StageTraits(),
    "validate": StageTraits("run", daily=True),
    "split": StageTraits("run"),
    "factors": StageTraits(),
    "features": StageTraits("run", daily=True),
    "member": StageTraits(),
    "fuse": StageTraits(),
    "rank": StageTraits(),
    "evaluate": StageTraits(),
    "gate": StageTraits(),
    "publish": StageTraits("always"),
    "recommend": StageTraits(),
    "report": StageTraits("always"),
}
# Ends of the names of artifacts that a stage's shards leave: their results, and what they were given.
SHARD: Final = "-shard"
SHARD_INPUT: Final = "-shard-input"
BULK: Final = tuple(name for name, traits in STAGES.items() if traits.retention == "run")
ALWAYS_KEPT: Final = tuple(name for name, traits in STAGES.items() if traits.retention == "always")
DAILY: Final = tuple(name for name, traits in STAGES.items() if traits.daily)


def stage_position(stage: str) -> int:
    """Return the position of a stage in a run; unknown stages come last.

    >>> stage_position("split"), stage_position("member:als"), stage_position("another")
    (2, 5, 13)
    """
    kind = stage.partition(":")[0]
    return list(STAGES).index(kind) if kind in STAGES else len(STAGES)
