"""The page of a scenario with a thousand runs: its size, and how often the store is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mtl_tasks.store.records import SCHEMA, RunRecord, record_name
from mtl_tasks.store.sealing import sealed
from tests.support import board
from tests.support.projects import NAME

RUNS = 1000
FIRST = np.datetime64("2020-01-01")
METRICS = {"rating": ("rmse", "mae"), "purchase": ("auc", "log_loss"), "ranking": ("ndcg", "recall")}
MANY = {f"task_{number:02d}": ("auc", "log_loss", "calibration_error") for number in range(40)}
READS: list[str] = []
WATCHED: list[str] = []


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and WATCHED and str(arguments[0]).startswith(WATCHED[0]):
        READS.append(str(arguments[0]))


sys.addaudithook(note)  # it cannot be removed; without a watched folder it does nothing


def write_runs(root: Path, shown: Mapping[str, tuple[str, ...]] = METRICS, runs: int = RUNS) -> None:
    for number in range(runs):
        value = {"value": 0.5 + number / 10_000, "low": 0.45, "high": 0.7, "rows": 100}
        metrics = {task: dict.fromkeys(names, value) for task, names in shown.items()}
        as_of, decision = str(FIRST + number), "promote" if number % 3 else "reject"
        reasons = [f"rating rmse <= 1: {'holds' if number % 3 else 'fails'}, rmse is 0.5 [0.45, 0.7] on 100 rows"]
        scenario = {"name": NAME, "title": "Films"}
        record = RunRecord(f"{number:064x}"[::-1], as_of, decision, reasons, scenario, {}, "c0de", metrics)
        folder = root / ".store" / NAME / "registry" / as_of
        folder.mkdir(parents=True)
        (folder / f"0001-{record_name(record)}").write_bytes(sealed({"schema": SCHEMA, **record.to_json()}, None))


@pytest.fixture
def reader(tmp_path: Path, airflow_database: None) -> Iterator[TestClient]:
    write_runs(tmp_path)
    WATCHED.append(str(tmp_path / ".store"))
    with board.reading(tmp_path) as client:
        yield client
    WATCHED.clear()
    READS.clear()


def test_a_page_of_a_thousand_runs_is_small_and_reads_each_record_once(reader: TestClient) -> None:
    path = f"/scenarios/{NAME}"
    page = reader.get(path)
    assert page.text.count("Compare the run as of") == 100
    assert "Show all 1,000 runs" in page.text
    assert len(page.content) < 300_000
    assert RUNS <= len(READS) <= RUNS + 20
    READS.clear()
    for choice in ({}, {"standing": "rejected"}, {"sort": "rating.rmse"}, {"search": "2020-02"}):
        assert reader.get(path, params=choice).status_code == 200
    assert len(READS) <= 20


def test_a_page_of_many_tasks_shows_some_metrics_and_offers_all(tmp_path: Path, airflow_database: None) -> None:
    write_runs(tmp_path, MANY, runs=120)
    with board.reading(tmp_path) as client:
        page = client.get(f"/scenarios/{NAME}")
        chosen = client.get(f"/scenarios/{NAME}", params={"column": ["task_39.log_loss"], "sort": "task_00.auc"})
    assert page.text.count("Compare the run as of") == 100
    assert len(page.content) < 300_000
    assert page.text.count("95 % interval") == 4
    assert "4 of 120 metrics" in page.text
    assert page.text.count('name="column"') == 120
    assert chosen.text.count("95 % interval") == 1
    assert "task_39: Log loss" in chosen.text.partition("<thead>")[2].partition("</thead>")[0]
