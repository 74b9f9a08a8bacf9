"""The board answers those whom Airflow lets see a scenario's DAG, and shows hostile text as text."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from mtl_tasks.pipeline import shared_rows
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.past_runs import read_history
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.promotion import rollback
from mtl_tasks.store.registry import RunRecord
from tests.conftest import PROJECT
from tests.support import board
from tests.support.board import ASKED, paths
from tests.support.projects import NAME


@pytest.fixture
def app(board_project: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> FastAPI:
    from plugins.model_board.app import app

    monkeypatch.setenv("MTL_STORE", str(board_project / ".store"))
    return app


@pytest.fixture(scope="module")
def dags(airflow_database: None) -> dict[str, str]:
    """Two training DAGs that Airflow knows: the project's, and one of others."""
    from airflow.utils.session import create_session

    names = {"own": f"train_{NAME}", "foreign": "train_alien"}
    with create_session() as session:
        for kind, tags in (("own", ("training", "multi-task")), ("foreign", ("training",))):
            board.add_dag(session, names[kind], *tags)
    return names


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    return TestClient(app)


@pytest.fixture
def reader(app: FastAPI, board_project: Path) -> Iterator[TestClient]:
    with board.reading(board_project) as client:
        yield client


@pytest.mark.faults(32)
def test_without_login_every_route_is_refused(app: FastAPI, stranger: TestClient) -> None:
    answers = {path: stranger.get(path, params=ASKED).status_code for path in paths(NAME)}
    assert len(answers) > 8
    assert set(answers.values()) == {401}


def test_no_route_takes_anything_but_a_question(app: FastAPI) -> None:
    assert {method for route in app.routes if isinstance(route, APIRoute) for method in route.methods} == {"GET"}


