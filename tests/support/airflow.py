"""A real Airflow on free ports: its processes, and a client of its REST API with a token."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psutil
import structlog
from sqlalchemy import create_engine, text

from tests.conftest import PROJECT
from tests.support.databases import postgres_cluster

# nora has no role: she may log in and see nothing
USERS = {"admin": "admin", "olga": "op", "victor": "viewer", "nora": ""}
AIRFLOW = [sys.executable, "-m", "airflow"]
SERVICES = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
ENDED = ("success", "failed")
PRELOAD = "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"
# Half of what a task spends here goes into importing these. Nobody changes the code of this server, so that they can be
# preloaded, too; they import the rest of the project that tasks need.
PRELOADED_CODE = (
    "dags.approval",
    "dags.notifying",
    "dags.params",
    "dags.readiness",
    "dags.timetables",
    "mtl_tasks.pipeline.approval_form",
    "mtl_tasks.pipeline.measures",
    "mtl_tasks.pipeline.outcome",
)
POOLS = {"cpu_heavy": 4, "gpu": 1}  # with two slots, short tasks would leave two processors idle between them


def preloading() -> dict[str, str]:
    """Return the settings of ``make up`` by which tasks start with their libraries imported."""
    settings = (PROJECT / "include/airflow/env.sh").read_text(encoding="utf-8")
    return dict(re.findall(r"^export (AIRFLOW__SCHEDULER__MP_\w+|OPENBLAS_NUM_THREADS)=(\S+)", settings, re.MULTILINE))


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status


@contextlib.contextmanager
def as_a_task() -> Iterator[None]:
    """Within the block, this process may ask what a task may ask."""
    from airflow.sdk.execution_time.supervisor import (
        InProcessSupervisorComms,
        InProcessTestSupervisor,
        set_supervisor_comms,
    )

    supervisor = InProcessTestSupervisor(
        id=uuid4(),
        pid=os.getpid(),
        process=psutil.Process(),
        process_log=structlog.get_logger(),
        client=InProcessTestSupervisor._api_client(),
    )
    supervisor.comms = InProcessSupervisorComms(supervisor=supervisor)
    with set_supervisor_comms(supervisor.comms):
        yield


class Airflow:
    """The server: start it with :func:`running`."""

    def __init__(self, home: Path, project: Path, database: str) -> None:
        self.home, self.project, self._database = home, project, database
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens: dict[str, str] = {}
        self.environment = {**os.environ, **self._settings()}

    def _settings(self) -> dict[str, str]:
        settings = {
            "core__dags_folder": str(self.project / "dags"),
            "core__plugins_folder": str(PROJECT / "plugins"),
            "core__load_examples": "False",
            "core__executor": "LocalExecutor",
            "core__parallelism": "6",
            "core__simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "core__simple_auth_manager_passwords_file": str(self.home / "passwords.json"),
            "core__execution_api_server_url": f"{self.url}/execution/",
            "api__host": "127.0.0.1",
            "api__port": str(self.port),
            "api__workers": "1",
            "api_auth__jwt_secret": secrets.token_hex(64),
            "dag_processor__min_file_process_interval": "3600",
            "scheduler__task_instance_heartbeat_timeout": "20",
            "scheduler__task_instance_heartbeat_timeout_detection_interval": "3",
            "scheduler__orphaned_tasks_check_interval": "10",
            "scheduler__scheduler_idle_sleep_time": "0.3",  # else a run waits a second for each of its tasks
            "scheduler__allowed_run_id_pattern": "^.+$",  # whatever may be in a run's id is to be shown as text
            "database__sql_alchemy_conn": self._database,
            "database__sql_alchemy_conn_async": self._database,
        }
        named = {f"AIRFLOW__{name.upper()}": value for name, value in settings.items()}
        home = {"AIRFLOW_HOME": str(self.home), "MTL_STORE": str(self.project / ".store")}
        others = {"PYTHONPATH": str(self.project), "OMP_WAIT_POLICY": "PASSIVE"}
        preloaded = preloading()
        preloaded[PRELOAD] = ",".join([preloaded[PRELOAD], *PRELOADED_CODE])
        return {**named, **home, **preloaded, **others}

    def prepare(self) -> None:
        """Make the database."""
        (self.home / "passwords.json").write_text(json.dumps({name: name for name in USERS}), encoding="utf-8")
        self.command("db", "migrate")

    def command(self, *arguments: str) -> str:
        """Run the `airflow` command and return what it prints."""
        done = subprocess.run(
            [*AIRFLOW, *arguments], env=self.environment, cwd=self.project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def change(self, statement: str, **values: Any) -> int:
        """Change the metadata database behind Airflow's back, and return how many rows were."""
        engine = create_engine(self._database)
        with engine.begin() as connection:
            changed: int = connection.execute(text(statement), values).rowcount
        engine.dispose()
        return changed

    def start(self, service: str) -> None:
        """Start a process of the server; its log is kept in the home."""
        with (self.home / f"{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(
                [*AIRFLOW, *SERVICES[service]],
                env=self.environment,
                cwd=self.project,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, service: str) -> None:
        """End a process and those it has started as a power cut would."""
        process = self._processes.pop(service)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def libraries(self, service: str) -> set[str]:
        """Return the names of the shared libraries that a service's child processes have loaded, tasks not counted."""
        children = psutil.Process(self._processes[service].pid).children()
        return {Path(mapped.path).name for child in children for mapped in child.memory_maps()}

    def stop(self) -> None:
        """Ask every process to end, and insist after a while."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def call(self, path: str, body: Any = None, *, method: str | None = None, user: str | None = "admin") -> Any:
        """Return the JSON answer of the API; a body makes it a POST.

        Raises
        ------
        RefusedError
            If the answer is not 2xx.
        """
        headers = {"Content-Type": "application/json"}
        if user is not None:
            headers["Authorization"] = f"Bearer {self.token(user)}"
        return self._send(f"/api/v2/{path}", body, headers, method)

    def token(self, user: str) -> str:
        """Log a user in, once, and return the token."""
        if user not in self._tokens:
            login = {"username": user, "password": user}
            answer = self._send("/auth/token", login, {"Content-Type": "application/json"}, None)
            self._tokens[user] = answer["access_token"]
        return self._tokens[user]

    def _send(self, path: str, body: Any, headers: dict[str, str], method: str | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - address
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RefusedError(error.code, error.read().decode()) from error

    def trigger(self, dag: str, conf: dict[str, Any], user: str | None = "admin", *, date: str | None = None) -> str:
        """Start a run by hand, of a date if one is given, and return its id."""
        logical_date = None if date is None else f"{date}T00:00:00Z"
        run: str = self.call(f"dags/{dag}/dagRuns", {"logical_date": logical_date, "conf": conf}, user=user)[
            "dag_run_id"
        ]
        return run

    def follow(self, dag: str, run: str, seconds: float = 600) -> dict[str, Any]:
        """Wait for a run to end and return it."""
        return self.until(lambda: self._ended(dag, run), f"{dag} {run} to end", seconds)

    def _ended(self, dag: str, run: str) -> Any:
        found = self.call(f"dags/{dag}/dagRuns/{run}")
        return found if found["state"] in ENDED else None

    def until(self, look: Callable[[], Any], what: str, seconds: float, *, pause: float = 1) -> Any:
        """Return what ``look`` finds; fail with the end of the logs if it finds nothing in time.

        Parameters
        ----------
        pause
            The longest time between two looks, seconds.
        """
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            with contextlib.suppress(OSError):
                found = look()
                if found:
                    return found
            time.sleep(min(0.1 + waited / 20, pause))  # asked often, the server has less time for the runs
        raise AssertionError(f"waited {seconds:g} s in vain for {what}; scheduler: {self.tail('scheduler')}")

    def tail(self, service: str) -> str:
        """Return the end of a process's log."""
        return self.logged(service)[-3000:]

    def logged(self, service: str) -> str:
        """Return a process's log."""
        return (self.home / f"{service}.log").read_text(encoding="utf-8", errors="replace")

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id, of mapped ones with their names."""
        found = self.call(f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["rendered_map_index"] or task["task_id"]: task for task in found}

    def update(self, asset: str, **event: Any) -> None:
        """Post an event of the asset of that name, as a writer outside Airflow does."""
        self.call("assets/events", {"asset_id": self._asset_id(asset), **event})

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Return the events of the asset of that name, oldest first."""
        found: list[dict[str, Any]] = self.call(f"assets/events?asset_id={self._asset_id(asset)}&order_by=timestamp")[
            "asset_events"
        ]
        return found

    def _asset_id(self, name: str) -> int:
        known: list[dict[str, Any]] = self.call(f"assets?name_pattern={quote(name, safe='')}")["assets"]
        return int(known[0]["id"])

    def log(self, dag: str, run: str, task: str) -> str:
        """Return the log of a task's first try."""
        return json.dumps(self.call(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1?map_index=-1"))


@contextlib.contextmanager
def running(home: Path, project: Path, dags: Iterable[str]) -> Iterator[Airflow]:
    """Run Airflow on a project; its DAG files are the repository's, its scenarios the project's.

    The named DAGs are unpaused, which starts a run of their schedule's last interval.
    """
    shutil.copytree(PROJECT / "dags", project / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    for code in ("mtl_tasks", "plugins"):
        (project / code).symlink_to(PROJECT / code)
    # SQLite lets one write at a time: beside a busy scheduler `backfill create` is refused, "database is locked".
    with postgres_cluster("airflow") as database:
        yield from _serving(Airflow(home, project, database), dags)


def _serving(airflow: Airflow, dags: Iterable[str]) -> Iterator[Airflow]:
    airflow.prepare()
    try:
        for service in SERVICES:
            airflow.start(service)
        airflow.until(lambda: _healthy(airflow), "Airflow to be healthy", 120)
        for pool, slots in POOLS.items():
            airflow.call("pools", {"name": pool, "slots": slots})
        for dag in dags:
            unpause(airflow, dag)
        yield airflow
    finally:
        airflow.stop()


def unpause(airflow: Airflow, dag: str) -> None:
    """Let the runs of a DAG start, once it is parsed."""
    airflow.until(lambda: _unpaused(airflow, dag), f"{dag} to be parsed", 60)


def _healthy(airflow: Airflow) -> bool:
    health = airflow.call("monitor/health", user=None)
    return all(part["status"] == "healthy" for part in health.values())


def _unpaused(airflow: Airflow, dag: str) -> bool:
    try:
        return not airflow.call(f"dags/{dag}", {"is_paused": False}, method="PATCH")["is_paused"]
    except RefusedError:
        return False
