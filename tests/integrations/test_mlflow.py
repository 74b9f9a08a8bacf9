"""Runs and the champion in a real MLflow server; servers that fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.integrations.mlflow_runs import flat_params
from mtl_tasks.notebook import load_run
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.tracking import track_run
from mtl_tasks.scenario import load_scenario
from tests.conftest import PROJECT
from tests.support.databases import free_port
from tests.support.projects import AS_OF, NAME, run_until, write_log, write_scenario

EARLIER = "2013-05-10"


@contextlib.contextmanager
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
def uri(project: Path) -> Iterator[str]:
    with mlflow_server() as uri:
        write_scenario(project, tracking={"mlflow": {"uri": uri, "experiment": "films"}})
        yield uri


@pytest.fixture(scope="module")
def client(uri: str, project: Path) -> Any:
    """A client of the server, to which two days were written, the newer one twice."""
    from mlflow.tracking import MlflowClient

    for day in (EARLIER, AS_OF, AS_OF):
        with contextlib.chdir(project):
            run_pipeline(make_run(NAME, AsOf.parse(day), {}, ".store"), lambda stage, result: None)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def found_runs(client: Any) -> list[Any]:
    """Return all runs of the experiment, the oldest first."""
    experiment = client.get_experiment_by_name("films").experiment_id
    found: list[Any] = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    return found


def run_of(client: Any, day: str) -> Any:
    """Return the run of a day, without those of its members."""
    return next(
        one for one in found_runs(client) if one.data.tags.get("mtl.as_of") == day and "mtl.run_key" in one.data.tags
    )


def test_a_run_is_written_once_with_its_members(client: Any, project: Path) -> None:
    found = found_runs(client)
    with contextlib.chdir(project):
        members = load_scenario(NAME).members
    assert len(found) == 2 * (1 + len(members))
    newest = run_of(client, AS_OF)
    assert newest.data.metrics["rating.rmse.low"] <= newest.data.metrics["rating.rmse"]
    assert newest.data.params["windows.train"] == "10"
    written = {one.path for one in client.list_artifacts(newest.info.run_id)}
    assert {"verdict.json", "evaluation.json", "report.html"} <= written
    [trees] = [one for one in found if one.data.tags.get("mtl.member") == "independent"][-1:]
    curve = client.get_metric_history(trees.info.run_id, "rating.rmse.tune")
    assert curve
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))
    assert client.get_model_version_by_alias(NAME, "champion").run_id == newest.info.run_id


def test_the_champion_is_a_model_that_predicts_as_its_run_does(
    client: Any, uri: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's own
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    run = load_run(NAME, as_of=AS_OF, store=".store")
    pairs = pd.read_parquet(next(iter(sorted((project / "log").rglob("*.parquet")))))[["user_id", "movie_id"]].head(20)
    pairs = pairs.set_axis(["user_id", "item_id"], axis=1)
    pd.testing.assert_frame_equal(model.predict(pairs), run.predict(pairs))


def test_a_rollback_moves_the_alias(client: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert cli.main(["registry", "rollback", NAME, "--reason", "for the test"]) == 0
    champion = client.get_model_version_by_alias(NAME, "champion")
    assert champion.run_id == run_of(client, EARLIER).info.run_id
    assert run_of(client, AS_OF).data.tags["mtl.status"] == "retired"


@pytest.fixture(scope="module")
def finished(project: Path) -> dict[str, Any]:
    return {AS_OF: run_until(project, "publish", AS_OF, ".alone")}


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
