"""One Airflow for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.server import scenarios
from tests.support.airflow import Airflow, running


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    project, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    scenarios.write_project(project)
    with running(home, project, scenarios.DAGS) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def early_runs(airflow: Airflow) -> dict[str, str]:
    """Ids of the runs that were started with the server, by scenario."""
    return scenarios.start_early_runs(airflow)


@pytest.fixture
def here(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(airflow.project)
