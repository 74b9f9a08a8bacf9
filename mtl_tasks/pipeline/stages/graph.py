"""The stage graph of a scenario: the stages in order, their inputs and their configuration."""

from __future__ import annotations

from mtl_tasks.pipeline.engine import Stage
from mtl_tasks.pipeline.stages.config import sections, whole_scenario
from mtl_tasks.pipeline.stages.inputs import days_are_there
from mtl_tasks.pipeline.stages.judge import evaluate, gate, gate_config
from mtl_tasks.pipeline.stages.prepare import resolve, resolve_config, split, validate
from mtl_tasks.pipeline.stages.publish import publish, recommend, recommend_config
from mtl_tasks.pipeline.stages.rank import rank, rank_config
from mtl_tasks.pipeline.stages.train import factors, factors_config, features, fuse, member, member_config
from mtl_tasks.scenario import FEATURE_SECTIONS, MemberKind, Scenario

BEFORE_MODELS = ("resolve", "validate", "split", "features")


def build_stages(scenario: Scenario) -> dict[str, Stage]:
    """Return the stages of a scenario in the order they run, by name."""
    members = tuple(f"member:{kind}" for kind in scenario.members)
    models = ("factors", *members, "fuse")
    stages = [
        Stage("resolve", (), resolve_config, resolve),
        Stage("validate", ("resolve",), sections("source", "tasks", "validation"), validate, whole=days_are_there),
        Stage("split", ("validate",), sections("tasks", "windows", "seed"), split),
        Stage("factors", ("validate", "split"), factors_config, factors),
        Stage(
            "features", ("validate", "split", "factors"), sections(*FEATURE_SECTIONS), features, whole=days_are_there
        ),
        *(_member_stage(kind) for kind in scenario.members),
        Stage("fuse", ("split", *members), sections("fusion", "tasks"), fuse),
        Stage("rank", ("validate", "split", *models), rank_config, rank),
        Stage(
            "evaluate",
            ("validate", "split", "features", *models, "rank"),
            sections("recommend", "evaluate", "seed"),
            evaluate,
        ),
        Stage("gate", ("validate", "split", "features", *models, "rank", "evaluate"), gate_config, gate),
        Stage("publish", (*BEFORE_MODELS, *models, "rank", "evaluate", "gate"), whole_scenario, publish),
        # Not `publish`: a run that is promoted by hand later is published by its registry record alone.
        Stage("recommend", ("validate", *models, "rank", "gate"), recommend_config, recommend, optional=("rank",)),
    ]
    return {stage.name: stage for stage in stages}


def _member_stage(kind: MemberKind) -> Stage:
    return Stage(f"member:{kind}", ("split", "features"), member_config(kind), member(kind))
