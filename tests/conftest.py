"""Setup of every test before the first import of Airflow: a temporary state folder. Order and marks of the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).parents[1]

# Airflow reads these when it is imported, and makes its folder then and there: a fixture would come too late.
AIRFLOW_HOME = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads that spin slow each other down by an order of magnitude

# A time limit of an example fails on a busy machine; the rest is as in the profile that is in effect, such as CI's.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file of slow tests where they are left out: that alone would import Airflow and JAX."""
    from tests.support.slow import is_slow_throughout

    leave_out = config.option.markexpr == "not slow" and is_slow_throughout(collection_path)
    return True if leave_out else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and put the files of whole runs first: workers that begin with them end together."""
    from tests.support.slow import is_slow

    for item in items:
        if is_slow(item):
            item.add_marker("slow")
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.fixture(autouse=True)
def working_folder() -> Iterator[None]:
    """Come back to the folder that a test began in: the command line changes to ``--root`` and stays there."""
    before = Path.cwd()
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def airflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Airflow's SQLite database as it is before any DAG is known."""
    from airflow.utils.db import initdb

    initdb()
    template = tmp_path_factory.mktemp("airflow") / "template.db"
    copy_database(Path(AIRFLOW_HOME) / "airflow.db", template)
    return template


@pytest.fixture(scope="module")
def airflow_database(airflow_template: Path) -> None:
    """Give each test file an empty Airflow database: a second version of another file's DAG makes Airflow warn."""
    from airflow.settings import Session

    Session.remove()
    copy_database(airflow_template, Path(AIRFLOW_HOME) / "airflow.db")


def copy_database(source: Path, target: Path) -> None:
    """Overwrite a SQLite database under the locks that its open connections respect."""
    with contextlib.closing(sqlite3.connect(source)) as read, contextlib.closing(sqlite3.connect(target)) as written:
        read.backup(written)


@pytest.fixture(scope="session")
def board_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has a history, made once for all workers; who changes it works on a copy."""
    from tests.support import board
    from tests.support.shared import shared_folder

    return shared_folder(tmp_path_factory, "board", board.make_history)
