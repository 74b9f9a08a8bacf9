"""Costs of the newest runs, without those of pruned artifacts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.stages import STAGES
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.store import run_costs
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Decision, Registry
from mtl_tasks.store.run_costs import RUNS, read_cost, read_costs, stage_usages
from tests.support.forging import forge
from tests.support.projects import NAME, SCENARIO, write_past_runs, write_scenario

DAYS = [f"2013-05-{day:02d}" for day in range(1, 9)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight runs; a ruling lies beside the newest."""
    write_past_runs(tmp_path, DAYS)
    ruling = Decision("8" * 64, DAYS[-1], "retire", "ada", "too eager", "2013-05-09T08:00:00+00:00")
    Registry(Store(str(tmp_path)), NAME).append(ruling)
    return tmp_path


def test_the_newest_runs_are_told_by_stage_in_their_order(root: Path) -> None:
    costs = read_costs(Store(str(root)), "small", stage_usages)
    assert costs.runs == RUNS
    assert costs.line() == "the newest 5 runs took 3 min in all stages, and at most 800 MiB."
    assert costs.rows() == [("factors", "60 s", "800 MiB"), ("fuse", "2 min", "800 MiB")]


def test_the_command_prints_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["registry", "costs", "small", "--store", str(root)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("small: the newest 5 runs took 3 min")
    assert [line.split() for line in printed.splitlines() if "factors" in line] == [
        ["factors", "60", "s", "800", "MiB"]
    ]
    assert cli.main(["registry", "costs", "small", "--store", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["fuse"] == {"seconds": 120, "peak_mb": 800}
    assert cli.main(["registry", "costs", "small", "--store", "empty"]) == 0
    assert capsys.readouterr().out == "small: no run yet.\n"


def test_what_was_pruned_is_left_out(root: Path) -> None:
    (root / "small" / DAYS[-1] / "factors" / ("a" * 32) / "manifest.json").unlink()
    assert read_costs(Store(str(root)), "small", stage_usages).stages["factors"].seconds == 55


def test_a_run_has_its_own_costs_and_names_what_was_pruned(root: Path) -> None:
    store = Store(str(root))
    newest = Registry(store, NAME).entries()[-1]
    cost = read_cost(store, newest)
    assert cost.seconds == {"factors": 80, "fuse": 160}
    assert (cost.longest, cost.peak_mb, cost.pruned) == (["fuse", "factors"], 800, ())
    (root / "small" / DAYS[-1] / "factors" / ("a" * 32) / "manifest.json").unlink()
    assert read_cost(store, newest).pruned == ("factors",)


def test_a_manifest_is_read_again_only_after_it_has_changed(root: Path) -> None:
    store = Store(str(root))
    newest = Registry(store, NAME).entries()[-1]
    manifest = root / "small" / DAYS[-1] / "factors" / ("a" * 32) / "manifest.json"
    read_cost(store, newest)
    read_before = run_costs._usage.cache_info().misses
    assert read_cost(store, newest).seconds["factors"] == 80
    assert run_costs._usage.cache_info().misses == read_before
    forge(manifest, lambda document: document["usage"].update(seconds=81.25))
    assert read_cost(store, newest).seconds["factors"] == 81.25


def test_every_stage_of_a_run_has_its_place() -> None:
    stages = build_stages(parse_scenario({**SCENARIO, "name": "small"}, where="here"))
    assert tuple(dict.fromkeys(stage.partition(":")[0] for stage in stages)) == tuple(STAGES)[:-1]


def test_a_damaged_record_is_said_and_costs_the_others_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    next((root / "small" / "registry" / DAYS[-1]).glob("*.json")).write_text("{", encoding="utf-8")
    assert read_costs(Store(str(root)), "small", stage_usages).runs == RUNS
    assert DAYS[-1] in caplog.text


@pytest.mark.faults(25)
def test_a_pipe_or_a_reference_out_of_the_store_is_said_and_not_followed(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = next((root / "small" / "registry" / DAYS[-2]).glob("*.json"))
    forge(record, lambda entry: entry["refs"]["fuse"].update(uri="../../secret"))
    assert read_costs(Store(str(root)), "small", stage_usages).runs == RUNS
    assert "../../secret" in caplog.text
    record.unlink()
    os.mkfifo(record)
    assert read_costs(Store(str(root)), "small", stage_usages).runs == RUNS
    assert "is not a regular file" in caplog.text
