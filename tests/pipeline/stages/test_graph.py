"""The graph of stages agrees with the table of their order and retention."""

from __future__ import annotations

from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.store.stages import STAGES, stage_position
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
