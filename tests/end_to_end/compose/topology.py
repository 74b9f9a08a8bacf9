"""The compose file's services as processes of this machine: their own commands, environment, order and health checks.

Only what a container gives is put in its place: host names become ports of this machine, mounted folders become
folders of it, and PostgreSQL and Redis come from Debian's packages.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.end_to_end.compose.conftest import Services
from tests.support.databases import free_port, postgres_cluster, postgres_programs

# Put where every Python process finds it: notes the paths that are opened for writing, made, moved or removed.
WATCH = """
import os, sys

_notes = os.open(os.environ["WATCHED_WRITES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGED = {"os.remove": [0], "os.rmdir": [0], "os.rename": [0, 1], "os.symlink": [1], "os.link": [1]}


def _changed(event, arguments):
    if event == "open":
        return arguments[:1] if (arguments[2] or 0) & _WRITE else []
    if event == "os.mkdir":
        return arguments[:1] if not os.path.exists(arguments[0]) else []
    if event in ("os.remove", "os.rmdir") and arguments[1] not in (-1, None):  # named within a folder that is open
        return [os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), os.fsdecode(arguments[0]))]
    return [arguments[place] for place in _CHANGED.get(event, [])]


def _note(event, arguments):
    for path in _changed(event, arguments):
        if isinstance(path, (str, bytes, os.PathLike)):
            os.write(_notes, os.fsencode(os.path.abspath(os.fsdecode(path))) + b"\\n")


sys.addaudithook(_note)
"""
START_S = 150  # for one service to be healthy, on a machine that has other work too
STOP_S = 60


class Topology:
    """Services as processes, started when something asks for them and stopped in the opposite order."""

    def __init__(self, services: Services, project: Path, state: Path) -> None:
        self.services = services
        self.project = project
        self.state = state
        self.ports = {port: free_port() for port in ("6379", "8080", "8974")}
        (project / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
        self._temporary.mkdir()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: set[str] = set()

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.ports['8080']}"

    @property
    def database(self) -> str:
        """Address of Airflow's database."""
        return self._localized(self.services["init"]["environment"]["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])

    def log(self, name: str) -> Path:
        """Return the file that holds what the service has printed."""
        return self.state / f"{name}.log"

    @property
    def _temporary(self) -> Path:
        return self.state / "tmp"

    def written(self, name: str) -> set[str]:
        """Return the paths, as in the container, that the service's Python processes have written to."""
        lines = (self.state / f"{name}.writes").read_text(encoding="utf-8").splitlines()
        return {self._in_container(path) for path in set(lines)}

    def libraries(self, name: str) -> set[str]:
        """Return the names of the shared libraries that the service's first process has loaded."""
        maps = Path(f"/proc/{self._running[name].pid}/maps").read_text(encoding="utf-8")
        return {Path(line.split()[-1]).name for line in maps.splitlines() if line.endswith(".so")}

    def _in_container(self, path: str) -> str:
        for here, there in ((self._temporary, "/tmp"), (self.state, "/opt/airflow"), (self.project, "/opt/mtl")):  # noqa: S108
            if Path(path).is_relative_to(here):
                return there + path.removeprefix(str(here))
        return path

    def start(self, name: str, again: bool = False) -> None:
        """Start the service after those it depends on, and wait until it is what they wait for."""
        if name in self._ready and not again:
            return
        for needed in self.services[name].get("depends_on", {}):
            self.start(needed)
        if name == "postgres":  # runs already: its user and password are its environment's
            self._ready.add(name)
            return
        self._running[name] = self._spawn(name)
        self._wait(name, self._running[name])
        self._ready.add(name)

    def stop(self) -> None:
        """Stop all processes, the last one first; none outlives its time, nor do its children."""
        for process in reversed(self._running.values()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_S)

    def is_healthy(self, name: str) -> bool:
        """Run the service's own health check."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        checked = subprocess.run(
            [self._localized(word) for word in command],
            env=self._environment(name),
            cwd=self.project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_S,
            check=False,
        )
        return checked.returncode == 0

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        with self.log(name).open("wb") as log:
            return subprocess.Popen(
                self._command(self.services[name]["command"]),
                env=self._environment(name),
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            ended = process.poll()
            if "healthcheck" not in self.services[name] and ended == 0:
                return
            if ended is not None:
                raise AssertionError(f"{name} has ended with {ended}:\n{self.log(name).read_text()[-4000:]}")
            if "healthcheck" in self.services[name] and self.is_healthy(name):
                return
            time.sleep(1)
        raise AssertionError(f"{name} is not ready after {START_S} s:\n{self.log(name).read_text()[-4000:]}")

    def _command(self, words: list[str]) -> list[str]:
        local = [self._localized(word) for word in words]
        # The image's entry point hands to Airflow what is no program of its own.
        return local if local[0] in ("bash", "sh") else ["airflow", *local]

    def _environment(self, name: str) -> dict[str, str]:
        programs = [str(Path(sys.executable).parent), str(postgres_programs()), "/usr/local/bin", "/usr/bin", "/bin"]
        given = self.services[name]["environment"]
        return {
            "PATH": ":".join(programs),
            "TMPDIR": str(self._temporary),
            "POCL_CACHE_DIR": str(Path.home() / ".cache/pocl"),  # kernels take long to compile on a busy machine
            "PYTHONDONTWRITEBYTECODE": "1",  # where code cannot be written, Python does without
            "WATCHED_WRITES": str(self.state / f"{name}.writes"),
            "AIRFLOW_HOME": str(self.state),  # the image has one a container, with the logs in a volume for all
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["8080"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["8974"]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self._log_port("triggerer")),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self._log_port(name)),
            **{key: self._localized(str(value)) for key, value in given.items()},
            "HOME": str(self._temporary) if given.get("HOME") == "/tmp" else os.environ["HOME"],  # noqa: S108
        }

    def _log_port(self, name: str) -> int:
        return self.ports.setdefault(f"logs of {name}", free_port())

    def _localized(self, value: str) -> str:
        value = re.sub(r"\b(?:postgres|redis|api-server):(\d+)", r"127.0.0.1:\1", value)
        value = value.replace("/opt/mtl", str(self.project)).replace("dir /data", f"dir {self.state}")
        return re.sub(r"\b(?:5432|6379|8080|8974)\b", lambda found: str(self.ports[found[0]]), value)


@contextlib.contextmanager
def run_topology(services: Services, project: Path, state: Path) -> Iterator[Topology]:
    """Yield the services ready to be started, with PostgreSQL running; stop all of them in the end."""
    if shutil.which("redis-server") is None:
        pytest.skip("no Redis here: apt-get install redis-server")
    topology = Topology(services, project, state)
    given = services["postgres"]["environment"]
    with postgres_cluster(given["POSTGRES_USER"], given["POSTGRES_PASSWORD"]) as url:
        create_database(url, given["POSTGRES_DB"])
        topology.ports["5432"] = int(re.findall(r":(\d+)/", url)[0])
        try:
            yield topology
        finally:
            topology.stop()


def create_database(url: str, name: str) -> None:
    """Create a database in the cluster, as the image does when it starts on an empty volume."""
    engine: Any = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
