from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

ParseDags = Callable[[Path], "DagBag"]


@pytest.fixture
def parse_dags(monkeypatch: pytest.MonkeyPatch) -> ParseDags:
    """Return a function that parses the project's DAG files as if they lay in the given project folder."""

    def parse(root: Path) -> DagBag:
        from airflow.dag_processing.dagbag import DagBag

        from dags import scenario_files

        monkeypatch.setattr(scenario_files, "ROOT", root)
        return DagBag(dag_folder=str(PROJECT / "dags"))

    return parse
