"""The table of all scenarios shows what their newest runs found."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.report import labels
from mtl_tasks.store.artifacts import Store
from tests.benchmarks import rankers
from tests.benchmarks.output import ResultTable
from tests.benchmarks.scenarios import HEADINGS, table
from tests.support.projects import AS_OF, NAME, write_log, write_scenario


def test_the_newest_run_of_a_scenario_has_a_row_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = make_run(NAME, AsOf.parse(AS_OF), {}, "store")
    evaluation = run_pipeline(run, lambda stage, result: None).evaluation.tasks
    made = ResultTable.of(table(Store("store")))
    assert [column.heading for column in made.columns] == list(HEADINGS)
    rows = made.rows
    shown = {row[HEADINGS.index("task")]: dict(zip(HEADINGS, row, strict=True)) for row in rows}
    first = dict(zip(HEADINGS, rows[0], strict=True))
    assert (first["scenario"], first["as of"], first["cascade"]) == (NAME, AS_OF, "–")
    assert first["verdict"] in ("promote", "reject")
    assert shown["rating"]["fusion"] == f"{evaluation['rating'].fusion['rmse'].value:.4f}"
    assert shown["purchase"]["als"] == f"{evaluation['purchase'].members['als']['auc'].value:.4f}"


def test_the_newest_run_of_a_scenario_has_a_row_a_ranker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    document = run_pipeline(make_run(NAME, AsOf.parse(AS_OF), {}, "store"), lambda stage, result: None)
    made = ResultTable.of(rankers.table(Store("store")))
    assert [column.heading for column in made.columns] == list(rankers.HEADINGS)
    lists = document.evaluation.ranking.by_ranker
    shown = {row[3].strip("*"): row[4] for row in made.rows}
    assert set(shown) == {labels.list_title(name) for name in lists}
    als = lists["als"]["ndcg"]
    assert shown["ALS"] == f"{als.value:.4f} [{als.low:.4f}, {als.high:.4f}]"
