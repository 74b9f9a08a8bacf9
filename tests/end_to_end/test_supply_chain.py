"""The bill of materials holds what the locks pin, and every lock has its command."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import PROJECT

LOCKS = [PROJECT / "requirements.txt", *sorted((PROJECT / "include/requirements").glob("*.txt"))]


def pins(lock: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)(?:\[[^]]*\])?==([^ ;\\]+)", lock.read_text(), flags=re.MULTILINE))


def dry(target: str) -> str:
    command = ["make", "-n", target]
    made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return made.stdout


def test_every_group_of_dependencies_has_a_lock_that_make_lock_compiles() -> None:
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
    assert {lock.stem for lock in LOCKS[1:]} == set(groups)
    commands = dry("lock")
    optional = re.findall(r"for extra in ([a-z ]+);", commands)[0].split()
    assert {*re.findall(r"--group ([a-z-]+)", commands), *optional} == set(groups)


def test_every_lock_has_a_bill_of_materials() -> None:
    [locks] = re.findall(r"for lock in ([^;]+);", dry("sbom"))
    assert sorted(locks.split()) == sorted(str(lock.relative_to(PROJECT)) for lock in LOCKS)


def test_the_audit_takes_a_package_that_nobody_answers_for_as_an_error() -> None:
    assert "pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt" in dry("audit")


@pytest.mark.skipif(not (PROJECT / ".audit/bin/cyclonedx-py").exists(), reason="make sbom installs cyclonedx-py")
def test_a_bill_of_materials_holds_what_its_lock_pins(tmp_path: Path) -> None:
    lock = PROJECT / "include/requirements/tuning.txt"
    command = [PROJECT / ".audit/bin/cyclonedx-py", "requirements", lock, "--pyproject", PROJECT / "pyproject.toml"]
    subprocess.run([*command, "--output-file", tmp_path / "sbom.json"], capture_output=True, check=True)
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "mtl-tasks"
    assert {(part["name"], part["version"]) for part in document["components"]} == pins(lock)
    assert all(part["externalReferences"][0]["hashes"] for part in document["components"])
