"""What the README promises."""

from __future__ import annotations

import re
from typing import Any

import yaml

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


def test_shipped_scenarios_are_valid() -> None:
    names = scenario_names(PROJECT / "include/scenarios")
    assert "movies" in names
    for name in names:
        load_scenario(name, folder=PROJECT / "include/scenarios")