@pytest.fixture
def access_to(reader: TestClient) -> Iterator[pytest.MonkeyPatch]:
    """Changes what the reader may read, and is undone before the reader's own access is."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.faults(32)
def test_without_access_a_scenario_does_not_exist(
    app: FastAPI, reader: TestClient, access_to: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import access

    access_to.setattr(access, "may_read", lambda user, scenario: False)
    for path in paths(NAME):
        answer = reader.get(path, params=ASKED)
        assert f"train_{NAME}" not in answer.text
        if NAME in path or "dag-run" in path:
            assert answer.status_code == 404, path
            missing = reader.get(path.replace(NAME, "nothing"), params={**ASKED, "dag_id": "train_nothing"})
            assert missing.text == answer.text.replace(NAME, "nothing")
    assert reader.get("/api/scenarios").json() == []


@pytest.mark.faults(32)
@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..", "%2fetc", "Small", "small%00", "a" * 50])
def test_names_that_lead_elsewhere_are_refused(reader: TestClient, name: str) -> None:
    assert reader.get(f"/api/scenarios/{name}/runs/{'0' * 64}").status_code in (404, 422)


@pytest.mark.faults(25)
def test_a_link_out_of_the_store_is_no_scenario(reader: TestClient, board_project: Path, tmp_path: Path) -> None:
    from plugins.model_board import access

    (tmp_path / "elsewhere" / "registry").mkdir(parents=True)
    link = board_project / ".store" / "linked"
    link.symlink_to(tmp_path / "elsewhere")
    try:
        assert "linked" not in access.known_scenarios(access.open_store())
    finally:
        link.unlink()


@pytest.mark.parametrize("as_of", ["2013-05-08", "2013-05-10", "2013-05-11"])
def test_a_runs_page_shows_its_evidence(reader: TestClient, board_project: Path, as_of: str) -> None:
    entry = board.entry_of(board_project, as_of)
    page = reader.get(f"/scenarios/{NAME}/runs/{entry.run_key}")
    assert page.status_code == 200
    assert "Artifacts" in page.text
    assert "Rules of the gate" in page.text
    document = reader.get(f"/api/scenarios/{NAME}/runs/{entry.run_key}").json()
    assert {row["state"] for row in document["artifacts"]} == {"sound"}
    assert document["as_of"] == as_of
    assert document["origin"] == board.ORIGIN.to_json()
    assert datetime.fromisoformat(document["made_at"]).utcoffset() == timedelta(0)
    assert "<dd>ada, backfill</dd>" in page.text
    assert f"<code>{'ab12' * 3}</code> with local changes" in page.text


@pytest.mark.faults(32)
def test_hostile_text_is_shown_as_text_and_nothing_else_may_run(reader: TestClient, board_project: Path) -> None:
    forced = board.entry_of(board_project, "2013-05-11").run_key
    for path in ("/", f"/scenarios/{NAME}", f"/scenarios/{NAME}/runs/{forced}"):
        answer = reader.get(path, headers={"Accept": "text/html"})
        assert "&lt;script&gt;" in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
        assert answer.text.count("<script") == answer.text.count(f'<script nonce="{nonce}">') > 0


def test_the_history_tells_standings_and_champions(reader: TestClient) -> None:
    history = reader.get(f"/api/scenarios/{NAME}").json()
    assert [run["standing"] for run in history["runs"]] == ["promoted", "retired", "rejected", "forced"]
    page = reader.get(f"/scenarios/{NAME}").text
    assert "rating rmse ≤ 0.5: fails" in page
    assert "too eager" in page


def test_the_card_of_the_champion_tells_who_passed_it_where_and_on_which_days(reader: TestClient) -> None:
    card = reader.get(f"/api/scenarios/{NAME}").json()["card"]
    assert set(card["devices"].values()) == {"cpu"}
    assert list(card["windows"]) == ["train", "tune", "blend", "test"]
    assert card["windows"]["test"] == ["2013-05-06", "2013-05-10"]
    assert card["approved"].startswith("promoted by force by ada at 2013-05-11")
    page = reader.get(f"/scenarios/{NAME}").text
    assert "2013-05-06 to 2013-05-10" in page
    assert "min_history" not in page


def test_a_finished_run_is_drawn_once_and_another_members_learning_on_demand(
    reader: TestClient, board_project: Path
) -> None:
    from plugins.model_board import pages

    path = f"/scenarios/{NAME}/runs/{board.entry_of(board_project, '2013-05-10').run_key}"
    pages._sections.cache_clear()
    first, again = (reader.get(path).text for _ in range(2))
    assert pages._sections.cache_info().hits == 1
    nonce = re.compile('nonce="[^"]*"')
    assert nonce.sub("", first) == nonce.sub("", again)
    assert first.count('class="card member"') == first.count("the largest weight in the fusions") == 1
    shared = reader.get(f"{path}?member=shared_tail").text
    assert "shared_tail, rating: learning curve" in shared
    assert "als, rating: feature importance" not in shared
    assert f'{path}?member=als#members">als</a>' in shared
    assert "als, rating: feature importance" in reader.get(f"{path}?member=als").text
    assert reader.get(f"{path}?member=nobody").status_code == 422


def test_a_page_of_many_tasks_leaves_its_heavy_sections_for_later(
    reader: TestClient, board_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import pages

    path = f"/scenarios/{NAME}/runs/{board.entry_of(board_project, '2013-05-10').run_key}"
    whole = reader.get(path).text
    monkeypatch.setattr(pages, "WHOLE_TASKS", 1)
    pages._sections.cache_clear()
    light, curves = reader.get(path).text, reader.get(path, params={"section": "curves"}).text
    pages._sections.cache_clear()  # nobody else shall see them
    assert re.findall(r'data-load="[^"]*section=(\w+)"', light) == [
        "metrics",
        "slices",
        "curves",
        "members",
        "fusion",
        "calibration",
    ]
    assert len(light) < 0.5 * len(whole)
    assert 'aria-label="rating: predicted and actual, residuals"' in curves
    assert 'section=curves"' not in curves
    assert 'aria-label="rating: predicted and actual, residuals"' not in light
    assert "the largest weight" in light
    assert reader.get(path, params={"section": "everything"}).status_code == 422


def test_only_so_many_pages_wait_to_be_drawn(
    reader: TestClient, board_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import pages

    path = f"/scenarios/{NAME}/runs/{board.entry_of(board_project, '2013-05-10').run_key}"
    pages._sections.cache_clear()
    monkeypatch.setattr(pages, "_drawers", BoundedSemaphore(1))
    with pages._turn_to_draw():
        answer = reader.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert "pages are being drawn" in answer.text
    assert reader.get(path).status_code == 200


def test_each_rule_is_drawn_beside_its_sentence(reader: TestClient, board_project: Path) -> None:
    page = reader.get(f"/scenarios/{NAME}/runs/{board.entry_of(board_project, '2013-05-10').run_key}").text
    row = page.partition("rating rmse ≤ 0.5")[2].partition("</li>")[0]
    assert row.startswith(": rmse is 1.")
    assert 'class="rule bad"' in row
    assert re.search(r'aria-label="value 1\.\d+, interval 1\.\d+ to 1\.\d+, limit 0\.5000"', row)


def test_drift_is_on_the_page_in_the_json_and_between_any_two_runs(reader: TestClient, board_project: Path) -> None:
    first, later = (board.entry_of(board_project, day).run_key for day in ("2013-05-08", "2013-05-10"))
    assert reader.get(f"/api/scenarios/{NAME}/runs/{first}").json()["drift"]["champion"] is None
    assert "there is no champion to compare with" in reader.get(f"/scenarios/{NAME}/runs/{first}").text
    told = reader.get(f"/api/scenarios/{NAME}/runs/{later}").json()["drift"]["champion"]
    assert told["as_of"] == "2013-05-08"
    asked = {"run": [first, later]}
    [compared] = reader.get(f"/api/scenarios/{NAME}/compare", params=asked).json()["drift"]
    assert compared["shifts"] == told["shifts"]
    assert "Drift of the test rows" in reader.get(f"/scenarios/{NAME}/compare", params=asked).text


@pytest.fixture
def spoilt(reader: TestClient, board_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, to be spoilt: the reader is shown a copy."""
    shutil.copytree(board_project / ".store", tmp_path / ".store")
    monkeypatch.setenv("MTL_STORE", str(tmp_path / ".store"))
    return tmp_path


