"""A server as the compose file describes it trains a model, its members fitted by the worker of the queue ``gpu``."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from mtl_tasks.models.boosting import device
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry
from mtl_tasks.store.sealing import StoreKey
from tests.conftest import PROJECT
from tests.end_to_end.compose.conftest import Services, writable
from tests.end_to_end.compose.topology import Topology, run_topology
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

DAG = f"train_{NAME}"
MAINTENANCE = "clean"
RUN_S = 420
FINAL = {"success", "failed"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the containers see of the project, and a small scenario that wants a GPU."""
    root = tmp_path_factory.mktemp("project")
    for mounted in ("dags", "mtl_tasks", "plugins", "include/docker"):
        if (PROJECT / mounted).exists():
            shutil.copytree(PROJECT / mounted, root / mounted, ignore=shutil.ignore_patterns("__pycache__"))
    write_log(root)
    write_scenario(root, boosting={**SCENARIO["boosting"], "device": "gpu"})
    return root


@pytest.fixture(scope="module")
def services(services: Services) -> Services:
    """Return the services without the profile `cluster`: the tests of shards start its programs."""
    return {name: service for name, service in services.items() if "cluster" not in service.get("profiles", [])}


@pytest.fixture(scope="module")
def topology(services: Services, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    found = device.probe("gpu")
    if found.problem is not None:
        pytest.skip(f"no OpenCL device: {found.problem}")
    with run_topology(services, project, tmp_path_factory.mktemp("state")) as started:
        for name in services:
            if name != MAINTENANCE:
                started.start(name)
        yield started


@pytest.fixture(scope="module")
def client(topology: Topology, secrets: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=topology.url, timeout=30) as session:
        token = log_in(session, secrets["ADMIN_PASSWORD"]).raise_for_status().json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


def log_in(session: httpx.Client, password: str, user: str = "admin") -> httpx.Response:
    return session.post("/auth/token", json={"username": user, "password": password})


def wait_for(what: str, seconds: float, ask: Any) -> Any:
    """Ask until the answer is something, for at most some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds} s")


@pytest.fixture(scope="module")
def tasks(client: httpx.Client) -> list[dict[str, Any]]:
    """Run the training DAG to its end, and return its tasks but for those that were skipped."""
    wait_for("the DAG is known", 120, lambda: client.get(f"/api/v2/dags/{DAG}").status_code == 200)
    client.patch(f"/api/v2/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    asked = client.post(f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": {"as_of": AS_OF}})
    run = f"/api/v2/dags/{DAG}/dagRuns/{asked.raise_for_status().json()['dag_run_id']}"
    wait_for("the run has ended", RUN_S, lambda: client.get(run).json()["state"] in FINAL)
    found = client.get(f"{run}/taskInstances").raise_for_status().json()["task_instances"]
    return [task for task in found if task["state"] != "skipped"]


def test_every_process_is_healthy_by_its_own_check(topology: Topology, services: Services) -> None:
    checked = [name for name, service in services.items() if "healthcheck" in service]
    assert [name for name in checked if not topology.is_healthy(name)] == []


@pytest.mark.parametrize("name", ["worker", "gpu-worker"])
def test_a_worker_has_imported_the_libraries_before_it_forks_a_task(topology: Topology, name: str) -> None:
    assert "lib_lightgbm.so" in topology.libraries(name)
    assert "lib_lightgbm.so" not in topology.libraries("scheduler")


def test_only_who_knows_the_password_comes_in(client: httpx.Client, topology: Topology) -> None:
    with httpx.Client(base_url=topology.url) as stranger:
        assert stranger.get("/api/v2/dags").status_code == 401
        assert log_in(stranger, "admin").status_code == 401
    assert client.get("/api/v2/pools").json()["pools"]


def test_a_run_trains_and_promotes(tasks: list[dict[str, Any]], project: Path, secrets: dict[str, str]) -> None:
    assert {task["task_id"]: task["state"] for task in tasks if task["state"] != "success"} == {}
    (entry,) = Registry(Store(str(project / ".store"), StoreKey(secrets["MTL_STORE_KEY"])), NAME).entries()
    assert entry.promoted
    assert entry.as_of == AS_OF


def test_each_worker_runs_the_tasks_of_its_queue_and_the_gpus_fits_the_boosted_member(
    tasks: list[dict[str, Any]], topology: Topology
) -> None:
    printed = {"default": topology.log("worker").read_text(), "gpu": topology.log("gpu-worker").read_text()}
    for task in tasks:
        assert [queue for queue, text in printed.items() if task["id"] in text] == [task["queue"]], task["task_id"]
    queues = {task["rendered_map_index"] or task["task_id"]: task["queue"] for task in tasks}
    assert queues["member:independent"] == "gpu"
    assert {queues["resolve"], queues["decide.gate"], queues["publish.publish"]} == {"default"}


def test_the_log_of_a_task_is_shown(client: httpx.Client, tasks: list[dict[str, Any]]) -> None:
    (task,) = [task for task in tasks if task["rendered_map_index"] == "member:independent"]
    path = f"/api/v2/dags/{DAG}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    shown = client.get(path, params={"map_index": task["map_index"]}).raise_for_status()
    assert "member:independent" in shown.text


@pytest.mark.parametrize(("dag", "shown"), [(DAG, True), (f"recommend_{NAME}", False)])
def test_the_board_shows_a_scenario_to_whose_role_may_read_its_dag(
    client: httpx.Client,
    topology: Topology,
    project: Path,
    secrets: dict[str, str],
    tasks: list[dict[str, Any]],
    dag: str,
    shown: bool,
) -> None:
    may = [{"action": {"name": "can_read"}, "resource": {"name": name}} for name in (f"DAG:{dag}", "DAG Runs")]
    client.post("/auth/fab/v1/roles", json={"name": f"reads {dag}", "actions": may}).raise_for_status()
    person = {"username": dag, "email": f"{dag}@localhost", "first_name": "A", "last_name": "Reader", "password": dag}
    client.post("/auth/fab/v1/users", json={**person, "roles": [{"name": f"reads {dag}"}]}).raise_for_status()
    (entry,) = Registry(Store(str(project / ".store"), StoreKey(secrets["MTL_STORE_KEY"])), NAME).entries()
    with httpx.Client(base_url=topology.url, timeout=30) as session:
        token = log_in(session, dag, dag).raise_for_status().json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        assert session.get(f"/api/v2/dags/{DAG}/dagRuns").is_success == shown
        listed = session.get("/model-board/api/scenarios").raise_for_status().json()
        assert [row["scenario"] for row in listed] == ([NAME] if shown else [])
        of_run = f"dag-run?{httpx.QueryParams(dag_id=DAG, run_id=tasks[0]['dag_run_id'])}"
        for path in (f"scenarios/{NAME}", f"scenarios/{NAME}/runs/{entry.run_key}", of_run):
            answer = session.get(f"/model-board/{path}", headers={"Accept": "text/html"})
            assert answer.status_code == (200 if shown else 404), path
            assert (SCENARIO["title"] in answer.text) == shown


AIRFLOW_SERVICES = ["init", "api-server", "scheduler", "dag-processor", "triggerer", "worker", "gpu-worker"]


@pytest.mark.parametrize("name", AIRFLOW_SERVICES)
def test_nothing_is_written_but_in_memory_and_in_volumes(
    topology: Topology, services: Services, tasks: list[dict[str, Any]], name: str
) -> None:
    folders = [Path(folder) for folder in (*writable(services[name]), "/dev", "/proc")]
    found = topology.written(name)
    assert found
    assert sorted(path for path in found if not any(Path(path).is_relative_to(folder) for folder in folders)) == []


def test_starting_again_changes_nothing(topology: Topology, client: httpx.Client, secrets: dict[str, str]) -> None:
    before = client.get("/api/v2/pools").json()
    topology.start("init", again=True)
    assert client.get("/api/v2/pools").json() == before
    assert log_in(client, secrets["ADMIN_PASSWORD"]).status_code == 201


def test_cleaning_removes_old_runs_and_their_logs_and_leaves_the_rest(
    topology: Topology, client: httpx.Client, tasks: list[dict[str, Any]]
) -> None:
    run = tasks[0]["dag_run_id"]
    address = f"/api/v2/dags/{DAG}/dagRuns/{run}"
    logs = [path for path in (topology.state / "logs").rglob("*.log") if run in str(path)]
    assert logs
    topology.start(MAINTENANCE, again=True)
    assert client.get(address).status_code == 200
    assert all(path.exists() for path in logs)
    old = datetime.now(UTC) - timedelta(days=100)
    engine = create_engine(topology.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE dag_run SET start_date = :old WHERE run_id = :run"), {"old": old, "run": run})
    engine.dispose()
    for path in logs:
        os.utime(path, (old.timestamp(), old.timestamp()))
    topology.start(MAINTENANCE, again=True)
    assert client.get(address).status_code == 404
    assert not any(path.exists() for path in logs)
    assert client.get(f"/api/v2/dags/{DAG}").status_code == 200
