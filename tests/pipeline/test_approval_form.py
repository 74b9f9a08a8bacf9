"""The question for approval: each rule once, the champion beside the candidate, links to the model board."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_tasks.pipeline.approval_form import approval_form
from tests.pipeline.test_outcome import DAYS, make
from tests.support.projects import write_log, write_scenario

BOARD = "http://airflow/plugin/models/model-board"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_log(tmp_path)
    write_scenario(tmp_path, members=["popularity", "als"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_rule_stands_once_beside_the_champion_with_links_to_both(project: Path) -> None:
    first = make(project / ".store", DAYS[0])
    relative = [{"task": "rating", "metric": "rmse", "margin": 0.5}]
    second = make(project / ".store", DAYS[1], **{"gate.approval": "required", "gate.relative": relative})
    alone, form = (approval_form(*made, BOARD) for made in (first, second))
    assert form.startswith("**2 of 2 rules passed.** [All evidence of this run](")
    assert form.count("rating rmse <= 3") == 1
    assert "| ✓ | rating rmse <= 3 |" in form
    assert f"champion, as of {DAYS[0]}" in form
    assert "| rating | RMSE ↓ | 1." in form
    assert "| −0.5 |" in form
    assert f"[Comparison with the champion]({BOARD}/scenarios/" in form
    assert "There is no champion to compare with" in alone
    assert "Comparison with the champion" not in alone
    assert "](" not in approval_form(*second)
