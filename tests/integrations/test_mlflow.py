"""Runs and the champion in a real MLflow server; servers that are unreachable, slow, refuse, or fail halfway."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pandas as pd
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.integrations.mlflow_runs import flat_params
from mtl_tasks.integrations.mlflow_unique import unique_experiment, unique_run
from mtl_tasks.notebook import load_run
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.pipeline.tracking import track_run
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.records import KEY_LENGTH
from mtl_tasks.store.registry import Registry
from tests.support.databases import free_port
from tests.support.forwarding import Forwarder
from tests.support.projects import AS_OF, NAME, run_until, write_log, write_scenario
from tests.support.receivers import HookServer, mute_server, serving
from tests.support.tracking_server import PROGRAM, tracking_server

EARLIER = "2013-05-10"
HIDDEN = "s3cret-token"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracking")
    write_scenario(root)
    write_log(root)
    return root


@pytest.fixture(scope="module")
def uri(project: Path) -> Iterator[str]:
    pytest.importorskip("mlflow", reason='make install EXTRAS="mlflow" installs the client')
    if not PROGRAM.exists():
        pytest.skip("no MLflow server here: make mlflow-server")
    with tracking_server() as uri:
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


def test_a_rollback_and_a_promotion_move_the_alias(client: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert cli.main(["registry", "rollback", NAME, "--reason", "for the test"]) == 0
    champion = client.get_model_version_by_alias(NAME, "champion")
    assert champion.run_id == run_of(client, EARLIER).info.run_id
    assert run_of(client, AS_OF).data.tags["mtl.status"] == "retired"
    newest = run_of(client, AS_OF)
    assert cli.main(["registry", "promote", NAME, newest.data.tags["mtl.run_key"], "--reason", "for the test"]) == 0
    assert client.get_model_version_by_alias(NAME, "champion").run_id == newest.info.run_id


def test_an_erased_user_is_in_no_report_on_the_server(
    client: Any, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    newest = run_of(client, AS_OF)
    store = Store(".store")
    [entry] = [one for one in Registry(store, NAME).entries() if one.as_of == AS_OF]
    lists = find_lists(store, entry)
    assert lists is not None
    user = lists.json("sample")[0]["user_id"]
    shown = re.compile(rf"\b{user}\b")

    def report() -> str:
        return Path(client.download_artifacts(newest.info.run_id, "report.html", str(tmp_path))).read_text(
            encoding="utf-8"
        )

    before = report()
    assert shown.search(before)
    assert cli.main(["forget", NAME, "--user", str(user), "--delete", "--reason", "asked by the user"]) == 0
    assert report() != before
    assert not shown.search(report())


def test_the_alias_leaves_a_champion_whose_record_is_quarantined(
    client: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    key = run_of(client, AS_OF).data.tags["mtl.run_key"]
    quarantine(f"*-{key[:KEY_LENGTH]}.json", AS_OF)
    assert client.get_model_version_by_alias(NAME, "champion").run_id == run_of(client, EARLIER).info.run_id
    assert run_of(client, AS_OF).data.tags["mtl.status"] == "record quarantined"


def test_the_alias_goes_with_the_last_champion(client: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    quarantine("*.json", EARLIER)
    assert client.get_registered_model(NAME).aliases == {}


def quarantine(pattern: str, day: str) -> None:
    """Damage the record of a day that a pattern matches, and set it aside."""
    [path] = Path(".store", NAME, "registry", day).glob(pattern)
    path.write_text("{", encoding="utf-8")
    assert cli.main(["registry", "quarantine", NAME, path.name, "--reason", "for the test"]) == 0


@pytest.fixture(scope="module")
def finished(project: Path) -> dict[str, Any]:
    return {AS_OF: run_until(project, "publish", AS_OF, ".alone")}


@pytest.mark.parametrize(
    ("fault", "cause"), [("unreachable", "refused"), ("mute", "timed out"), ("wrong token", "401")]
)
def test_a_server_that_fails_is_one_warning_without_secrets(
    fault: str,
    cause: str,
    project: Path,
    finished: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("mlflow", reason='make install EXTRAS="mlflow" installs the client')
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", HIDDEN)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with mute_server() as mute, serving(HookServer()) as closed:
        closed.status, closed.answer = 401, f"the token {HIDDEN} is wrong".encode()
        ports = {"unreachable": free_port(), "mute": mute}
        uri = f"http://127.0.0.1:{ports[fault]}" if fault in ports else closed.url
        write_scenario(project, tracking={"mlflow": {"uri": uri}})
        run, results = finished[AS_OF]
        told = track_run(run, results["gate"].ref, load_scenario(NAME))
    (warning,) = [found.getMessage() for found in caplog.records if found.levelname == "WARNING"]
    assert told == warning
    assert warning.startswith(f"tracking.mlflow.uri {uri} in ")
    assert cause in warning
    assert "check the URI, the network, and MLFLOW_TRACKING_TOKEN" in warning
    assert "clear the task `track`" in warning
    assert HIDDEN not in caplog.text


def test_without_the_client_a_run_is_not_tracked_and_the_warning_names_what_to_install(
    project: Path, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    write_scenario(project, tracking={"mlflow": {"uri": "http://127.0.0.1:9"}})
    run, results = finished[AS_OF]
    track_run(run, results["gate"].ref, load_scenario(NAME))
    (warning,) = [found.getMessage() for found in caplog.records if found.levelname == "WARNING"]
    assert 'EXTRAS="mlflow"' in warning


@pytest.mark.parametrize("requests", [1, 4, 9, 14, 19, 24])
def test_a_run_that_was_written_in_part_is_completed_and_nothing_is_there_twice(
    requests: int, uri: str, project: Path, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(project)
    name, (run, results) = f"cut after {requests}", finished[AS_OF]
    with serving(Forwarder(uri)) as server:
        write_scenario(project, tracking={"mlflow": {"uri": server.url, "experiment": name, "model": name}})
        targets = load_scenario(NAME)
        server.left = requests
        assert track_run(run, results["gate"].ref, targets) is not None
        server.left = None
        assert track_run(run, results["gate"].ref, targets) is None
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert len(found) == 1 + len(targets.members)
    [version] = client.search_model_versions(f"name='{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    [trees] = [one for one in found if one.data.tags.get("mtl.member") == "independent"]
    curve = client.get_metric_history(trees.info.run_id, "rating.rmse.tune")
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))


@pytest.mark.parametrize("step", ["experiments/create", "runs/create", "runs/log-parameter", "model-versions/create"])
def test_two_writers_at_once_make_one_run_and_one_version(
    step: str, uri: str, project: Path, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    both = Barrier(2, timeout=3)

    def meet(path: str) -> None:
        if path.endswith(step):
            with contextlib.suppress(BrokenBarrierError):  # the other one makes no such request
                both.wait()

    monkeypatch.chdir(project)
    name, (run, results) = f"at once in {step.replace('/', ' ')}", finished[AS_OF]
    with serving(Forwarder(uri)) as server, ThreadPoolExecutor(2) as writers:
        server.before = meet
        write_scenario(project, tracking={"mlflow": {"uri": server.url, "experiment": name, "model": name}})
        targets = load_scenario(NAME)
        faults = list(writers.map(lambda _: track_run(run, results["gate"].ref, targets), range(2)))
    assert faults == [None, None]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert len(found) == 1 + len(targets.members)
    [version] = client.search_model_versions(f"name='{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == version.version


@pytest.mark.parametrize("requests", range(4))
def test_a_writer_that_is_overtaken_after_some_requests_gets_the_others_run(requests: int, uri: str) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = unique_experiment(client, f"overtaken after {requests}")
    for attempt in map(str, range(8)):  # the server draws the ids, and they decide which of two runs counts
        fast, slow = open_overtaken(uri, experiment, {"attempt": attempt}, requests)
        assert fast == slow
        assert [run.info.run_id for run in client.search_runs([experiment], f"tags.attempt = '{attempt}'")] == [slow]


def open_overtaken(uri: str, experiment: str, tags: dict[str, str], requests: int) -> list[str]:
    """Open a run, and let another writer open it after some of the requests; return the ids that they get."""
    from mlflow.tracking import MlflowClient

    opened, number = list[str](), itertools.count()

    def overtake(path: str) -> None:
        if next(number) == requests:
            opened.append(unique_run(MlflowClient(tracking_uri=uri), experiment, tags, "fast", 1)[0])

    with serving(Forwarder(uri)) as server:
        server.before = overtake
        opened.append(unique_run(MlflowClient(tracking_uri=server.url), experiment, tags, "slow", 2)[0])
    return opened


def test_parameters_keep_to_the_limits_of_a_server() -> None:
    found = flat_params({"a" * 300: "b" * 7000, "odd@key": {}})
    assert {len(name) for name in found} == {250, 7}
    assert len(next(iter(found.values()))) == 6000
