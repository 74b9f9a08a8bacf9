"""One Airflow for all tests of this folder, and the runs that take long, which are started or meddled with early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_tasks.store.registry import RunRecord
from tests.end_to_end.server import meddling, scenarios
from tests.support.airflow import Airflow, running
from tests.support.projects import AS_OF, NAME

HERE = Path(__file__).parent
# Fixtures of runs that take long or wait for something, in an order in which they do not hold up each other. The
# scheduler is killed before it has other work, so that no other run loses a task.
BEFORE_ALL_TESTS = ("killed", "early_runs", "overtaken", "woken", "held_up", "ahead", "again")


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    project, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    scenarios.write_project(project)
    with running(home, project, scenarios.DAGS) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def early(request: pytest.FixtureRequest) -> None:
    """Set up now what the chosen tests ask for of that list, so that runs wait while the server works on others."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asked_for = {name for item in tests if item.path.parent == HERE for name in item.fixturenames}
    for name in BEFORE_ALL_TESTS:
        if name in asked_for:
            with contextlib.suppress(Exception):  # raised again in the tests that ask for it
                request.getfixturevalue(name)


@pytest.fixture(scope="session")
def killed(airflow: Airflow) -> list[str]:
    """Ids of two runs of one date that lose a task and the scheduler."""
    return meddling.kill_task_and_scheduler(airflow)


@pytest.fixture(scope="session")
def early_runs(airflow: Airflow) -> dict[str, str]:
    """Ids of the runs that were started with the server, by scenario."""
    return scenarios.start_early_runs(airflow)


@pytest.fixture(scope="session")
def woken(airflow: Airflow, early_runs: dict[str, str]) -> str:
    """Id of a run that an asset has started and that has waited for its day."""
    return meddling.complete_day(airflow)


@pytest.fixture(scope="session")
def held_up(airflow: Airflow) -> tuple[str, str]:
    """Ids of a failed run and of one that has waited for its verdict."""
    return meddling.hold_up(airflow)


@pytest.fixture(scope="session")
def overtaken(airflow: Airflow, early_runs: dict[str, str]) -> RunRecord:
    """The entry of a run that was promoted by hand while a person was asked."""
    return meddling.overtake(airflow, early_runs["overtaken"])


@pytest.fixture(scope="session")
def ahead(airflow: Airflow, held_up: tuple[str, str]) -> meddling.Ahead:
    """Runs of which one waits for another, and none for an answer."""
    return meddling.go_ahead(airflow, *held_up)


@pytest.fixture(scope="session")
def again(airflow: Airflow, early_runs: dict[str, str]) -> str:
    """Id of a run that has nothing to do: it was started after one of the same date had ended."""
    airflow.follow(scenarios.TRAIN, early_runs[NAME])
    return airflow.trigger(scenarios.TRAIN, {"as_of": AS_OF})


@pytest.fixture
def here(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(airflow.project)
