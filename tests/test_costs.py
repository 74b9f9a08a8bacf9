"""What past runs took is told in a moment, of the newest runs, and a store that cannot be read stops nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtl_tasks.costs import RUNS, read_costs
from mtl_tasks.registry import Registry, Ruling
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.stage_order import STAGE_ORDER
from mtl_tasks.stages import build_stages
from mtl_tasks.store import Store
from tests.forging import forge
from tests.projects import NAME, SCENARIO, write_past_runs

DAYS = [f"2013-05-{day:02d}" for day in range(1, 9)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight runs; a ruling lies beside the newest."""
    write_past_runs(tmp_path, DAYS)
    ruling = Ruling("8" * 64, DAYS[-1], "retire", "ada", "too eager", "2013-05-09T08:00:00+00:00")
    Registry(Store(str(tmp_path)), NAME).append(ruling)
    return tmp_path


def test_the_newest_runs_are_told_by_stage_in_their_order(root: Path) -> None:
    costs = read_costs(str(root), "small")
    assert costs.runs == RUNS
    assert costs.line() == "The newest 5 runs took 3 min in all stages, and at most 800 MB."
    assert costs.table().splitlines()[2:] == [
        "| stage | time (median) | memory (peak) |",
        "|---|---|---|",
        "| factors | 60 s | 800 MB |",
        "| fuse | 2 min | 800 MB |",
    ]


def test_only_the_records_and_manifests_of_the_newest_runs_are_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, files = Path.read_bytes, list[str]()

    def counting_read(path: Path) -> bytes:
        files.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counting_read)
    read_costs(str(root), "small")
    assert files.count("manifest.json") == 2 * RUNS
    assert len(files) == 3 * RUNS + 1  # the ruling on the newest run


def test_what_was_pruned_is_left_out(root: Path) -> None:
    (root / "small" / DAYS[-1] / "factors" / ("a" * 32) / "manifest.json").unlink()
    assert read_costs(str(root), "small").stages["factors"].seconds == 55


def test_every_stage_of_a_run_has_its_place() -> None:
    stages = build_stages(parse_scenario({**SCENARIO, "name": "small"}, where="here"))
    assert tuple(dict.fromkeys(stage.partition(":")[0] for stage in stages)) == STAGE_ORDER


def test_where_nothing_is_known_it_says_why(root: Path) -> None:
    assert read_costs(str(root), "other").table() == "What past runs took: no run yet."
    assert "not read here from a store in a bucket" in read_costs("s3://our-bucket/store", "small").line()
    next((root / "small" / "registry" / DAYS[-1]).glob("*.json")).write_text("{", encoding="utf-8")
    assert "a record or a manifest is damaged" in read_costs(str(root), "small").line()


def test_a_store_that_does_not_answer_is_said(root: Path) -> None:
    registry = root / "small" / "registry"
    registry.rename(root / "aside")
    registry.symlink_to(registry)
    assert "the store cannot be read" in read_costs(str(root), "small").line()


@pytest.mark.faults
def test_a_pipe_or_a_reference_out_of_the_store_holds_up_no_dag_file(root: Path) -> None:
    record = next((root / "small" / "registry" / DAYS[-2]).glob("*.json"))
    forge(record, lambda entry: entry["refs"]["fuse"].update(uri="../../secret"))
    assert "a record or a manifest is damaged" in read_costs(str(root), "small").line()
    record.unlink()
    os.mkfifo(record)
    assert "a record or a manifest is damaged" in read_costs(str(root), "small").line()
