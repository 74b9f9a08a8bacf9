"""Checking a scenario before its first run: every fault at once, each with its remedy, however large the log."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from mtl_tasks.cli.check_tables import print_inspection
from mtl_tasks.onboarding.check import Inspection, inspect
from mtl_tasks.scenario import Scenario
from tests.support.databases import fill, sql_scenario
from tests.support.logs import AS_OF, DAYS, USERS, tiny_items, tiny_log, tiny_scenario, write_log, write_partition

ALL = 1_000_000


def check(root: Path, scenario: Scenario, rows: int = ALL, as_of: pd.Timestamp | None = AS_OF) -> Inspection:
    return inspect(scenario, as_of, root, rows, {})


def matching(found: Inspection, *texts: str) -> list[bool]:
    return [any(text in problem for problem in found.problems) for text in texts]


def shown(found: Inspection, scenario: Scenario) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    print_inspection(found, scenario, console)
    return console.export_text()


def large_log(root: Path) -> None:
    """Twenty times as many people as in the tiny log, so that no window is too small."""
    rows = [tiny_log().assign(person=tiny_log()["person"] + 1000 * copy) for copy in range(20)]
    write_log(root, pd.concat(rows, ignore_index=True))


def test_a_sound_log_is_ready_with_columns_rates_and_windows(tmp_path: Path) -> None:
    large_log(tmp_path)
    scenario = tiny_scenario()
    found = check(tmp_path, scenario, as_of=None)
    assert (found.ready, found.complete, found.problems, found.as_of) == (True, True, [], "2013-05-07")
    person = next(mapped.found for mapped in found.columns if mapped.key == "source.columns.user")
    assert (person.type, person.nulls, person.distinct, person.low) == ("int64", 0, 20 * USERS, "100")
    test = found.windows["test"]
    assert (test["first"], test["tasks"]["like"]["labelled"]) == ("2013-05-06", 20 * USERS)
    text = shown(found, scenario)
    assert "ready: include/bin/mtl run tiny --as-of 2013-05-07" in text
    assert "50.0 % of 200" in text


def test_every_fault_of_a_column_is_named_not_only_the_first(tmp_path: Path) -> None:
    rows = tiny_log().rename(columns={"person": "persons"}).assign(stars="good", film=tiny_log()["film"] + 0.5)
    write_log(tmp_path, rows.assign(seen_at=rows["seen_at"]))
    write_partition(tmp_path, "2013-05-02", rows.assign(seen_at=rows["seen_at"].dt.tz_localize(None)))
    scenario = tiny_scenario(source__timezone="UTC")
    found = check(tmp_path, scenario)
    assert matching(found, "did you mean 'persons'", "holds double, ids must be", "expected numbers") == [True] * 3
    assert matching(found, "holds timestamps without a time zone, but") == [True]
    assert len(found.problems) == 4
    assert found.unused == ["persons"]
    assert "not ready: 4 problems" in shown(found, scenario)


def test_faults_of_rows_of_the_log_and_of_windows_are_collected(tmp_path: Path) -> None:
    rows = tiny_log()
    rows.loc[:20, "stars"] = 99
    rows["liked"] = 1
    write_log(tmp_path, rows)
    found = check(tmp_path, tiny_scenario(), as_of=AS_OF + pd.Timedelta(days=3))
    assert (
        matching(found, "21 of 60 rows are bad", "stale: the newest event", "'test' (2013-05-09..2013-05-09")
        == [True] * 3
    )
    found = check(tmp_path, tiny_scenario(validation={"max_bad_fraction": 0.5}))
    assert matching(found, "rating: 9 labeled rows in 'train'", "like: 0 negatives in 'test'") == [True, True]


def test_faults_of_item_attributes_are_each_named_once(tmp_path: Path) -> None:
    write_log(tmp_path, items=tiny_items().drop(columns="name").assign(year="old", genres=3))
    found = check(tmp_path, tiny_scenario())
    assert matching(found, "source.items.title", "source.items.numeric.year", "source.items.multi.genres") == [True] * 3
    write_log(tmp_path, items=pd.concat([tiny_items()] * 2))
    assert len(check(tmp_path, tiny_scenario()).problems) == 1


def test_settings_and_missing_files_are_named_together(tmp_path: Path) -> None:
    gate = {"absolute": [{"task": "rating", "metric": "auc", "min": 1}]}
    scenario = tiny_scenario(source__events="nowhere", gate=gate)
    found = check(tmp_path, scenario)
    assert matching(found, "'nowhere'", "'films.parquet'", "rule on rating auc") == [True] * 3


def test_a_gate_without_a_rule_is_a_note_not_a_problem(tmp_path: Path) -> None:
    large_log(tmp_path)
    found = check(tmp_path, tiny_scenario(gate={}))
    assert found.ready
    assert "every model will be rejected" in found.notes[0]


def test_a_part_of_a_partitioned_log_shows_every_window_and_judges_no_count(tmp_path: Path) -> None:
    write_log(tmp_path)
    found = check(tmp_path, tiny_scenario(), rows=5 * USERS)
    assert not found.complete
    assert [found.windows[name]["rows"] > 0 for name in found.windows] == [True] * 5
    assert found.ready  # 10 rows a window are too few to train on, but more were not read


def test_a_window_without_a_row_in_a_part_of_the_log_is_noted(tmp_path: Path) -> None:
    rows = tiny_log()
    write_log(tmp_path, rows[rows["seen_at"].dt.day != 5])
    found = check(tmp_path, tiny_scenario(validation__missing_days="warn"), rows=4 * USERS)
    assert any(note.startswith("blend (2013-05-05 to 2013-05-05) holds none of the rows") for note in found.notes)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_one_large_file_no_more_is_read_than_asked_for(tmp_path: Path, suffix: str) -> None:
    rows = pd.concat([tiny_log().assign(person=100 + n) for n in range(2000)], ignore_index=True)
    if suffix == "csv":
        rows.to_csv(tmp_path / "log.csv", index=False)
    else:
        rows.to_parquet(tmp_path / "log.parquet", row_group_size=1000, index=False)
    scenario = tiny_scenario(source__events=f"log.{suffix}", source__format=suffix, source__items=None)
    found = check(tmp_path, scenario, rows=5000)
    assert not found.complete
    assert 1000 <= found.columns[0].found.rows <= 9000


def test_a_database_is_asked_for_its_newest_days_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    fill(url, tiny_log())
    scenario = sql_scenario(url, source__items=None)
    found = check(tmp_path, scenario, rows=2 * USERS)
    assert (found.columns[0].found.rows, found.complete) == (2 * USERS, False)
    whole = check(tmp_path, scenario)
    assert (whole.columns[0].found.rows, whole.complete) == (DAYS * USERS, True)


@pytest.mark.parametrize("single", [False, True], ids=["partitions", "one file"])
def test_the_day_that_is_not_over_is_left_out_and_said(tmp_path: Path, single: bool) -> None:
    large_log(tmp_path)
    scenario = tiny_scenario()
    if single:
        pd.read_parquet(tmp_path / "log").drop(columns="dt").to_parquet(tmp_path / "log.parquet", index=False)
        scenario = tiny_scenario(source__events="log.parquet")
    today = AS_OF - pd.Timedelta(days=1)
    windows = {"train": 1, "tune": 1, "blend": 1, "test": 1, "min_history": 1}
    scenario = scenario.model_copy(update={"windows": scenario.windows.model_copy(update=windows)})
    found = inspect(scenario, None, tmp_path, ALL, {}, today=today)
    assert (found.problems, found.as_of) == ([], "2013-05-06")
    assert any("over yet" in note for note in found.notes)
    assert inspect(scenario, None, tmp_path, ALL, {}, today=AS_OF).as_of == "2013-05-07"
    none = inspect(scenario, None, tmp_path, ALL, {}, today=AS_OF - pd.Timedelta(days=DAYS))
    assert len(none.problems) == 1
    assert ("no event before 2013-05-01" if single else "no day of the log is over yet") in none.problems[0]


def test_a_partition_without_a_row_is_no_history(tmp_path: Path) -> None:
    large_log(tmp_path)
    write_partition(tmp_path, "2013-04-30", tiny_log().head(0))
    found = check(tmp_path, tiny_scenario(windows__min_history=2))
    assert matching(found, "history: the log starts on 2013-05-01, 1 days before the train window") == [True]
    assert found.windows["test"]["rows"] >= 20 * USERS


def test_words_for_what_is_missing_are_missing_in_a_text_file(tmp_path: Path) -> None:
    rows = tiny_log().astype({"stars": "str"})
    rows.loc[:5, "stars"] = ["NULL", "nan", "None", r"\N", "", " "]
    rows.to_csv(tmp_path / "log.csv", index=False)
    scenario = tiny_scenario(source__events="log.csv", source__format="csv", source__items=None)
    [stars] = [mapped.found for mapped in check(tmp_path, scenario).columns if mapped.key == "tasks.rating.label"]
    assert (stars.nulls, stars.distinct) == (6 / len(rows), 11)


def test_nothing_is_written(tmp_path: Path) -> None:
    write_log(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check(tmp_path, tiny_scenario())
    assert sorted(tmp_path.rglob("*")) == before


def test_the_findings_are_json(tmp_path: Path) -> None:
    write_log(tmp_path)
    document: Any = json.loads(json.dumps(check(tmp_path, tiny_scenario()).to_json(), allow_nan=False))
    assert document["ready"] is False  # 10 rows a day
    assert document["columns"][0]["key"] == "source.columns.user"


def test_texts_and_vectors_of_items_are_described_and_their_faults_named(tmp_path: Path) -> None:
    vectors = [[0.5, float(n)] for n in range(len(tiny_items()))]
    items = tiny_items().assign(plot="a long winter", embedding=vectors)
    write_log(tmp_path, items=items)
    settings = {"source__items__text": ["name", "plot"], "source__items__vectors": "embedding"}
    found = check(tmp_path, tiny_scenario(**settings))
    assert matching(found, "source.items.vectors", "source.items.text") == [False, False]
    keys = [mapped.key for mapped in found.columns]
    assert [keys.count(key) for key in ("source.items.text", "source.items.vectors")] == [2, 1]
    vectors[3] = [1.0]
    write_log(tmp_path, items=items.assign(embedding=vectors))
    found = check(tmp_path, tiny_scenario(**settings))
    assert matching(found, "vectors of different lengths: 2 numbers in row 1 (item 1), 1 in row 4 (item 4)") == [True]


def test_a_recipient_whose_provider_is_missing_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_tasks.scenario.notify.SLACK_PACKAGE", "apache-airflow-providers-of-nobody")
    notify = {"outcomes": ["failed"], "to": [{"slack": {"channel": "#models"}}]}
    found = check(tmp_path, tiny_scenario(notify=notify))
    assert matching(found, "notify.to.0.slack needs apache-airflow-providers-of-nobody, which is not installed") == [
        True
    ]
