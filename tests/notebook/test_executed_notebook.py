"""The notebook of the documentation was executed from top to bottom, and its code still runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import PROJECT
from tests.support.projects import NAME


def code_cells() -> list[dict[str, Any]]:
    notebook = json.loads((PROJECT / "include/docs/notebook.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_was_executed_in_order_and_without_an_error() -> None:
    cells = code_cells()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"execute_result", "stream"}
    assert {output["name"] for cell in cells for output in cell["outputs"] if "name" in output} == {"stdout"}


def test_its_code_runs(
    board_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(board_project)
    names: dict[str, Any] = {}
    for number, cell in enumerate(code_cells(), 1):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)  # noqa: S102 - the cells of a document
    assert (names["run"].scenario, names["run"].as_of) == (NAME, "2013-05-08")
    pd.testing.assert_frame_equal(
        names["run"].predict(names["pairs"]),
        names["recommendations"][["user_id", "item_id", "prediction:purchase", "prediction:rating"]],
    )
    assert "by shared_tail from" in capsys.readouterr().out