def test_a_scenario_without_runs_says_so_and_says_its_name_once(reader: TestClient, spoilt: Path) -> None:
    shutil.rmtree(spoilt / ".store")
    (spoilt / ".store" / NAME / "registry").mkdir(parents=True)
    assert "No run yet" in reader.get(f"/scenarios/{NAME}").text
    row = reader.get("/").text.partition("<tbody>")[2].partition("</tbody>")[0]
    assert row.count(f">{NAME}<") == 1
    assert "no run yet" in row


def test_a_damaged_artifact_is_named_and_what_the_registry_holds_is_shown(reader: TestClient, spoilt: Path) -> None:
    entry = board.entry_of(spoilt, "2013-05-10")
    path = f"/scenarios/{NAME}/runs/{entry.run_key}"
    assert "Metrics on the test window" in reader.get(path).text
    fused = board.store(spoilt).open(entry.refs["fuse"])
    file = fused.folder / fused.manifest["files"]["fusion.json"]["path"]
    file.write_bytes(file.read_bytes()[:-2] + b" \n")
    page = reader.get(path).text
    assert "An artifact is damaged or missing" in page
    assert "does not match its manifest" in page
    assert "rating rmse ≤ 0.5: fails" in page
    assert "RMSE ↓" in page
    assert "✗ damaged" in page


def test_a_run_is_drawn_again_after_the_artifacts_of_its_champion_have_changed(
    reader: TestClient, spoilt: Path
) -> None:
    run, champion = (board.entry_of(spoilt, f"2013-05-{day}") for day in ("11", "08"))
    path = f"/scenarios/{NAME}/runs/{run.run_key}"
    assert champion.run_key in reader.get(path).text  # the link to what it was compared with
    changed = ">last day</th>"
    assert changed in reader.get(path).text
    folder = spoilt / ".store" / champion.refs["validate"].uri
    folder.rename(spoilt / "elsewhere")
    assert changed not in reader.get(path).text
    (spoilt / "elsewhere").rename(folder)
    assert changed in reader.get(path).text


def test_a_pruned_run_says_so_and_shows_what_is_left(reader: TestClient, spoilt: Path) -> None:
    entry = board.entry_of(spoilt, "2013-05-08")
    for stage in ("validate", "split", "features"):
        shutil.rmtree(board.store(spoilt).open(entry.refs[stage]).folder)
    page = reader.get(f"/scenarios/{NAME}/runs/{entry.run_key}").text
    assert "The tables of this run were pruned" in page
    assert "RMSE ↓" in page
    assert entry.reasons[0].partition(" ")[0] in page


def test_a_damaged_record_is_named_on_the_pages_and_hides_no_run(reader: TestClient, spoilt: Path) -> None:
    record = next((spoilt / ".store" / NAME / "registry" / "2013-05-11").glob("*-promote-*.json"))
    record.write_bytes(record.read_bytes()[:-5])
    page = reader.get(f"/scenarios/{NAME}")
    assert page.status_code == 200
    assert "A record of the registry is damaged" in page.text
    assert record.name in page.text
    assert "record damaged" in page.text
    assert record.name in reader.get("/").text
    assert reader.get(f"/api/scenarios/{NAME}").json()["champion"] == board.entry_of(spoilt, "2013-05-08").run_key


