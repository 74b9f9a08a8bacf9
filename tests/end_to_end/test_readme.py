"""The promises of the documentation: its commands, examples and links."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from typing import Any

import pytest
import yaml

from mtl_tasks.cli import main as cli
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.scenario import load_scenario, parse_scenario, scenario_names
from mtl_tasks.scenario.gate_rules import check_rules
from tests.conftest import PROJECT

GUIDE = "include/docs/scenario-guide.md"
PAGES = sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "include/docs").glob("*.md"))
DOCUMENTS = ("README.md", "CHANGELOG.md", *PAGES)
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def prose_of(name: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", text_of(name))


def test_the_example_scenario_is_valid() -> None:
    scenario = parse_scenario(yaml_blocks()[0], where=GUIDE)
    assert scenario.formula.tasks == ("purchase", "rating")


def test_what_it_says_in_the_place_of_parts_of_the_example_is_valid() -> None:
    example, *variants = yaml_blocks()
    sources: list[dict[str, Any]] = [variant.get("source", {}) for variant in variants]
    assert {key for source in sources for key in source} >= {"sql", "long", "users", "context", "prior"}
    assert {"relative", "drift"} <= {key for variant in variants for key in variant.get("gate", {})}
    for variant, given in zip(variants, sources, strict=True):
        source = {**example["source"], **given}
        if "sql" in source:
            source = {key: value for key, value in source.items() if key not in ("events", "format")}
        check_rules(parse_scenario({**example, **variant, "source": source}, where=GUIDE))


def yaml_blocks() -> list[dict[str, Any]]:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text_of(GUIDE), flags=re.DOTALL)]


def test_every_example_of_a_scenario_is_in_the_guide() -> None:
    assert [name for name in DOCUMENTS if "```yaml" in text_of(name)] == [GUIDE]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_it_links_to_exists(name: str) -> None:
    folder = (PROJECT / name).parent
    assert [link for link, _ in relative_links(name) if not (folder / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_heading_it_links_to_exists(name: str) -> None:
    folder = (PROJECT / name).parent
    missing = []
    for link, anchor in relative_links(name):
        page = (folder / link).resolve().relative_to(PROJECT) if link else name
        if anchor and anchor not in anchors(str(page)):
            missing.append(f"{link}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_module_it_names_exists(name: str) -> None:
    modules = re.findall(r"`((?:mtl_tasks|dags|plugins|tests)/[\w/]+\.py)`", text_of(name))
    assert [module for module in modules if not (PROJECT / module).exists()] == []


def relative_links(name: str) -> list[tuple[str, str]]:
    """Return the path and the anchor of each link and picture that leads to the project's files."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose_of(name))
    return [(path, anchor) for path, _, anchor in (target.partition("#") for target in targets if ":" not in target)]


def anchors(name: str) -> set[str]:
    """Return the anchors of a page's headings: in small letters, with hyphens for blanks and without other signs."""
    met: Counter[str] = Counter()
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose_of(name), flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{anchor}-{met[anchor]}" if met[anchor] else anchor)
        met[anchor] += 1
    return found


def test_links_and_anchors_are_found() -> None:
    assert ("include/docs/models.md", "boosted-members") in relative_links("README.md")
    assert ("", "the-key-of-the-store") in relative_links("include/docs/operations.md")
    assert {"airflows-database-and-logs-grow", "the-key-of-the-store"} <= anchors("include/docs/operations.md")
    assert "attributes-context-and-signals" in anchors(GUIDE)


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 250


def test_the_readme_lists_every_page() -> None:
    index = text_of("README.md").split("## Documentation\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"\]\(([^)]+)\)", index))
    assert listed == {*PAGES, "CHANGELOG.md"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_it_names_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(name), flags=re.MULTILINE)) <= targets


def commands(program: str, names: tuple[str, ...] = DOCUMENTS) -> list[list[str]]:
    """Return the arguments of every command of the documents that begins with the program, or sets variables for it."""
    texts = [text_of(name).replace("\\\n", " ") for name in names]
    beginning = re.compile(rf"(?:[A-Z_]+=\S* )*{re.escape(program)} ")
    lines = [(line, beginning.match(line)) for text in texts for line in text.splitlines()]
    return [shlex.split(line[found.end() :], comments=True) for line, found in lines if found]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_it_shows_is_one_of_the_command_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in commands(PROGRAM, (name,)):
        assert cli.main([*arguments, "--help"]) == 0, (arguments, capsys.readouterr().err)


def test_the_documents_show_many_commands() -> None:
    assert len(commands(PROGRAM)) > 30
    assert len(commands(PROGRAM, ("README.md",))) > 5
    assert ["registry", "seal", "movies"] in commands(PROGRAM)


def test_every_command_of_a_fenced_block_begins_a_line() -> None:
    for name in DOCUMENTS:
        blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text_of(name))]
        shown = sum(line.count(f"{PROGRAM} ") for block in blocks for line in block.splitlines())
        begun = sum(len(re.findall(rf"^(?:[A-Z_]+=\S* )*{PROGRAM} ", block, flags=re.MULTILINE)) for block in blocks)
        assert shown == begun, name


def test_every_command_of_airflow_it_shows_is_one_of_airflows(capsys: pytest.CaptureFixture[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    found = commands("include/bin/airflow")
    assert len(found) > 3
    for arguments in found:
        get_parser().parse_args(arguments)  # exits if it is none


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_works_as_typed_without_an_activated_environment(name: str) -> None:
    assert re.findall(r"python3? -m mtl_tasks", text_of(name)) == []
    assert re.findall(r"^(?:mtl|airflow) .*", text_of(name), flags=re.MULTILINE) == []


@pytest.mark.parametrize("program", [PROGRAM, "include/bin/airflow"])
def test_the_programs_can_be_started(program: str) -> None:
    assert os.access(PROJECT / program, os.X_OK)


def test_the_hooks_before_a_commit_are_the_commands_of_make_lint() -> None:
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    recipe = text_of("Makefile").split("\nlint:")[1].split("\n\n")[0]
    recipe = recipe.replace("$(VENV_PYTHON)", ".venv/bin/python").replace("$(CODE)", "dags mtl_tasks plugins")
    assert [hook["entry"] for hook in repository["hooks"]] == [line.strip() for line in recipe.splitlines()[1:]]


def test_shipped_scenarios_are_valid() -> None:
    names = scenario_names(PROJECT / "include/scenarios")
    assert "movies" in names
    for name in names:
        load_scenario(name, folder=PROJECT / "include/scenarios")
