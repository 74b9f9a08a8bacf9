"""The compose file as Debian's client reads it, with secrets that `make env` has made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

Services = dict[str, dict[str, Any]]
PROFILES = ["--profile", "gpu", "--profile", "maintenance", "--profile", "cluster"]


def make_secrets(folder: Path) -> str:
    """Run what `make env` runs as if the project lay in the folder, and return what it says."""
    script = folder / "include/docker/secrets.sh"
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "include/docker/secrets.sh", script)
    return subprocess.run([script], check=True, capture_output=True, text=True).stdout


def read_secrets(folder: Path) -> dict[str, str]:
    """Return the secrets in the folder's ``.env`` by name."""
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def configure(folder: Path, *options: str, override: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Let the client read the compose file, and one over it, with the folder's ``.env``."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here: apt-get install docker-compose")
    files = [PROJECT / "docker-compose.yaml", *([override] if override else [])]
    named = [word for file in files for word in ("--file", str(file))]
    return subprocess.run(
        [program, "--env-file", str(folder / ".env"), *named, *PROFILES, "config", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def read_services(read: subprocess.CompletedProcess[str]) -> Services:
    """Return the services by name from what the client has printed."""
    assert read.returncode == 0, read.stderr
    found: Services = yaml.safe_load(read.stdout.replace("$$", "$"))["services"]  # printed as it would be written
    return found


def writable(service: dict[str, Any]) -> list[str]:
    """Return the folders that a service may write to: those in memory, and its volumes that are not read-only."""
    mounts = [mount.split(":") for mount in service["volumes"]]
    memory = [mount.split(":")[0] for mount in service.get("tmpfs", [])]
    return [*memory, *(target for _, target, mode in mounts if mode == "rw")]


@pytest.fixture(scope="session")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    make_secrets(folder)
    return folder


@pytest.fixture(scope="session")
def secrets(secrets_folder: Path) -> dict[str, str]:
    return read_secrets(secrets_folder)


@pytest.fixture(scope="session")
def services(secrets_folder: Path) -> Services:
    """Return the services by name, all that refers to something else in its place."""
    return read_services(configure(secrets_folder))


@pytest.fixture(scope="session")
def written() -> dict[str, Any]:
    """Return the compose file as it is written, names of secrets instead of their values."""
    text = (PROJECT / "docker-compose.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
