"""What the README promises."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

import pytest
import yaml

from mtl_tasks.cli import main as cli
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.scenario import load_scenario, parse_scenario, scenario_names
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_example_scenario_is_valid() -> None:
    scenario = parse_scenario(yaml_blocks()[0], where="README.md")
    assert scenario.formula.tasks == ("purchase", "rating")


def test_what_it_says_in_the_place_of_parts_of_the_example_is_valid() -> None:
    example, *variants = yaml_blocks()
    assert {key for variant in variants for key in variant["source"]} >= {"sql", "long", "users", "context", "prior"}
    for variant in variants:
        source = {**example["source"], **variant["source"]}
        if "sql" in source:
            source = {key: value for key, value in source.items() if key not in ("events", "format")}
        parse_scenario({**example, **variant, "source": source}, where="README.md")


def yaml_blocks() -> list[dict[str, Any]]:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)]


def test_every_file_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", README, flags=re.MULTILINE)) <= targets


DOCUMENTS = ("README.md", "include/docs/operations.md")


def commands(program: str) -> list[list[str]]:
    """Return the arguments of every command of the documents that begins with the program."""
    texts = [(PROJECT / name).read_text(encoding="utf-8").replace("\\\n", " ") for name in DOCUMENTS]
    lines = [line for text in texts for line in text.splitlines() if line.startswith(f"{program} ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_every_command_it_shows_is_one_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(PROGRAM)
    assert len(found) > 10
    for arguments in found:
        assert cli.main([*arguments, "--help"]) == 0, (arguments, capsys.readouterr().err)


def test_every_command_of_airflow_it_shows_is_one_of_airflows(capsys: pytest.CaptureFixture[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    found = commands("include/bin/airflow")
    assert len(found) > 3
    for arguments in found:
        get_parser().parse_args(arguments)  # exits if it is none


def test_every_command_works_as_typed_without_an_activated_environment() -> None:
    for name in DOCUMENTS:
        text = (PROJECT / name).read_text(encoding="utf-8")
        assert re.findall(r"python3? -m mtl_tasks", text) == [], name
        assert re.findall(r"^(?:mtl|airflow) .*", text, flags=re.MULTILINE) == [], name
    for program in (PROGRAM, "include/bin/airflow"):
        assert os.access(PROJECT / program, os.X_OK)


def test_shipped_scenarios_are_valid() -> None:
    names = scenario_names(PROJECT / "include/scenarios")
    assert "movies" in names
    for name in names:
        load_scenario(name, folder=PROJECT / "include/scenarios")
