"""Runs and the champion in a real MLflow server; servers that fail."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.integrations.mlflow_runs import flat_params
from mtl_tasks.pipeline.tracking import track_decisions, track_run
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.promotion import rollback
from mtl_tasks.store.registry import Registry
from tests.conftest import PROJECT
from tests.support.databases import free_port
from tests.support.projects import AS_OF, NAME, run_until, write_log, write_scenario

EARLIER = "2013-05-10"


@contextmanager
def mlflow_server() -> Iterator[str]:
    """Start a server with a database of its own and yield its URI; skip the test where there is none."""
    pytest.importorskip("mlflow", reason='make install EXTRAS="mlflow" installs the client')
    program = PROJECT / ".mlflow/bin/mlflow"
    if not program.exists():
        pytest.skip("no MLflow server here: make mlflow-server")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [program, "server", "--backend-store-uri", f"sqlite:///{folder}/runs.db", "--workers", "1"]
        command += ["--artifacts-destination", f"{folder}/artifacts", "--port", str(port)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": ""}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=10).close()  # noqa: S310
        except OSError:
            continue
        return
    raise AssertionError("the MLflow server has ended")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracking")
    write_scenario(root)
    write_log(root)
    return root


@pytest.fixture(scope="module")
def finished(project: Path) -> dict[str, Any]:
    return {day: run_until(project, "publish", day, ".store") for day in (EARLIER, AS_OF)}


def test_runs_are_written_once_and_the_alias_follows_the_registry(
    project: Path, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_server() as uri:
        from mlflow.tracking import MlflowClient

        monkeypatch.chdir(project)
        write_scenario(project, tracking={"mlflow": {"uri": uri, "experiment": "films"}})
        targets, client = load_scenario(NAME), MlflowClient(tracking_uri=uri, registry_uri=uri)
        for day in (EARLIER, AS_OF, AS_OF):
            run, results = finished[day]
            assert track_run(run, results["gate"].ref, targets, backfill=day == EARLIER) is None
        experiment = client.get_experiment_by_name("films").experiment_id
        found = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
        parents = [one for one in found if "mtl.run_key" in one.data.tags]
        assert len(found) == 2 * (1 + len(targets.members))
        assert {one.data.tags["mtl.as_of"]: one.data.tags["mtl.backfill"] for one in parents} == {
            EARLIER: "true",
            AS_OF: "false",
        }
        newest = next(one for one in parents if one.data.tags["mtl.as_of"] == AS_OF)
        assert newest.data.metrics["rating.rmse.low"] <= newest.data.metrics["rating.rmse"]
        assert newest.data.params["windows.train"] == "10"
        assert {"verdict.json", "evaluation.json"} <= {one.path for one in client.list_artifacts(newest.info.run_id)}
        [trees] = [one for one in found if one.data.tags.get("mtl.member") == "independent"][-1:]
        curve = client.get_metric_history(trees.info.run_id, "rating.rmse.tune")
        assert [point.step for point in curve] == list(range(1, len(curve) + 1))
        assert client.get_model_version_by_alias(NAME, "champion").run_id == newest.info.run_id

        run, _ = finished[AS_OF]
        registry = Registry(run.store, NAME)
        key = registry.read().champion().run_key
        monkeypatch.setattr("mtl_tasks.store.promotion._refuse_damaged", lambda *given, **named: None)
        rollback(registry, run.store, None, by="a", reason="b", at="2026-01-01T00:00:00+00:00")
        assert track_decisions(run.store, targets, [key]) is None
        champion = client.get_model_version_by_alias(NAME, "champion")
        assert client.get_run(champion.run_id).data.tags["mtl.as_of"] == EARLIER
        assert client.get_run(newest.info.run_id).data.tags["mtl.status"] == "retired"


def test_a_server_that_does_not_answer_is_one_warning_without_secrets(
    project: Path, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret-token")
    write_scenario(project, tracking={"mlflow": {"uri": f"http://127.0.0.1:{free_port()}"}})
    run, results = finished[AS_OF]
    fault = track_run(run, results["gate"].ref, load_scenario(NAME))
    assert fault is not None
    assert "tracking.mlflow" in fault
    assert [record.levelname for record in caplog.records if "tracking" in record.name] == ["WARNING"]
    assert "s3cret-token" not in caplog.text


def test_parameters_keep_to_the_limits_of_a_server() -> None:
    found = flat_params({"a" * 300: "b" * 7000, "odd@key": {}})
    assert {len(name) for name in found} == {250, 7}
    assert len(next(iter(found.values()))) == 6000