def test_a_store_that_does_not_answer_is_told_from_an_empty_one(
    reader: TestClient, spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = next((spoilt / ".store" / NAME / "registry").glob("*/*.json"))
    record.unlink()
    record.mkdir()  # a file that cannot be read
    page = reader.get(f"/scenarios/{NAME}", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert "The store does not answer" in page.text
    assert "Nothing is lost" in page.text
    monkeypatch.setenv("MTL_STORE", "/" + "x" * 300)  # no file system takes such a name
    assert reader.get("/", headers={"Accept": "text/html"}).status_code == 503


@pytest.mark.parametrize(
    ("state", "told"), [("running", "has no verdict yet"), ("failed", "ended as failed before a verdict was entered")]
)
def test_a_dag_run_without_a_verdict_says_why(reader: TestClient, dags: dict[str, str], state: str, told: str) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    asked = {"dag_id": dags["own"], "run_id": f"manual_{state}"}
    with create_session() as session:
        session.add(DagRun(**asked, run_type="manual", state=state, run_after=datetime.now(UTC)))
    page = reader.get("/dag-run", params=asked)
    assert told in page.text
    assert "Airflow knows no run" in reader.get("/dag-run", params={**asked, "run_id": "none"}).text


def test_a_run_may_have_as_long_an_id_as_airflow_allows(reader: TestClient, dags: dict[str, str]) -> None:
    assert "Airflow knows no run" in reader.get("/dag-run", params={"dag_id": dags["own"], "run_id": "r" * 250}).text
    assert reader.get("/dag-run", params={"dag_id": "d" * 250, "run_id": "r" * 250}).status_code == 404
    assert reader.get("/dag-run", params={"dag_id": dags["own"], "run_id": "r" * 251}).status_code == 422


def test_a_dag_of_others_with_a_name_like_ours_shows_no_model(
    reader: TestClient, dags: dict[str, str], board_project: Path, access_to: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import access

    access_to.setattr(access, "may_read", lambda user, scenario: True)
    name = dags["foreign"].removeprefix("train_")
    (board_project / ".store" / name / "registry").mkdir(parents=True, exist_ok=True)
    try:
        assert name in access.known_scenarios(access.open_store())
        asked = {"dag_id": dags["foreign"], "run_id": "manual"}
        assert (
            reader.get("/dag-run", params=asked).json()
            == reader.get("/dag-run", params={**asked, "dag_id": "train_nothing"}).json()
        )
    finally:
        shutil.rmtree(board_project / ".store" / name)


def test_access_to_a_dag_of_others_is_no_access_to_a_scenario(app: FastAPI, dags: dict[str, str]) -> None:
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    from plugins.model_board import access

    create_auth_manager()
    admin = SimpleAuthManagerUser(username="ada", role="ADMIN")
    readable = {kind: access.may_read(admin, dag.removeprefix("train_")) for kind, dag in dags.items()}
    assert readable == {"own": True, "foreign": False}
    assert access.may_read(admin, "without_a_dag") is True


def test_pages_can_be_used_by_keyboard_and_by_ear(reader: TestClient, board_project: Path) -> None:
    keys = [board.entry_of(board_project, day).run_key for day in ("2013-05-08", "2013-05-10")]
    asked = f"run={keys[0]}&run={keys[1]}"
    ends = ("/", f"/scenarios/{NAME}", f"/scenarios/{NAME}/runs/{keys[0]}", f"/scenarios/{NAME}/compare?{asked}")
    for path in ends:
        page = reader.get(path).text
        assert '<a class="skip" href="#main">' in page
        assert '<main id="main"' in page
        assert "<th>" not in page
        drawings = re.findall("<svg[^>]*>", page)
        assert [tag for tag in drawings if not re.search('role="(img|group)" aria-label="[^"]', tag)] == []


def keys_of(root: Path, *days: str) -> list[str]:
    return [board.entry_of(root, f"2013-05-{day}").run_key for day in days]


def test_runs_are_compared_with_the_first(reader: TestClient, board_project: Path) -> None:
    asked = {"run": keys_of(board_project, "08", "09", "10")}
    made = reader.get(f"/api/scenarios/{NAME}/compare", params=asked).json()
    assert [row["name"] for row in made["settings"]] == ["gate.absolute"]
    assert [run["as_of"] for run in made["runs"]] == ["2013-05-08", "2013-05-09", "2013-05-10"]
    (members,) = [row for row in made["members"] if (row["task"], row["subject"]) == ("rating", "als")]
    assert members["metric"] == "rmse"
    assert members["differences"][0] is None
    difference = members["values"][0]["value"] - members["values"][1]["value"]  # a smaller error is better
    assert members["differences"][1]["value"] == pytest.approx(difference)
    assert made["overlap"].startswith("The test windows overlap.")
    assert "not paired" in made["overlap"]
    page = reader.get(f"/scenarios/{NAME}/compare", params=asked).text
    assert made["overlap"] in page
    assert "gate.absolute" in page
    assert "last day" in page  # another day of the log


def test_runs_whose_test_windows_overlap_are_paired_on_the_rows_that_they_share(
    reader: TestClient, board_project: Path
) -> None:
    keys = keys_of(board_project, "08", "10")
    made = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys}).json()
    [pair] = made["shared_rows"]
    assert (pair["first"], pair["second"], pair["problem"]) == (*keys, None)
    assert pair["days"] == ["2013-05-05", "2013-05-07"]  # the test windows begin on the 3rd and on the 5th
    whole = {(row["task"], row["metric"]): row for row in pair["metrics"] if not row["subject"]}
    assert whole["rating", "rmse"]["gain"]["rows"] < pair["rows"]  # sampled negatives have no rating
    gain = whole["purchase", "auc"]["gain"]
    assert gain["value"] == pytest.approx(whole["purchase", "auc"]["second"] - whole["purchase", "auc"]["first"])
    [unpaired] = [row for row in made["metrics"] if (row["task"], row["metric"]) == ("purchase", "auc")]
    assert gain["high"] - gain["low"] < unpaired["differences"][1]["high"] - unpaired["differences"][1]["low"]
    assert {row["subject"] for row in pair["metrics"]} == {"", "cold_users", "warm_users", "cold_items", "warm_items"}
    page = reader.get(f"/scenarios/{NAME}/compare", params={"run": keys}).text
    assert "Paired differences on shared rows" in page
    assert '<span class="unpaired"><span class="gain' in page  # beside a paired difference its color would mislead
    by_slice = page.partition("On whom: ")[2].partition("</table>")[0]
    shown = re.findall(r'<th scope="row">(\w+)</th>.*?<span class="gain [a-z]+">([+−][\d.]+)', by_slice, re.DOTALL)
    gains = [(task, float(gain.replace("−", "-"))) for task, gain in shown]
    assert gains == sorted(gains)  # of each task the largest loss first
    assert len({task for task, _ in gains}) == 2
    assert 'aria-label="purchase: calibration of the runs"' in page
    assert 'aria-label="rating: RMSE ↓ by day, of the runs"' in page


def test_what_a_gate_measured_between_compared_runs_is_shown(reader: TestClient, board_project: Path) -> None:
    keys = keys_of(board_project, "08", "11")
    [pair] = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys}).json()["paired"]
    assert pair["rule"] == "rating rmse at most 1 worse than the champion"
    page = reader.get(f"/scenarios/{NAME}/compare", params={"run": keys}).text
    table = page.partition("Paired differences of the gate")[2].partition("</table>")[0]
    assert pair["rule"] in table
    assert f"{abs(pair['value']):.4f}" in table
    assert f"<td>{pair['rows']:,}</td>" in table.replace(' class="number"', "")


