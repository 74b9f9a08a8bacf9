"""The stages of a run, each declared once: its order, inputs, retention, module and task group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MEMBER: Final = "member"


@dataclass(frozen=True)
class StageTraits:
    """Declaration of a stage.

    Attributes
    ----------
    module
        Module of ``mtl_tasks/pipeline/stages`` with its work, which is imported only where stages are built.
    inputs
        Names of the stages that it reads; ``member`` means those of all members.
    optional
        Those of ``inputs`` that a run of an earlier release may lack.
    retention
        ``run``: tables that only making the run and its recommendations needs; ``entry``: kept as long as the run's
        entry counts, to score with it or to show it; ``always``: small, read by people, never pruned.
    daily
        Whether its artifacts refer to per-day artifacts.
    scoring
        Whether scoring rows with a finished run reads it.
    presentation
        Whether it only shows results. The page of a run is made of its document, so it is not built from this table.
    group
        Title of the task group of the training DAG with its task; None for a stage that the DAGs place themselves.
    heavy
        Whether its task occupies a slot of the pool for CPU work.
    """

    module: str
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    retention: Literal["run", "entry", "always"] = "entry"
    daily: bool = False
    scoring: bool = False
    presentation: bool = False
    group: Literal["validate", "learn", "decide", "publish"] | None = None
    heavy: bool = False


_MODELS: Final = ("factors", MEMBER, "fuse")
# In the order of a run. The table is here, and not beside the stages, so that reading a scenario, reading the registry
# and parsing a DAG import no stage.
_RECORDED: Final[dict[str, StageTraits]] = {
    "resolve": StageTraits("prepare"),
    "validate": StageTraits("prepare", ("resolve",), retention="run", daily=True, group="validate"),
    "split": StageTraits("prepare", ("validate",), retention="run", group="validate"),
    "factors": StageTraits("train", ("validate", "split"), scoring=True, group="learn", heavy=True),
    "features": StageTraits(
        "train", ("validate", "split", "factors"), retention="run", daily=True, group="learn", heavy=True
    ),
    MEMBER: StageTraits("train", ("split", "features"), scoring=True, group="learn", heavy=True),
    "fuse": StageTraits("train", ("split", MEMBER), scoring=True, group="learn"),
    "rank": StageTraits("rank", ("validate", "split", *_MODELS), scoring=True, group="learn", heavy=True),
    "evaluate": StageTraits("judge", ("validate", "split", "features", *_MODELS, "rank"), group="decide", heavy=True),
    "gate": StageTraits("judge", ("validate", "split", "features", *_MODELS, "rank", "evaluate"), group="decide"),
}
STAGES: Final[dict[str, StageTraits]] = {
    **_RECORDED,
    # The registry's record of a run refers to the inputs of `publish`; only those are verified, and kept by `prune`.
    "publish": StageTraits("publish", tuple(_RECORDED), retention="always", group="publish"),
    # Not `publish`: a run that is promoted by hand later is published by its registry record alone.
    "recommend": StageTraits("publish", ("validate", *_MODELS, "rank", "gate"), optional=("rank",), heavy=True),
    "report": StageTraits("publish", ("gate", "recommend"), retention="always", presentation=True),
}
# Ends of the names of artifacts that a stage's shards leave: their results, and what they were given.
SHARD: Final = "-shard"
SHARD_INPUT: Final = "-shard-input"
BULK: Final = tuple(name for name, traits in STAGES.items() if traits.retention == "run")
ALWAYS_KEPT: Final = tuple(name for name, traits in STAGES.items() if traits.retention == "always")
DAILY: Final = tuple(name for name, traits in STAGES.items() if traits.daily)


def kind_of(stage: str) -> str:
    """Return the name of a stage in the table.

    >>> kind_of("split"), kind_of("member:als")
    ('split', 'member')
    """
    return stage.partition(":")[0]


def stage_position(stage: str) -> int:
    """Return the position of a stage in a run; unknown stages come last.

    >>> stage_position("split") < stage_position("member:als") < stage_position("another")
    True
    """
    kind = kind_of(stage)
    return list(STAGES).index(kind) if kind in STAGES else len(STAGES)


def is_scoring(stage: str) -> bool:
    """Whether scoring rows with a finished run reads a stage.

    >>> is_scoring("member:als"), is_scoring("features"), is_scoring("another")
    (True, False, False)
    """
    kind = kind_of(stage)
    return kind in STAGES and STAGES[kind].scoring


def stages_before(stage: str) -> tuple[str, ...]:
    """Return the stages that a stage depends on, through others too, in the order of a run.

    >>> stages_before("split")
    ('resolve', 'validate')
    """
    needed = set(STAGES[stage].inputs)
    for name in reversed(STAGES):  # a stage reads only stages before it
        if name in needed:
            needed.update(STAGES[name].inputs)
    return tuple(name for name in STAGES if name in needed)
