"""A finished run says for one user and one item what it predicts and why, without training anything."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.recommend.explain import parse_id, value_text
from tests.support.projects import AS_OF, NAME, write_log, write_scenario

ITEM, STRANGER = 1300854, 99_999_999  # Iron Man 3, and nobody
TOP = 5


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in which several members may have a say in a task."""
    root = tmp_path_factory.mktemp("project")
    write_scenario(root, members=["popularity", "cascade", "shared_tail"], fusion={"method": "weighted"})
    write_log(root)
    with contextlib.chdir(root):
        run_pipeline(make_run(NAME, AsOf.parse(AS_OF), {}, ".store"), lambda stage, result: None)
    return root


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def user_of(project: Path) -> int:
    events = pd.read_parquet(max((project / "log").iterdir()))
    return int(events["user_id"].iloc[0])


def explained(capsys: pytest.CaptureFixture[str], user: object, *options: str) -> Any:
    assert cli.main(arguments(user, ITEM, "--json", *options)) == 0
    return json.loads(capsys.readouterr().out)


def arguments(user: object, item: object, *options: str) -> list[str]:
    return ["explain", NAME, "--as-of", AS_OF, "--user", str(user), "--item", str(item), *options]


def test_contributions_add_up_to_the_members_prediction(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = explained(capsys, user_of(inside), "--top", str(TOP))
    assert (document["title"], document["new_user"]) == ("Iron Man 3", False)
    assert set(document["tasks"]) == {"rating", "purchase"}
    for told in document["tasks"].values():
        shown = told["explained"]
        parts = [entry["contribution"] for entry in shown["contributions"]]
        assert len(parts) == TOP
        assert parts == sorted(parts, key=lambda part: -abs(part))
        total = shown["base"] + sum(parts) + shown["others"]["contribution"]
        assert total == pytest.approx(shown["score"], abs=1e-9)
        (own,) = [own["prediction"] for own in told["members"] if own["member"] == shown["member"]]
        assert own == pytest.approx(total if told["kind"] == "regression" else 1 / (1 + math.exp(-total)), abs=1e-9)


def test_the_boosted_member_of_the_largest_weight_is_taken_apart(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for told in explained(capsys, user_of(inside))["tasks"].values():
        weights = {own["member"]: own["weight"] for own in told["members"]}
        assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)
        assert weights[told["explained"]["member"]] == max(weights["cascade"], weights["shared_tail"])


def test_the_prediction_is_the_one_in_the_list(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = inside.glob(f".store/{NAME}/{AS_OF}/recommend/*/*/recommendations.parquet")
    first = pd.read_parquet(path).iloc[0]
    assert cli.main(arguments(first["user_id"], first["item_id"], "--json")) == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    for task, told in tasks.items():
        assert told["prediction"] == pytest.approx(first[f"prediction:{task}"], abs=1e-6)


def test_a_new_user_is_scored_and_said_to_be_new(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, STRANGER)["new_user"] is True
    assert cli.main(arguments(STRANGER, ITEM)) == 0
    assert f"User {STRANGER} (new user, no event before {AS_OF}) and item {ITEM}: Iron Man 3" in capsys.readouterr().out


def test_it_is_said_in_words_within_a_hundred_columns(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments(user_of(inside), ITEM, "--top", "30")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert any(line.endswith("  on average") for line in lines)
    assert any("interactions of the item in the last 7 days: " in line for line in lines)
    assert any(line.endswith(" other features") for line in lines)
    assert not any("item." in line or "user_x" in line for line in lines)


def test_without_weight_of_a_boosted_member_there_is_nothing_to_take_apart(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = ["--store", "beside"]
    members = ["--set", "members=[popularity]", "--set", "fusion.method=mean"]
    assert cli.main(["run", NAME, "--as-of", AS_OF, "--json", *beside, *members]) == 0
    capsys.readouterr()
    document = explained(capsys, user_of(inside), *beside)
    assert [told["explained"] for told in document["tasks"].values()] == [None, None]
    assert cli.main(arguments(user_of(inside), ITEM, *beside)) == 0
    assert "No member that grows trees has weight here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("user", "item", "expected"),
    [
        ("anna", ITEM, "--user 'anna': ids of this log are whole numbers, such as "),
        (1, "film-7", "--item 'film-7': ids of this log are whole numbers, such as "),
        ("9" * 30, ITEM, "ids of this log are whole numbers"),
        (1, 3, f"--item 3: no event before {AS_OF} in the 19,751 that 'small' may read: check the id"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    user: object, item: object, expected: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(user, item)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("text", "taken"), [("1234567890123451001", True), (str(2**63 - 1), True), (str(2**63), False)]
)
def test_an_id_is_whatever_the_logs_type_holds(text: str, taken: bool) -> None:
    ids = pd.Series([1234567890123451001])
    if taken:
        assert parse_id(text, ids, "--user") == int(text)
    else:
        with pytest.raises(ConfigError, match="ids of this log are whole numbers"):
            parse_id(text, ids, "--user")


def test_a_run_that_was_not_made_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments(1, ITEM, "--store", "elsewhere")) == 2
    assert f"{NAME} as of {AS_OF}: no run in elsewhere" in capsys.readouterr().err
    assert cli.main(arguments(1, ITEM, "--run", "abc")) == 2
    assert "no entry of run abc" in capsys.readouterr().err


def test_a_finished_run_is_explained_though_log_and_scenario_have_changed_since(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = explained(capsys, user_of(inside))
    shutil.copytree(inside / ".store", tmp_path / ".store")
    write_scenario(tmp_path, windows={"train": 3, "tune": 1, "blend": 1, "test": 1})
    monkeypatch.chdir(tmp_path)  # where there is no log
    assert explained(capsys, user_of(inside)) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2013.0, "2013"),
        (-0.04321, "-0.0432"),
        (math.inf, "inf"),
        (math.nan, "unknown"),
        ("web", "web"),
    ],
)
def test_values_are_written_short(value: object, text: str) -> None:
    assert value_text(value) == text