def test_a_run_without_its_rows_is_not_paired_and_says_why(reader: TestClient, spoilt: Path) -> None:
    keys = keys_of(spoilt, "08", "10")
    ref = board.entry_of(spoilt, "2013-05-10").refs["fuse"]
    shutil.rmtree(board.store(spoilt).open(ref).folder)
    made = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys}).json()
    assert "no artifact here" in made["shared_rows"][0]["problem"]
    assert "not paired" in made["overlap"]
    page = reader.get(f"/scenarios/{NAME}/compare", params={"run": keys}).text
    assert "Not paired: " in page
    assert "unpaired" not in page.partition("</style>")[2]


def test_a_comparison_shows_what_can_be_read_again(reader: TestClient, spoilt: Path) -> None:
    asked = {"run": keys_of(spoilt, "08", "10")}
    evaluated = board.store(spoilt).open(board.entry_of(spoilt, "2013-05-10").refs["evaluate"])
    file = evaluated.folder / evaluated.manifest["files"]["curves.json"]["path"]
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + b" \n")
    page = reader.get(f"/scenarios/{NAME}/compare", params=asked).text
    assert "curves of evaluate cannot be read" in page
    of_both = page_of_curves(page).count("2013-05-10")
    file.write_bytes(whole)
    page = reader.get(f"/scenarios/{NAME}/compare", params=asked).text
    assert "cannot be read" not in page
    assert page_of_curves(page).count("2013-05-10") > of_both


def page_of_curves(page: str) -> str:
    return page.partition('<section id="curves">')[2].partition("</section>")[0]


def test_runs_with_very_many_labels_are_not_paired(
    reader: TestClient, spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.pipeline.shared_rows.READABLE_LABELS", 10)
    made = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys_of(spoilt, "08", "10")}).json()
    assert "more than the 10 that are compared for a page" in made["shared_rows"][0]["problem"]


