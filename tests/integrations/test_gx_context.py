"""Great Expectations itself opens the project that a validation is written to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import great_expectations as gx
import pandas as pd
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.data.validation.expectations import Expectation, judge
from mtl_tasks.integrations.gx_context import Validation, write_context
from mtl_tasks.store.documents.data import Duplicates, ExpectationResult, ValidationReport

if TYPE_CHECKING:
    from great_expectations.data_context import FileDataContext

DAY = pd.Timestamp("2013-05-07", tz="UTC")
FRAME = pd.DataFrame({"user_id": [1, 2, 2], "label:rating": [7.0, 11.0, None], "event_time": [DAY] * 3, "day": [1] * 3})
EXPECTATIONS = [
    Expectation("ExpectColumnToExist", {"column": "user_id"}, "critical"),
    Expectation("ExpectColumnTypeToBe", {"column": "user_id", "type_": "int64"}, "critical"),
    Expectation(
        "ExpectColumnValuesToBeBetween",
        {"column": "label:rating", "min_value": 0.0, "max_value": 10.0},
        "warning",
        note=" (label_out_of_range:rating)",
    ),
    Expectation("ExpectColumnMaxToBeBetween", {"column": "event_time", "min_value": DAY}, "critical"),
    Expectation(
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": "day", "column_B": "user_id", "ignore_row_if": "either_value_is_missing"},
        "warning",
    ),
]


def validation(scenario: str = "small", run: str = "2013-05-08-0a1b") -> Validation:
    """A validation whose results Great Expectations computed."""
    outcomes = [outcome.to_json() for outcome in judge(FRAME, EXPECTATIONS)]
    report = ValidationReport(
        success=True,
        rows_read=3,
        rows_kept=3,
        bad_fraction=0.0,
        max_bad_fraction=0.1,
        duplicates=Duplicates(rows=0, rule="drop"),
        quarantined={},
        expectations=tuple(ExpectationResult(**outcome) for outcome in outcomes),
        first_day="2013-05-07",
        last_day="2013-05-07",
        max_event_time=DAY.isoformat(),
    )
    return Validation(scenario, run, datetime(2013, 5, 8, 4, tzinfo=UTC), report)


def opened(folder: Path) -> FileDataContext:
    return gx.get_context(mode="file", project_root_dir=folder)


@pytest.fixture(scope="module")
def given() -> Validation:
    return validation()


@pytest.fixture(scope="module")
def written(given: Validation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder, and the first page of Data Docs; the same validation twice, then another scenario's."""
    folder = tmp_path_factory.mktemp("gx")
    page = write_context(given, folder)
    assert write_context(given, folder) == page
    write_context(replace(given, scenario="other", run="2013-05-09-2c3d"), folder)
    return folder, page


def test_great_expectations_opens_the_suite(written: tuple[Path, Path]) -> None:
    context = opened(written[0])
    suite = context.suites.get("small")
    assert [(type(one).__name__, one.severity.value) for one in suite.expectations] == [
        (one.name, one.severity) for one in EXPECTATIONS
    ]
    ranged: Any = suite.expectations[2]
    assert (ranged.column, ranged.min_value, ranged.max_value) == ("label:rating", 0.0, 10.0)
    assert {one.name for one in context.suites.all()} == {"small", "other"}


def test_great_expectations_validates_a_frame_by_the_suite(written: tuple[Path, Path]) -> None:
    definition = opened(written[0]).validation_definitions.get("small")
    fine = FRAME.assign(**{"label:rating": 5.0, "user_id": 1})
    assert definition.run(batch_parameters={"dataframe": fine}).success
    found = definition.run(batch_parameters={"dataframe": FRAME})
    assert [bool(one.success) for one in found.results] == [True, True, False, True, False]


def test_the_results_are_those_of_the_run_and_stored_once(given: Validation, written: tuple[Path, Path]) -> None:
    store = opened(written[0]).validation_results_store
    [key] = [key for key in store.list_keys() if key.run_id.run_name == given.run]
    stored = store.get(key)
    assert [one.success for one in stored.results] == [one.success for one in given.report.expectations]
    assert stored.results[2].result["unexpected_count"] == 1
    assert stored.results[2].result["element_count"] == 3
    assert stored.results[3].result["observed_value"] == DAY.isoformat()
    assert stored.statistics["success_percent"] == 60.0


def test_data_docs_show_the_expectations_and_their_results(given: Validation, written: tuple[Path, Path]) -> None:
    folder, page = written
    assert page.is_relative_to(folder / "gx")
    first = page.read_text(encoding="utf-8")
    assert given.run in first
    assert "2013-05-09-2c3d" in first
    [results] = (page.parent / "validations" / "small").rglob("*.html")
    for text in (results.read_text(encoding="utf-8"), (page.parent / "expectations/small.html").read_text("utf-8")):
        assert "label:rating" in text
        assert "greater than or equal to" in text


def test_a_file_in_the_place_of_the_folder_is_refused_in_a_line(given: Validation, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(ConfigError, match=r"taken/gx: cannot be written as a Great Expectations project"):
        write_context(given, tmp_path / "taken")


@pytest.mark.parametrize("file", ["expectations/small.json", "validation_definitions/small.json"])
def test_a_damaged_file_of_a_project_is_refused_in_a_line(
    given: Validation, written: tuple[Path, Path], tmp_path: Path, file: str
) -> None:
    shutil.copytree(written[0] / "gx", tmp_path / "gx")
    (tmp_path / "gx" / file).write_text("{")
    with pytest.raises(ConfigError, match=r"gx: cannot be written as a Great Expectations project"):
        write_context(given, tmp_path)


def test_a_damaged_project_is_refused_in_a_line(given: Validation, tmp_path: Path) -> None:
    (tmp_path / "gx").mkdir()
    (tmp_path / "gx/great_expectations.yml").write_text("fluent_datasources: 3\n")
    with pytest.raises(ConfigError, match=r"gx: cannot be written as a Great Expectations project"):
        write_context(given, tmp_path)
