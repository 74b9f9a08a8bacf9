"""Counts of a small run are the expected ones; one that moved is named with the command that accepts it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from mtl_tasks.core.errors import DataError
from tests.benchmarks import counts
from tests.benchmarks.__main__ import main
from tests.benchmarks.output import BenchmarkResult, ResultTable


def test_a_small_run_does_as_much_work_as_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["counts"])
    (path,) = tmp_path.rglob("counts-*.json")
    (table,) = BenchmarkResult.read(path).tables
    assert len(table.rows) == sum(map(len, counts.read_expected().values()))


def test_the_page_of_results_has_the_expected_counts() -> None:
    assert markdown(counts.read_expected()) in counts.RESULTS.read_text(encoding="utf-8")


def markdown(found: counts.Counts) -> str:
    return "\n".join(ResultTable.of(counts.counts_table(found)).lines())


def test_a_count_that_moved_is_named_with_its_move_and_the_remedy() -> None:
    expected = {"first day": {"files read": 200, "trees grown": 100}}
    assert counts.differences(expected, copy.deepcopy(expected)) == []
    assert counts.differences(expected, {"first day": {"files read": 200, "trees grown": 110}}) == []
    (moved,) = counts.differences(expected, {"first day": {"files read": 201, "trees grown": 90}})
    assert moved == (
        "files read, first day: 201 instead of 200, +1 (+0.5%), no difference is allowed; "
        f"if the change is wanted, accept it with {counts.ACCEPT}"
    )
    assert len(counts.differences(expected, {"first day": {"files read": 199, "trees grown": 111}})) == 2


def test_a_count_that_is_new_or_gone_is_named() -> None:
    moved = counts.differences({"first day": {"files read": 2}}, {"first day": {"SQL queries": 3}})
    assert [sentence.partition(",")[0] for sentence in moved] == ["files read", "SQL queries"]


def test_accepted_counts_are_in_both_files(tmp_path: Path) -> None:
    expected, page = (Path(shutil.copy(path, tmp_path)) for path in (counts.EXPECTED, counts.RESULTS))
    changed = counts.read_expected()
    changed["next day"]["files read"] += 1
    counts.accept_counts(changed, expected, page)
    assert markdown(changed) in page.read_text(encoding="utf-8")
    counts.accept_counts(counts.read_expected(), expected, page)
    assert page.read_bytes() == counts.RESULTS.read_bytes()
    assert expected.read_bytes() == counts.EXPECTED.read_bytes()


def test_a_page_that_lost_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("# Results\n")
    with pytest.raises(DataError, match="does not have the table of expected_counts"):
        counts.accept_counts(counts.read_expected(), counts.EXPECTED, page)
