"""What the README promises."""

from __future__ import annotations

import re

import yaml

from mtl_tasks.scenario import load_scenario, parse_scenario, scenario_names
from mtl_tasks.scoring import utility_tasks
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_example_scenario_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    scenario = parse_scenario(yaml.safe_load(block), where="README.md")
    assert utility_tasks(scenario.recommend.utility, list(scenario.tasks)) == ["purchase", "rating"]


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
