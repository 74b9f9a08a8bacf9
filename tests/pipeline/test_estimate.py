"""Estimates say what was measured, scale the rest by rows, and divide only what shards do not repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.estimate import MEASURED, estimate_run
from mtl_tasks.store.artifacts import Payload, Ref, Store
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.projects import NAME, write_scenario

# Of 600 s, 480 are in one shard: 120 s that every shard repeats, and 360 that can be divided.
EVALUATE = {
    "seconds": 600.0,
    "peak_rss_mb": 2048.0,
    "shards": 1,
    "sharded_seconds": 480.0,
    "shard_seconds": 480.0,
    "common_seconds": 120.0,
}
SPLIT = {"seconds": 60.0, "peak_rss_mb": 1024.0}
RESOLVE = {"seconds": 0.0, "peak_rss_mb": 256.0}  # reads no rows: the memory of the libraries


def write_run(store: Store, as_of: str, rows: int, **usages: dict[str, Any]) -> None:
    """Enter a run whose stages took what is given."""
    refs: dict[str, Ref] = {}
    for stage, usage in {"resolve": RESOLVE, "validate": SPLIT, "gate": SPLIT, **usages}.items():
        facts, payload = {"usage": usage, "inputs": {}}, Payload(rows=rows)
        if stage == "recommend":
            facts["inputs"] = {"gate": refs["gate"].key}
        made = store.publish(
            store.folder(NAME, as_of, stage, as_of.ljust(64, "a")), as_of.ljust(64, "a"), payload, facts
        )
        if stage != "recommend":
            refs[stage] = made.ref
    key = as_of.replace("-", "").ljust(64, "0")
    Registry(store, NAME).append(RunRecord(key, as_of, "promote", ["holds"], {"name": NAME}, refs, "c0de"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(str(tmp_path / "store"))
    write_run(opened, "2013-05-01", 1000, split=SPLIT, evaluate=EVALUATE, recommend=EVALUATE)
    return opened


def test_a_run_of_the_same_size_on_as_many_workers_is_measured(store: Store) -> None:
    made = estimate_run(store, NAME, 1)
    assert (made.rows, made.workers, made.runs) == (1000, 1, 1)
    assert list(made.stages) == ["resolve", "validate", "split", "evaluate", "gate", "recommend"]
    assert {one.basis for one in made.stages.values()} == {MEASURED}
    assert made.stages["evaluate"].minutes == 10
    assert made.stages["evaluate"].worker_gib is None
    assert made.minutes == 23


def test_only_what_shards_do_not_repeat_is_divided_among_workers(store: Store) -> None:
    made = estimate_run(store, NAME, 4).stages
    assert made["split"] == estimate_run(store, NAME, 1).stages["split"]
    for name in ("evaluate", "recommend"):
        assert made[name].minutes * 60 == pytest.approx(600 - 480 + 120 + 360 / 4)
        assert made[name].worker_gib == made[name].process_gib == 2
        assert made[name].basis == (
            "extrapolated: 1 -> 4 workers, 25% of a shard's time repeated; "
            "a worker's memory taken as that of one process"
        )


def test_time_and_memory_without_that_of_the_libraries_are_scaled_by_rows(store: Store) -> None:
    made = estimate_run(store, NAME, 1, rows=3000).stages["split"]
    assert (made.minutes, made.process_gib, made.basis) == (3, 0.25 + 3 * 0.75, "extrapolated: rows x 3")


def test_runs_on_workers_tell_their_memory_and_take_precedence(store: Store) -> None:
    on_two = {**EVALUATE, "seconds": 420.0, "shards": 2, "sharded_seconds": 300.0, "shard_seconds": 600.0}
    on_two |= {"common_seconds": 240.0, "shard_peak_mb": 512.0}
    write_run(store, "2013-05-02", 1010, evaluate=on_two)
    two, four = (estimate_run(store, NAME, workers) for workers in (2, 4))
    assert (two.stages["evaluate"].minutes, two.stages["evaluate"].basis) == (7, MEASURED)
    assert two.stages["evaluate"].worker_gib == 0.5
    assert two.largest_gib == pytest.approx(3 * (0.25 + 1.75 * 1.01))  # recommend was never made on workers
    assert four.stages["evaluate"].worker_gib == 0.5
    assert four.stages["evaluate"].minutes * 60 == pytest.approx((120 + 120 + 90) * 1.005, rel=0.01)


def test_without_a_run_nothing_is_estimated(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="small: no run to estimate from: make one first"):
        estimate_run(Store(str(tmp_path)), NAME, 2)


def test_the_command_prints_it(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scenario(tmp_path)
    command = ["estimate", NAME, "--root", str(tmp_path), "--store", str(store.root), "--workers", "4"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("small: 1,000 rows on 4 workers: 14.0 minutes in all stages, and at most 10.0 GiB.")
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["evaluate"]["process_gib"] == 2
    assert cli.main([*command, "--rows", "0"]) == 2
