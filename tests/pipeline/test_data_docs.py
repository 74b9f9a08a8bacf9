"""The command that writes a run's validation for Great Expectations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_tasks.cli import main as cli
from tests.support import board
from tests.support.projects import NAME

AS_OF = "2013-05-08"


def test_the_command_writes_data_docs_of_a_finished_run(
    board_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--root", str(board_project), "--store", str(board_project / ".store")]
    arguments = ["data-docs", NAME, "--as-of", AS_OF, "--out", str(tmp_path), *place]
    assert cli.main([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    entry = board.entry_of(board_project, AS_OF)
    report = board.store(board_project).open(entry.refs["validate"]).json("validation")
    assert made["run_key"] == entry.run_key
    assert made["expectations"] == len(report["expectations"])
    assert f"{AS_OF}-{entry.run_key[:12]}" in Path(made["page"]).read_text(encoding="utf-8")
    suite = json.loads((tmp_path / "gx/expectations" / f"{NAME}.json").read_text())
    assert [one["type"] for one in suite["expectations"]] == [one["expectation"] for one in report["expectations"]]
