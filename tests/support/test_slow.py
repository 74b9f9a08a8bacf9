"""Tests that start nothing and run nothing are told from slow ones by their code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import projects, slow
from tests.support.databases import postgres_cluster


class Started:
    """A helper whose methods start another process."""

    def version(self) -> bytes:
        return subprocess.run([sys.executable, "-V"], check=True, capture_output=True).stdout


@pytest.fixture
def database() -> None:
    with postgres_cluster():
        pass


def runs(root: Path) -> None:
    projects.run_until(root, "gate", projects.AS_OF, ".store")


def runs_in_a_helper(root: Path) -> None:
    for path in root.iterdir():
        runs(path)


def starts() -> bytes:
    return Started().version()


def asks(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("database")


def imports() -> None:
    from airflow.utils.db import initdb

    initdb()


def writes(root: Path) -> None:
    projects.write_scenario(root)


@pytest.mark.parametrize("function", [runs, runs_in_a_helper, starts, asks, imports, database])
def test_what_reaches_a_run_or_another_process_is_slow(function: Callable[..., object]) -> None:
    assert slow.reaches_slow_code(function)


def test_what_reaches_neither_is_not() -> None:
    assert not slow.reaches_slow_code(writes)


@pytest.mark.parametrize("place", slow.COSTLY)
def test_what_is_listed_as_costly_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    assert (slow.TESTS / path).exists()
    assert not name or f"def {name}(" in (slow.TESTS / path).read_text(encoding="utf-8")


def test_this_file_is_among_the_fast_tests(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("slow") is None
    assert not slow.is_slow(request.node)
