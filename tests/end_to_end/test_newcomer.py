"""An unknown log, met as the README says: draft, check, fix, run; what real readers thought of news."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_tasks.cli import main as cli
from tests.conftest import PROJECT

LOG = Path("include/data/informfully/ratings.csv.gz")
SCENARIO = Path("include/scenarios/opinions.yaml")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOG.parent).mkdir(parents=True)
    shutil.copy(PROJECT / LOG, tmp_path / LOG)
    monkeypatch.chdir(tmp_path)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = cli.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_an_unknown_log_is_drafted_checked_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "opinions", "--events", str(LOG)]) == 0
    assert "then: include/bin/mtl check opinions" in capsys.readouterr().out

    code, found = asked(capsys, "check", "opinions", "--set", "windows.test=4")
    assert (code, found["as_of"], found["complete"]) == (1, "2023-12-12", True)
    assert found["problems"] == [
        "easy: 5 negatives in 'test' (2023-12-08..2023-12-11, 229 rows), at least 10 are needed; lengthen windows.test"
        " in include/scenarios/opinions.yaml"
    ]

    document = yaml.safe_load(SCENARIO.read_text(encoding="utf-8"))
    assert {task: (t["kind"], t["label"]) for task, t in document["tasks"].items()} == {
        "interesting": ("binary", "interesting"),
        "easy": ("binary", "easy"),
    }
    code, found = asked(capsys, "check", "opinions")
    assert (code, found["ready"], found["problems"]) == (0, True, [])

    members = "members=[popularity, als, independent]"
    code, run = asked(capsys, "run", "opinions", "--as-of", found["as_of"], "--set", members)
    assert code == 0
    assert run["verdict"]["decision"] == "reject"
    assert any("the gate has no rule to judge by" in reason for reason in run["verdict"]["reasons"])
    for task in ("interesting", "easy"):
        assert run["tasks"][task]["fusion"]["metrics"]["auc"] > 0.8
        counts = found["windows"]["test"]
        assert counts["tasks"][task]["labelled"] < counts["rows"]  # where nothing was said, nothing is judged


def test_each_command_that_is_printed_works_as_typed() -> None:
    Path("include/bin").symlink_to(PROJECT / "include/bin")

    def typed(command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200"}  # no environment is activated
        return subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, check=False)

    drafted = typed(f"include/bin/mtl init opinions --events {LOG}")
    assert (drafted.returncode, drafted.stderr) == (0, "")
    check = drafted.stdout.partition("then: ")[2].strip()
    checked = typed(f"{check} --set windows.test=4")
    assert checked.returncode == 1
    assert "not ready: 1 problem" in checked.stdout
    run = typed(check).stdout.partition("ready: ")[2].strip()
    assert run == "include/bin/mtl run opinions --as-of 2023-12-12"
    shown = typed(f"{run.replace(' run ', ' show ')}")
    assert shown.returncode == 2
    assert "run it first (include/bin/mtl run)" in shown.stderr
