"""A server as the compose file describes it trains a model, its members fitted by the worker of the queue ``gpu``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mtl_tasks.boosting import device
from mtl_tasks.registry import Registry
from mtl_tasks.store import Store
from tests.compose.conftest import Services
from tests.compose.topology import Topology, run_topology
from tests.conftest import PROJECT
from tests.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

DAG = f"train_{NAME}"
RUN_S = 420
FINAL = {"success", "failed"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the containers see of the project, and a small scenario that wants a GPU."""
    root = tmp_path_factory.mktemp("project")
    for code in ("dags", "mtl_tasks", "include/docker"):
        shutil.copytree(PROJECT / code, root / code, ignore=shutil.ignore_patterns("__pycache__"))
    write_log(root)
    write_scenario(root, boosting={**SCENARIO["boosting"], "device": "gpu"})
    return root


@pytest.fixture(scope="module")
def topology(services: Services, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    found = device.probe("gpu")
    if found.problem is not None:
        pytest.skip(f"no OpenCL device: {found.problem}")
    with run_topology(services, project, tmp_path_factory.mktemp("state")) as started:
        for name in services:
            started.start(name)
        yield started


@pytest.fixture(scope="module")
def client(topology: Topology, secrets: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=topology.url, timeout=30) as session:
        token = log_in(session, secrets["ADMIN_PASSWORD"]).raise_for_status().json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


def log_in(session: httpx.Client, password: str) -> httpx.Response:
    return session.post("/auth/token", json={"username": "admin", "password": password})


def wait_for(what: str, seconds: float, ask: Any) -> Any:
    """Ask until the answer is something, for at most some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds} s")


@pytest.fixture(scope="module")
def tasks(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Run the training DAG to its end, and return its tasks by the name that the UI shows."""
    wait_for("the DAG is known", 120, lambda: client.get(f"/api/v2/dags/{DAG}").status_code == 200)
    client.patch(f"/api/v2/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    asked = client.post(f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": {"as_of": AS_OF}})
    run = f"/api/v2/dags/{DAG}/dagRuns/{asked.raise_for_status().json()['dag_run_id']}"
    wait_for("the run has ended", RUN_S, lambda: client.get(run).json()["state"] in FINAL)
    found = client.get(f"{run}/taskInstances").raise_for_status().json()["task_instances"]
    return {task["rendered_map_index"] or task["task_id"]: task for task in found}


def test_every_process_is_healthy_by_its_own_check(topology: Topology, services: Services) -> None:
    assert [name for name in services if name != "init" and not topology.is_healthy(name)] == []


def test_only_who_knows_the_password_comes_in(client: httpx.Client, topology: Topology) -> None:
    with httpx.Client(base_url=topology.url) as stranger:
        assert stranger.get("/api/v2/dags").status_code == 401
        assert log_in(stranger, "admin").status_code == 401
    assert client.get("/api/v2/pools").json()["pools"]


def test_a_run_trains_and_promotes(tasks: dict[str, dict[str, Any]], topology: Topology, project: Path) -> None:
    assert {name: task["state"] for name, task in tasks.items() if task["state"] != "success"} == {}
    (entry,) = Registry(Store(str(project / ".store")), NAME).entries()
    assert entry.promoted
    assert entry.as_of == AS_OF


def test_the_members_are_fitted_by_the_gpu_worker_and_all_else_by_the_other(
    tasks: dict[str, dict[str, Any]], topology: Topology
) -> None:
    members = {task["id"] for name, task in tasks.items() if name.startswith("member:")}
    assert len(members) == 3
    queues = {task["id"]: task["queue"] for task in tasks.values()}
    assert {queues[identity] for identity in members} == {"gpu"}
    assert {queue for identity, queue in queues.items() if identity not in members} == {"default"}
    printed = {name: topology.log(name).read_text(encoding="utf-8") for name in ("worker", "gpu-worker")}
    assert {identity for identity in queues if identity in printed["gpu-worker"]} == members
    assert not [identity for identity in members if identity in printed["worker"]]


def test_the_log_of_a_task_is_shown(client: httpx.Client, tasks: dict[str, dict[str, Any]]) -> None:
    task = tasks["member:independent"]
    path = f"/api/v2/dags/{DAG}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    shown = client.get(path, params={"map_index": task["map_index"]}).raise_for_status()
    assert "member:independent" in shown.text


def test_starting_again_changes_nothing(topology: Topology, client: httpx.Client, secrets: dict[str, str]) -> None:
    before = client.get("/api/v2/pools").json()
    topology.start("init", again=True)
    assert client.get("/api/v2/pools").json() == before
    assert log_in(client, secrets["ADMIN_PASSWORD"]).status_code == 201
