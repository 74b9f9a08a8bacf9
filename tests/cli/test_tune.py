"""The command `tune`: its table, its JSON, and bad input in one line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.store.documents.tuning import TuningResult
from tests.support.projects import AS_OF, NAME, enter_copy, write_log, write_scenario

ARGUMENTS = ["tune", NAME, "--as-of", AS_OF, "--trials"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    write_scenario(root, members=["popularity", "independent"])
    with contextlib.chdir(root):
        assert cli.main([*ARGUMENTS, "2", "--json"]) == 0
    return root


@pytest.fixture
def inside(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "100")
    return enter_copy(project, tmp_path, monkeypatch)


def test_the_result_is_shown_and_printed_as_json(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ARGUMENTS, "2"]) == 0
    shown = capsys.readouterr().out
    assert cli.main([*ARGUMENTS, "2", "--json"]) == 0
    result = TuningResult.parse(json.loads(capsys.readouterr().out), "stdout")
    assert f"small, as of {AS_OF}, study {result.study}" in shown
    assert "2 trials: 2 complete, 0 pruned" in shown
    assert "boosting.num_leaves         7 to 127, log" in shown
    assert result.conclusion in shown.replace("\n", " ")


def test_studies_of_other_versions_are_told_of(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scenario(inside, members=["popularity", "independent"], boosting={"rounds": 5, "threads": 1})
    assert cli.main([*ARGUMENTS, "1"]) == 0
    assert "note: 1 other studies of small are in the store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*ARGUMENTS, "0"], "Invalid value for '--trials': Input should be greater than or equal to 1"),
        (["tune", "smal", "--as-of", AS_OF, "--trials", "2"], "scenario 'smal': no file"),
        (["tune", NAME, "--trials", "2"], "as_of is missing"),
        (["tune", NAME, "--as-of", "2013-01-05", "--trials", "2"], "2013-01-05"),
        ([*ARGUMENTS, "2", "--storage", "nowhere"], "storage nowhere: not an address that can be opened"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
