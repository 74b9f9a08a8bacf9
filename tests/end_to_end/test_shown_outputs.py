"""Outputs in the documentation are those that the commands beside them print, figures rounded."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.program import PROGRAM
from tests.conftest import PROJECT
from tests.support import board
from tests.support.projects import NAME, enter_copy

FENCE = re.compile(r"^```\w*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])[+−]?\d[\d,]*(?:\.\d+)?(?![\w.-]*\d)")
TOLERANCE = 0.02  # relative; a figure may differ by so much between machines


def output_of(page: str, command: str) -> str:
    """Return what a page shows below a command of this beginning, on one line."""
    for block in FENCE.findall((PROJECT / page).read_text(encoding="utf-8")):
        if block.replace("\\\n", " ").startswith(command):
            return " ".join(block.partition("\n\n")[2].split())
    raise AssertionError(f"{page} shows no output of {command}")


def figures(text: str) -> list[float]:
    return [float(found.replace(",", "").replace("−", "-")) for found in NUMBER.findall(text)]


def holds(shown: str, printed: str) -> bool:
    """Whether a shown text is part of a printed one, where figures may differ a little."""
    pattern = NUMBER.sub("\0", shown)
    form = re.escape(pattern).replace("\0", f"({NUMBER.pattern})")
    return any(
        all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(figures(shown), figures(found[0]), strict=True))
        for found in re.finditer(form, printed)
    )


def test_a_figure_may_differ_a_little_and_a_word_may_not() -> None:
    assert holds("5 rows, 1,000 users", "there: 5 rows, 1,001 users.")
    assert not holds("5 rows, 1,000 users", "6 rows, 1,000 users")
    assert not holds("5 rows, 1,000 users", "5 lines, 1,000 users")


@pytest.fixture
def drafted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with the sample that the README drafts a scenario of."""
    (tmp_path / "include/scenarios").mkdir(parents=True)
    (tmp_path / "include/data").symlink_to(PROJECT / "include/data")
    command = f"{PROGRAM} init opinions"
    line = next(line for line in (PROJECT / "README.md").read_text().splitlines() if line.startswith(command))
    assert cli.main([*shlex.split(line)[1:], "--root", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path


def test_the_readme_shows_what_init_writes_and_check_finds(drafted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join((drafted / "include/scenarios/opinions.yaml").read_text().split())
    shown = output_of("README.md", f"{PROGRAM} init opinions")
    user, zone = shown.split(" timezone:")
    assert holds(user, text)
    assert holds(f"timezone:{zone}", text)
    assert cli.main(["check", "opinions", "--set", "windows.test=4", "--root", str(drafted)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    (told,) = [
        " ".join(block.partition("\n\n")[2].split())
        for block in FENCE.findall((PROJECT / "README.md").read_text())
        if "--set windows.test=4" in block
    ]
    assert holds(told, printed)


def test_the_guide_shows_an_explanation_in_the_form_that_explain_prints(
    board_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = pd.read_parquet(next((board_project / ".store" / NAME / "2013-05-08" / "recommend").rglob("*.parquet")))
    pair = lists.iloc[0]
    asked = ["--user", str(pair["user_id"]), "--item", str(pair["item_id"]), "--top", "6", "--root", str(board_project)]
    assert board.entry_of(board_project, "2013-05-08").promoted
    assert cli.main(["explain", NAME, "--as-of", "2013-05-08", *asked, "--store", str(board_project / ".store")]) == 0
    printed, shown = capsys.readouterr().out, (PROJECT / "include/docs/models.md").read_text()
    for heading in (
        r"purchase: *[\d.]+ %\nmember +prediction +weight in the fusion\n─+\n",
        r"\nfusion +[\d.]+ % +\w+(, platt calibration)?\n",
        r"\nContributions to \w+, in log-odds:\n +−\d\.\d\d  on average\n",
        r"\n +[+−]\d+\.\d\d  \d+ other features\n +[+−]\d+\.\d\d  in all, that is [\d.]+ %\n",
    ):
        assert re.search(heading, shown), heading
        assert re.search(heading, printed), heading


def test_the_page_on_airflow_shows_the_registry_in_the_form_that_it_prints(
    board_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_copy(board_project, tmp_path, monkeypatch)
    shown = (PROJECT / "include/docs/airflow.md").read_text()
    reason = "it recommends one film to everybody"
    assert f'include/bin/mtl registry rollback movies --reason "{reason}"' in shown
    assert cli.main(["registry", "list", NAME]) == 0
    assert cli.main(["registry", "rollback", NAME, "--reason", reason, "--by", "ada"]) == 0
    printed = capsys.readouterr().out
    day, run = r"\d{4}-\d\d-\d\d", r"[0-9a-f]{12}"
    for form in (
        r"as of +run +standing +why *\n─+\n",
        rf"\n{day} +{run} +promoted +\d of \d rules passed *\n",
        rf"run {run} as of {day}: retired by ada at {day}T[\d:]{{8}}\+00:00: {reason}\n",
        rf"\ntoday's champion: run {run} as of {day}\n",
    ):
        assert re.search(form, shown), form
        assert re.search(form, printed), form
