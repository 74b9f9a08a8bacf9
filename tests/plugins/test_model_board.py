"""The board answers those whom Airflow lets see a scenario's DAG, and shows hostile text as text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests import board
from tests.board import ASKED, paths
from tests.conftest import PROJECT
from tests.projects import NAME


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    board.make_history(root)
    return root


@pytest.fixture
def app(project: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> FastAPI:
    from plugins.model_board.app import app

    monkeypatch.setenv("MTL_STORE", str(project / ".store"))
    return app


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    return TestClient(app)


@pytest.fixture
def reader(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Somebody who is logged in and may read what the test allows."""
    from airflow.api_fastapi.core_api.security import get_user

    from plugins.model_board import access

    monkeypatch.setattr(access, "may_read", lambda user, scenario: scenario == NAME)
    app.dependency_overrides[get_user] = lambda: "reader"
    yield TestClient(app)
    app.dependency_overrides.clear()


def test_without_login_every_route_is_refused(app: FastAPI, stranger: TestClient) -> None:
    answers = {path: stranger.get(path, params=ASKED).status_code for path in paths(NAME)}
    assert len(answers) > 8
    assert set(answers.values()) == {401}


def test_no_route_takes_anything_but_a_question(app: FastAPI) -> None:
    assert {method for route in app.routes if isinstance(route, APIRoute) for method in route.methods} == {"GET"}


def test_without_access_a_scenario_does_not_exist(
    app: FastAPI, reader: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import access

    monkeypatch.setattr(access, "may_read", lambda user, scenario: False)
    for path in paths(NAME):
        answer = reader.get(path, params=ASKED)
        assert f"train_{NAME}" not in answer.text
        if NAME in path or "dag-run" in path:
            assert answer.status_code == 404, path
            missing = reader.get(path.replace(NAME, "nothing"), params={**ASKED, "dag_id": "train_nothing"})
            assert missing.text == answer.text.replace(NAME, "nothing")
    assert reader.get("/api/scenarios").json() == []


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..", "%2fetc", "Small", "small%00", "a" * 50])
def test_names_that_lead_elsewhere_are_refused(reader: TestClient, name: str) -> None:
    assert reader.get(f"/api/scenarios/{name}/runs/{'0' * 64}").status_code in (404, 422)


def test_a_link_out_of_the_store_is_no_scenario(reader: TestClient, project: Path, tmp_path: Path) -> None:
    from plugins.model_board import access

    (tmp_path / "elsewhere" / "registry").mkdir(parents=True)
    link = project / ".store" / "linked"
    link.symlink_to(tmp_path / "elsewhere")
    try:
        assert "linked" not in access.known_scenarios(access.open_store())
    finally:
        link.unlink()


@pytest.mark.parametrize("as_of", ["2013-05-08", "2013-05-10", "2013-05-11"])
def test_a_runs_page_shows_its_evidence(reader: TestClient, project: Path, as_of: str) -> None:
    entry = board.entry_of(project, as_of)
    page = reader.get(f"/scenarios/{NAME}/runs/{entry.run_key}")
    assert page.status_code == 200
    assert "Artefacts" in page.text
    assert "Rules of the gate" in page.text
    document = reader.get(f"/api/scenarios/{NAME}/runs/{entry.run_key}").json()
    assert {row["state"] for row in document["artifacts"]} == {"sound"}
    assert document["as_of"] == as_of


def test_hostile_text_is_shown_as_text_and_nothing_else_may_run(reader: TestClient, project: Path) -> None:
    forced = board.entry_of(project, "2013-05-11").run_key
    for path in ("/", f"/scenarios/{NAME}", f"/scenarios/{NAME}/runs/{forced}"):
        answer = reader.get(path, headers={"Accept": "text/html"})
        assert answer.text.count("<script") == 1
        assert "&lt;script&gt;" in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
        assert f'<script nonce="{nonce}">' in answer.text


def test_the_history_tells_standings_and_champions(reader: TestClient) -> None:
    history = reader.get(f"/api/scenarios/{NAME}").json()
    assert [run["standing"] for run in history["runs"]] == ["promoted", "retired", "rejected", "forced"]
    page = reader.get(f"/scenarios/{NAME}").text
    assert "rating rmse &lt;= 0.5: fails" in page
    assert "too eager" in page


def test_two_runs_are_compared(reader: TestClient, project: Path) -> None:
    asked = {
        name: board.entry_of(project, day).run_key for name, day in [("first", "2013-05-08"), ("second", "2013-05-10")]
    }
    made = reader.get(f"/api/scenarios/{NAME}/compare", params=asked).json()
    assert [row["setting"] for row in made["settings"]] == ["gate.absolute"]
    assert "gate.absolute" in reader.get(f"/scenarios/{NAME}/compare", params=asked).text


def test_a_user_is_explored_and_a_stranger_told_apart(reader: TestClient, project: Path) -> None:
    import pandas as pd

    lists = pd.read_parquet(next((project / ".store" / NAME / "2013-05-08" / "recommend").rglob("*.parquet")))
    run = board.entry_of(project, "2013-05-08").run_key
    asked: dict[str, Any] = {"run": run, "user": str(lists["user_id"].iloc[0])}
    made = reader.get(f"/api/scenarios/{NAME}/explore", params=asked).json()
    assert len(made["offers"]) == 5
    assert made["offers"][0]["tasks"]["rating"]["explained"]["contributions"]
    page = reader.get(f"/scenarios/{NAME}/explore", params=asked)
    assert made["offers"][0]["title"] in page.text
    lost = reader.get(f"/scenarios/{NAME}/explore", params={"run": run, "user": "<script>"})
    assert "ids of this log are whole numbers" in lost.text
    assert reader.get(f"/api/scenarios/{NAME}/explore", params={"run": run, "user": "999999999"}).status_code == 422


def test_the_api_is_described(reader: TestClient) -> None:
    assert "/api/scenarios/{scenario}/runs/{run_key}" in reader.get("/openapi.json").json()["paths"]


def test_starting_imports_no_model_library() -> None:
    code = (
        "import sys; import plugins.model_board.app; "
        "print([name for name in ('lightgbm', 'implicit', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_airflow_loads_the_plugin_and_none_of_its_parts(airflow_database: None) -> None:
    from airflow.plugins_manager import get_fastapi_plugins, get_import_errors

    assert get_import_errors() == {}
    assert {app["url_prefix"] for app in get_fastapi_plugins()[0]} == {"/model-board"}


def test_refused_without_a_login_is_what_airflow_itself_says(stranger: TestClient) -> None:
    assert stranger.get("/api/scenarios").json() == {"detail": "Not authenticated"}
