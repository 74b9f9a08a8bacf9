"""The graph of stages agrees with the table of their order and retention."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.stages import STAGES, stage_position, stages_before
from mtl_tasks.pipeline.engine import Run, jax_versions
from mtl_tasks.pipeline.stages import build_stages, train
from mtl_tasks.scenario import MEMBERS
from mtl_tasks.store.artifacts import Store
from tests.support.logs import tiny_scenario


def test_stages_run_in_the_order_of_their_table_and_each_has_a_row() -> None:
    stages = build_stages(tiny_scenario(members=["popularity", "als", "independent"]))
    assert {name.partition(":")[0] for name in stages} == set(STAGES) - {"report"}  # which is no part of a run's result
    positions = [stage_position(name) for name in stages]
    assert positions == sorted(positions)


def test_a_stage_reads_only_stages_before_it() -> None:
    stages = build_stages(tiny_scenario(members=["popularity", "als", "independent"]))
    made: set[str] = set()
    for name, stage in stages.items():
        assert set(stage.needs) <= made, name
        made.add(name)


def test_the_record_of_a_run_refers_to_every_stage_before_it() -> None:
    stages = build_stages(tiny_scenario(members=["popularity", "als", "independent"]))
    names = list(stages)
    assert set(stages["publish"].needs) == set(names[: names.index("publish")])


def test_every_declared_stage_has_its_work_and_no_work_is_undeclared() -> None:
    made: dict[str, set[str]] = {}
    for traits in STAGES.values():
        work = importlib.import_module(f"mtl_tasks.pipeline.stages.{traits.module}").WORK
        made[traits.module] = {name.partition(":")[0] for name in work}
    assert set().union(*made.values()) == set(STAGES) - {"report"}
    assert {f"member:{kind}" for kind in MEMBERS} <= set(train.WORK)
    for name, traits in STAGES.items():
        assert name in made[traits.module] or traits.presentation


def test_a_stage_depends_on_its_inputs_and_on_theirs() -> None:
    assert stages_before("resolve") == ()
    assert stages_before("member") == ("resolve", "validate", "split", "factors", "features")
    assert stages_before("publish") == tuple(STAGES)[: list(STAGES).index("publish")]
    for name, traits in STAGES.items():
        assert set(traits.optional) <= set(traits.inputs) <= set(stages_before(name))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, set()),
        ({"members": ["popularity", "deep"]}, {"member:deep"}),
        ({"recommend": {"sources": {"two_tower": 50}}}, {"rank"}),
    ],
)
def test_versions_of_jax_are_in_the_keys_of_the_stages_that_train_with_it(
    tmp_path: Path, settings: dict[str, Any], expected: set[str]
) -> None:
    run = Run(tiny_scenario(**settings), AsOf.parse("2013-05-07"), Store(str(tmp_path)))
    stages = {name: stage for name, stage in build_stages(run.scenario).items() if name in ("rank", *_members(run))}
    configs = {name: stage.config(run) for name, stage in stages.items()}
    assert {name for name, config in configs.items() if config.get("libraries") == jax_versions()} == expected


def _members(run: Run) -> list[str]:
    return [f"member:{kind}" for kind in run.scenario.members]