def test_runs_whose_ids_are_of_other_types_are_not_paired(
    reader: TestClient, spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, read = keys_of(spoilt, "08", "10"), shared_rows._read

    def with_texts(store: Store, entry: RunRecord) -> shared_rows._TestRows:
        rows = read(store, entry)
        return rows if entry.run_key == keys[0] else replace(rows, frame=rows.frame.astype({"user_id": "str"}))

    monkeypatch.setattr(shared_rows, "_read", with_texts)
    made = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys}).json()
    assert made["shared_rows"][0]["problem"].startswith("user_id is a whole number in one run and a text in the other")


def test_a_run_without_its_features_is_paired_without_slices(reader: TestClient, spoilt: Path) -> None:
    keys = keys_of(spoilt, "08", "10")
    ref = board.entry_of(spoilt, "2013-05-10").refs["features"]
    shutil.rmtree(board.store(spoilt).open(ref).folder)
    pair, page = paired(reader, keys)
    assert pair["problem"] is None
    assert {row["subject"] for row in pair["metrics"]} == {""}
    assert "no artifact here" in pair["without_slices"]
    assert "Without slices, because the features of the run cannot be read: " in page


def test_slices_are_shown_once_the_features_are_there_again(reader: TestClient, spoilt: Path) -> None:
    keys = keys_of(spoilt, "08", "10")
    folder = spoilt / ".store" / board.entry_of(spoilt, "2013-05-10").refs["features"].uri
    folder.rename(spoilt / "elsewhere")
    assert paired(reader, keys)[0]["without_slices"]
    (spoilt / "elsewhere").rename(folder)
    pair, page = paired(reader, keys)
    assert pair["without_slices"] is None
    assert {row["subject"] for row in pair["metrics"]} > {"", "warm_users"}
    assert "Without slices" not in page


def paired(reader: TestClient, keys: list[str]) -> tuple[dict[str, Any], str]:
    """Return the one paired comparison of two runs, and the page that shows it."""
    [pair] = reader.get(f"/api/scenarios/{NAME}/compare", params={"run": keys}).json()["shared_rows"]
    return pair, reader.get(f"/scenarios/{NAME}/compare", params={"run": keys}).text


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_than_two_or_more_than_six_runs_are_not_compared(
    reader: TestClient, board_project: Path, count: int
) -> None:
    asked = {"run": keys_of(board_project, "08") * count}
    answer = reader.get(f"/api/scenarios/{NAME}/compare", params=asked)
    assert answer.status_code == 422
    assert "choose 2 to 6" in answer.text


def test_a_user_is_explored_and_a_stranger_told_apart(reader: TestClient, board_project: Path) -> None:
    import pandas as pd

    lists = pd.read_parquet(next((board_project / ".store" / NAME / "2013-05-08" / "recommend").rglob("*.parquet")))
    run = board.entry_of(board_project, "2013-05-08").run_key
    asked: dict[str, Any] = {"run": run, "user": str(lists["user_id"].iloc[0])}
    made = reader.get(f"/api/scenarios/{NAME}/explore", params=asked).json()
    assert len(made["offers"]) == 5
    assert made["offers"][0]["tasks"]["rating"]["explained"]["contributions"]
    page = reader.get(f"/scenarios/{NAME}/explore", params=asked)
    assert made["offers"][0]["title"] in page.text
    assert made["order"] in html.unescape(page.text)
    assert re.match(r"[+−]\d+\.\d\d against the mean candidate: [+−]\d", made["offers"][0]["why"])
    assert made["offers"][0]["why"] in html.unescape(page.text)
    assert "baseline: mean over the training rows" in page.text
    assert "What the user did" in page.text
    lost = reader.get(f"/scenarios/{NAME}/explore", params={"run": run, "user": "<script>"})
    assert "ids of this log are whole numbers" in lost.text
    assert reader.get(f"/api/scenarios/{NAME}/explore", params={"run": run, "user": "999999999"}).status_code == 422


def test_a_run_without_recommendations_offers_users_of_the_champion(
    app: FastAPI, board_project: Path, tmp_path: Path
) -> None:
    shutil.copytree(board_project / ".store", tmp_path / ".store")
    stores = board.registry(tmp_path), board.store(tmp_path)
    rollback(*stores, None, by="ada", reason="too eager", at="2013-05-12T08:00:00+00:00")  # the one of the 11th
    refused, champion = (board.entry_of(tmp_path, f"2013-05-{day}").run_key for day in ("10", "08"))
    with board.reading(tmp_path) as reader:
        page = reader.get(f"/scenarios/{NAME}/explore", params={"run": refused}).text
        own = reader.get(f"/scenarios/{NAME}/explore").text
    sentence = "Users with recommendations of today’s champion:"
    assert sentence in page
    assert sentence not in own
    for shown in (page, own):
        assert len(re.findall(rf'<a href="\?run={champion}&amp;user=\d+">user', shown)) == 3


