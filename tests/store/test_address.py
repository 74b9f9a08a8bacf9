"""The store's address: one rule for the command line, the DAGs and the model board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.store.address import address_from, checked_address
from mtl_tasks.store.artifacts import Store
from tests.support.projects import write_past_runs, write_scenario


@pytest.mark.parametrize(
    ("environment", "address"),
    [({}, ".store"), ({"MTL_STORE": ""}, ".store"), ({"MTL_STORE": "s3://ours/store"}, "s3://ours/store")],
)
def test_the_variable_says_where_and_an_empty_one_counts_as_unset(environment: dict[str, str], address: str) -> None:
    assert address_from(environment) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "the store's address is empty: give a folder or s3://bucket/path"),
        ("s4://bucket/x", r"store s4://bucket/x: unknown scheme 's4'"),
        ("gcss://bucket/x", r"unknown scheme 'gcss', did you mean 'gcs'\?"),
        ("gs://bucket/x", r"store gs://bucket/x: gs:// needs a package .* gcsfs"),
        ("s3:/bucket/x", r"two slashes are missing, write s3://bucket/x"),
        ("~nobody-of-this-name/x", r"store ~nobody-of-this-name/x: .*home directory"),
    ],
)
def test_an_address_that_cannot_be_opened_is_refused_with_its_reason(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Store(address)


def test_the_home_folder_is_expanded_and_a_base_holds_what_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(Store("~/kept").root) == str(tmp_path / "kept")
    assert checked_address("~/kept", Path("/project")) == str(tmp_path / "kept")
    assert checked_address("kept", Path("/project")) == "/project/kept"
    assert checked_address("s3://ours/kept", Path("/project")) == "s3://ours/kept"


@pytest.mark.parametrize(("given", "found"), [({"MTL_STORE": "kept"}, 1), ({"MTL_STORE": ""}, 0), ({}, 0)])
def test_the_command_line_takes_the_variable(
    given: dict[str, str],
    found: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_scenario(tmp_path)
    write_past_runs(tmp_path / "kept", ["2013-05-01"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTL_STORE", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["registry", "list", "small", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == found


def test_an_option_goes_before_the_variable_and_an_empty_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenario(tmp_path)
    write_past_runs(tmp_path / "kept", ["2013-05-01"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_STORE", "elsewhere")
    assert cli.main(["registry", "list", "small", "--json", "--store", "kept"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert cli.main(["registry", "list", "small", "--store", ""]) == 2
    assert "the store's address is empty" in capsys.readouterr().err


def test_the_dags_and_the_board_follow_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dags.stage_tasks import store_uri
    from plugins.model_board import access

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(access, "ROOT", tmp_path / "project")
    for given, dags, board in (
        ("", ".store", tmp_path / "project/.store"),
        ("kept", "kept", tmp_path / "project/kept"),
        ("~/kept", "~/kept", tmp_path / "kept"),
    ):
        monkeypatch.setenv("MTL_STORE", given)
        assert store_uri() == dags
        assert str(access.open_store().root) == str(board)
