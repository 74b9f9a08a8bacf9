"""A promoted run is compressed into a run of its own, which the gate compares with it, and exported."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.export.scoring import load
from mtl_tasks.pipeline.compress import find_frontier
from mtl_tasks.pipeline.days.features import read_days
from mtl_tasks.pipeline.engine import Inputs
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_documents import rebuild_run
from mtl_tasks.pipeline.stages.inputs import load_scorer
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.promotion import rollback
from mtl_tasks.store.records import Decision
from mtl_tasks.store.registry import Registry, RunRecord
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

MARGINS = [{"task": "rating", "metric": "rmse", "margin": 0.3}, {"task": "purchase", "metric": "auc", "margin": 0.1}]
BY = {"by": "tester", "reason": "a test", "at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a promoted run; tests that write to its store copy it."""
    root = tmp_path_factory.mktemp("project")
    gate = {**SCENARIO["gate"], "relative": MARGINS}
    write_scenario(root, gate=gate, members=["popularity", "independent", "shared_tail"])
    write_log(root)
    with contextlib.chdir(root):
        run_pipeline(make_run(NAME, AsOf.parse(AS_OF), {}, ".store"), lambda stage, result: None)
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def teacher_of(project: Path) -> tuple[Store, RunRecord]:
    store = Store(".store")
    return store, Registry(store, NAME).entries()[0]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_the_chosen_model_is_promoted_rolled_back_and_exported(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, teacher = teacher_of(project)
    shown = printed(capsys, "compress", NAME, "--run", teacher.run_key[:8], "--budget", "0.4", "--json")
    chosen = next(point for point in shown["points"] if point["name"] == shown["chosen"])
    assert shown["teacher"] == teacher.run_key
    assert shown["run"]["origin"]["start"] == "command line"
    assert chosen["ratio"] <= 0.4
    assert {point["name"] for point in shown["points"]} >= {"teacher", shown["chosen"]}
    for window in ("blend", "test"):
        assert set(chosen["tasks"][window]) == {"rating", "purchase"}
    assert {point["name"] for point in shown["points"] if "test" in point["tasks"]} == {"teacher", chosen["name"]}

    snapshot = Registry(store, NAME).read()
    champion = snapshot.champion()
    assert champion is not None
    assert champion.run_key == shown["run"]["run_key"] != teacher.run_key
    assert champion.scenario_document["compression"]["teacher"] == teacher.run_key
    assert any("worse than the teacher: holds" in reason for reason in champion.reasons)
    fusion = shown["run"]["tasks"]["purchase"]["fusion"]["metrics"]
    assert fusion["auc"] == pytest.approx(chosen["tasks"]["test"]["purchase"]["value"], abs=1e-6)

    made = printed(capsys, "export", NAME, "--run", champion.run_key, "--out", "bundle", "--json")
    assert sum(made["files"].values()) < 5_000_000
    inputs = Inputs({name: store.open(ref) for name, ref in champion.refs.items()})
    rows = read_days(store, inputs["features"]).tail(500)
    expected = load_scorer(rebuild_run(store, champion).scenario, inputs).fuse(rows)
    for task, values in load("bundle").predict(rows).items():
        np.testing.assert_allclose(values, expected[columns.prediction(task)], rtol=1e-12)
    assert cli.main(["export", NAME, "--run", champion.run_key, "--out", "bundle"]) == 2
    assert "bundle: is not an empty folder" in capsys.readouterr().err

    with pytest.raises(ConfigError, match="is a compressed run itself: compress its teacher, run"):
        find_frontier(store, champion, 0.5)
    rollback(Registry(store, NAME), store, None, **BY)
    assert Registry(store, NAME).champion() == teacher


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.5, float("nan")])
def test_a_budget_that_is_no_share_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch, budget: float) -> None:
    monkeypatch.chdir(finished)
    with pytest.raises(ConfigError, match=r"--budget .*: is a share of the run's cost, above 0 and at most 1"):
        find_frontier(*teacher_of(finished), budget)


def test_a_run_that_is_not_there_or_not_promoted_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compress", NAME, "--run", "ffff", "--budget", "0.5"]) == 2
    assert "no entry of run ffff in the registry" in capsys.readouterr().err
    store, teacher = teacher_of(project)
    Registry(store, NAME).append(Decision(teacher.run_key, AS_OF, "retire", **BY))
    with pytest.raises(ConfigError, match="its status is 'retired', and only a promoted run is compressed"):
        find_frontier(store, teacher, 0.5)


def test_a_damaged_model_of_the_teacher_is_named(project: Path) -> None:
    store, teacher = teacher_of(project)
    folder = project / ".store" / teacher.refs["member:independent"].uri
    damaged = next(folder.glob("attempt-*/model.purchase.0.lightgbm.txt"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"#")
    with pytest.raises(ArtifactError, match=r"lightgbm\.txt: does not match its manifest"):
        find_frontier(store, teacher, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": ["popularity", "distilled"]}, "'distilled' learns from a finished run: name its key"),
        ({"compression.teacher": "0" * 64, "gate.relative": []}, "gate.relative has no rule"),
        ({"compression.teacher": "4f2a"}, "compression.teacher: .*pattern"),
    ],
)
def test_a_compressed_run_that_cannot_be_compared_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(finished)
    with pytest.raises(ConfigError, match=message):
        make_run(NAME, AsOf.parse(AS_OF), settings, ".store")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compression.teacher": "0" * 64}, "compression.teacher: no entry of run 000000000000"),
        ({"windows.train": 9}, "its windows differs from this run's"),
        ({"seed": 99}, "its seed differs from this run's"),
    ],
)
def test_a_teacher_of_other_rows_is_refused_before_the_first_stage(
    finished: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(finished)
    _, teacher = teacher_of(finished)
    run = make_run(NAME, AsOf.parse(AS_OF), {"compression.teacher": teacher.run_key, **settings}, ".store")
    with pytest.raises(ConfigError, match=message):
        run_pipeline(run, lambda stage, result: pytest.fail(stage))