def test_a_pair_says_where_the_item_stands(reader: TestClient, board_project: Path) -> None:
    run = keys_of(board_project, "08")[0]
    [user, *_] = reader.get(f"/api/scenarios/{NAME}/suggest", params={"run": run, "kind": "user", "prefix": ""}).json()
    asked = {"run": run, "user": user["id"]}
    offers = reader.get(f"/api/scenarios/{NAME}/explore", params=asked).json()["offers"]
    second = {**asked, "item": str(offers[1]["item_id"])}
    made = reader.get(f"/api/scenarios/{NAME}/explore", params=second).json()
    assert made["placement"]["sentence"] == "It is number 2 of the 5 recommendations."
    assert made["placement"]["popular_7d"] == offers[1]["popular_7d"]
    assert made["placement"]["sentence"] in reader.get(f"/scenarios/{NAME}/explore", params=second).text


def test_items_and_users_are_suggested_by_prefix_and_never_more_than_a_dozen(
    reader: TestClient, board_project: Path
) -> None:
    path, run = f"/api/scenarios/{NAME}/suggest", keys_of(board_project, "08")[0]
    items = reader.get(path, params={"run": run, "kind": "item"}).json()
    assert len(items) == 12
    title = next(item["title"] for item in items if item["title"])
    found = reader.get(path, params={"run": run, "kind": "item", "prefix": title[:4].upper()}).json()
    assert title in [item["title"] for item in found]
    assert all(
        item["title"].casefold().startswith(title[:4].casefold()) or item["id"].startswith(title[:4]) for item in found
    )
    assert reader.get(path, params={"run": run, "kind": "item", "prefix": "no such film"}).json() == []
    assert reader.get(path, params={"run": run, "kind": "password", "prefix": ""}).status_code == 422


def test_the_table_of_runs_is_searched_filtered_and_sorted(reader: TestClient) -> None:
    def shown(**choice: object) -> list[str]:
        page = reader.get(f"/scenarios/{NAME}", params=choice).text
        return re.findall(r"Compare the run as of ([\d-]+),", page)

    days = ["2013-05-11", "2013-05-10", "2013-05-09", "2013-05-08"]
    assert shown() == days
    assert shown(sort="as_of", ascending=1) == days[::-1]
    assert shown(standing="rejected") == ["2013-05-10"]
    assert shown(search="TOO EAGER") == ["2013-05-09"]
    assert shown(since="2013-05-09", until="2013-05-10") == days[1:3]
    zoomed = reader.get(f"/scenarios/{NAME}", params={"since": "2013-05-09", "until": "2013-05-10"}).text
    assert re.findall(r"<title>([\d-]+), ", zoomed.partition('class="timeline"')[2].partition("</svg>")[0]) == days[1:3]
    history = reader.get(f"/api/scenarios/{NAME}").json()["runs"]
    by_error = sorted(history, key=lambda run: run["metrics"]["rating"]["rmse"]["value"])
    assert shown(sort="rating.rmse", ascending=1) == [run["as_of"] for run in by_error]
    assert len(shown(show=2)) == 2
    assert all(run["recorded"].startswith("20") for run in history)
    chosen = {"column": ["purchase.auc", "rating.mae"], "sort": "purchase.auc"}
    page = reader.get(f"/scenarios/{NAME}", params=chosen).text
    assert 'aria-sort="descending"><a' in page
    assert re.findall(r"column=[a-z.&;=]*sort=(\w+\.\w+)", page.replace("&amp;", "&")) != []
    assert re.findall(r"<h3>(\w+: [A-Z]+)", page) == ["purchase: AUC", "rating: MAE"]
    too_many = {"column": [f"purchase.metric_{number}" for number in range(13)]}
    assert reader.get(f"/scenarios/{NAME}", params=too_many).status_code == 422
    assert reader.get(f"/scenarios/{NAME}", params={"since": "soon"}).status_code == 422


