"""Delivery after a whole run: today's champion's recommendations, to the targets of the scenario file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.engine import Run, StageResult
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.outcome import deliver_lists
from tests.support.projects import AS_OF, NAME, run_until, write_log, write_scenario

EARLIER = "2013-05-10"
Finished = dict[str, tuple[Run, dict[str, StageResult]]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("delivery")
    write_scenario(root)
    write_log(root)
    return root


@pytest.fixture(scope="module")
def finished(project: Path) -> Finished:
    """Two promoted runs, made before the scenario file had a section `publish`."""
    return {day: run_until(project, "recommend", day, ".store") for day in (EARLIER, AS_OF)}


@pytest.fixture
def served(project: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Path of the file that the scenario now names."""
    path = tmp_path / "today.parquet"
    write_scenario(project, publish={"parquet": {"path": str(path)}})
    monkeypatch.chdir(project)
    return path


def deliver(finished: Finished, as_of: str) -> list[Any]:
    run, results = finished[as_of]
    return deliver_lists(RunSpec.of(run), UpstreamResults(results.values()), {})


def test_a_champion_from_before_the_section_is_delivered_to_it(finished: Finished, served: Path) -> None:
    run, results = finished[AS_OF]
    (delivery,) = deliver(finished, AS_OF)
    lists = run.store.open(results["recommend"].ref).frame("recommendations")
    found = pd.read_parquet(served)
    assert delivery.rows == len(found) == len(lists) > 0
    assert found["item_id"].tolist() == lists["item_id"].tolist()
    assert found["rating"].tolist() == lists["prediction:rating"].tolist()
    assert set(found["as_of"]) == {AS_OF}


def test_an_earlier_run_is_not_delivered(finished: Finished, served: Path) -> None:
    assert deliver(finished, EARLIER) == []
    assert not served.exists()


def test_a_run_on_the_command_line_delivers_and_a_failed_target_does_not_fail_it(
    finished: Finished, project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = {"publish.parquet.path": str(tmp_path / "today.parquet"), "publish.sql.url_env": "NO_SUCH_VARIABLE"}
    with contextlib.chdir(project):
        document = run_pipeline(make_run(NAME, AsOf.parse(AS_OF), overrides, ".store"), lambda stage, result: None)
    assert document.verdict.decision == "promote"
    assert len(pd.read_parquet(tmp_path / "today.parquet")) > 0
    assert "publish.sql.url_env NO_SUCH_VARIABLE" in caplog.text
    assert "no such environment variable" in caplog.text