def test_what_a_run_has_cost_is_one_page_away(reader: TestClient, board_project: Path) -> None:
    costs = reader.get(f"/api/scenarios/{NAME}/costs").json()
    assert [row["as_of"] for row in costs] == ["2013-05-11", "2013-05-10", "2013-05-09", "2013-05-08"]
    assert {"split", "evaluate", "gate"} < set(costs[0]["cost"]["seconds"])
    page = reader.get(f"/scenarios/{NAME}/costs").text
    [row] = re.findall(r'<tr><td class="day">2013-05-10.*?</tr>', page, re.DOTALL)
    assert board.entry_of(board_project, "2013-05-10").run_key[:12] in row
    assert len(re.findall(r'<td class="number">[\d.]+ (?:s|min \d\d s)</td>', row)) == 2  # wall and CPU time
    assert re.search(r" [MG]iB</td>", row)  # the process that runs the tests may have had more than 1 GiB
    assert f"/scenarios/{NAME}/costs" in reader.get(f"/scenarios/{NAME}").text
    [champion] = re.findall(r'<tr><td class="day">([\d-]+)<span class="reason">today’s champion', page)
    assert champion == "2013-05-11"


def test_a_run_that_awaits_approval_is_neither_passed_nor_failed() -> None:
    from mtl_tasks.report.page import make_environment

    module: Any = make_environment(PROJECT / "plugins/model_board/templates").get_template("marks.html").module
    marks = {standing: str(module.mark(standing)) for standing in ("promoted", "rejected", "awaits approval")}
    assert marks == {
        "promoted": '<span class="mark ok">✓ promoted</span>',
        "rejected": '<span class="mark bad">✗ rejected</span>',
        "awaits approval": '<span class="mark open">○ awaits approval</span>',
    }


def test_a_run_leads_to_its_dag_run(board_project: Path, dags: dict[str, str]) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import text

    from plugins.model_board.dag_runs import link_of_gate, links_by_gate
    from plugins.model_board.run_table import Choice, choose_rows

    gate = board.entry_of(board_project, "2013-05-09").refs["gate"]
    with create_session(scoped=False) as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))  # until the end of the transaction, which is undone
        about = {"dag_id": dags["own"], "run_id": "manual+9"}
        run = DagRun(**about, run_type="manual", state="success", run_after=datetime.now(UTC))
        session.add(run)
        session.flush()
        made = {"task_id": "decide.gate", "key": "return_value", "dag_run_id": run.id, **about}
        result = StageResult("gate", gate, reused=False, seconds=1.0, cpu_seconds=1.0, peak_rss_mb=1.0)
        for index, value in enumerate((result.to_json(), {"ref": {"of": "another release"}})):
            session.add(XComModel(**made, value=value, map_index=index, timestamp=datetime.now(UTC)))
        session.flush()
        links = links_by_gate(session, dags["own"])
        assert link_of_gate(session, dags["own"], gate.key) == links[gate.key]
        session.rollback()
        assert link_of_gate(session, dags["own"], gate.key) is None
        before = links_by_gate(session, dags["own"])  # other tests of the process may have run the DAG
    assert links == {**before, gate.key: f"/dags/{dags['own']}/runs/manual%2B9"}
    assert gate.key not in before
    table = choose_rows(read_history(board.store(board_project), NAME), Choice(), {}, links)
    assert {row.run.entry.as_of for row in table.rows if row.link} == {"2013-05-09"}


def test_the_page_of_a_run_leads_to_its_dag_run(
    reader: TestClient, board_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.model_board import dag_runs

    entry = board.entry_of(board_project, "2013-05-09")
    path, link = f"scenarios/{NAME}/runs/{entry.run_key}", f"/dags/train_{NAME}/runs/manual%2B9"
    assert "DAG run</a>" not in reader.get(f"/{path}").text
    made = {(f"train_{NAME}", entry.refs["gate"].key): link}
    monkeypatch.setattr(dag_runs, "link_of_gate", lambda session, dag_id, key: made.get((dag_id, key)))
    assert f'<a target="_top" href="{link}">DAG run</a>' in reader.get(f"/{path}").text
    assert reader.get(f"/api/{path}").json()["dag_run"] == link


def test_the_first_page_has_the_champions_age_the_trend_and_the_next_run(
    reader: TestClient, dags: dict[str, str]
) -> None:
    [summary] = reader.get("/api/scenarios").json()
    days = (datetime.now(UTC).date() - date(2013, 5, 11)).days
    assert summary["champion_age_days"] in (days - 1, days)  # midnight may have passed between the two
    assert summary["trend"].startswith("4 runs, from ")
    page = reader.get("/").text
    assert f'aria-label="purchase AUC ↑: {summary["trend"]}"' in page
    assert "not scheduled" in page  # Airflow knows the DAG, and no next run of it


def test_every_page_has_its_json(app: FastAPI) -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    pages = {route.path for route in routes if route.response_class is HTMLResponse}
    described = set(app.openapi()["paths"])
    assert len(pages) > 5
    assert {path for path in pages if path != "/" and f"/api{path}" not in described} == set()
    assert "/api/scenarios" in described  # of the first page


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
