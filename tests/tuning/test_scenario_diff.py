"""The proposed change of a scenario file touches the settings alone, and `git apply` takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_tasks.tuning.scenario_diff import proposed_diff
from tests.conftest import PROJECT

PATH = "include/scenarios/shop.yaml"
FILE = """\
# A shop.
name: shop

boosting:
  # slower than the default
  learning_rate: 0.05 # of a single task
  shared: {combine: sum} # spoilt by conflicts

gate:
  absolute: []
"""


def applied(text: str, settings: dict[str, Any], folder: Path) -> str:
    diff = proposed_diff(text, settings, PATH)
    assert diff is not None
    path = folder / PATH
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8", newline="")
    subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=folder, check=True)  # noqa: S607
    return path.read_bytes().decode()


def test_a_value_is_replaced_and_its_comment_stays(tmp_path: Path) -> None:
    made = applied(FILE, {"boosting.learning_rate": 0.1}, tmp_path)
    assert made == FILE.replace("0.05", "0.1")


def test_a_key_is_added_to_its_section(tmp_path: Path) -> None:
    made = applied(FILE, {"boosting.num_leaves": 15, "boosting.shared.leaf_l2": 3.5}, tmp_path)
    assert made == FILE.replace(
        "{combine: sum} # spoilt by conflicts\n",
        "{combine: sum, leaf_l2: 3.5} # spoilt by conflicts\n  num_leaves: 15\n",
    )


def test_a_section_is_added_to_the_file(tmp_path: Path) -> None:
    text = "name: shop"  # without a newline at the end
    made = applied(text, {"boosting.shared.leaf_l2": 3.5, "boosting.num_leaves": 15}, tmp_path)
    assert made == "name: shop\n\nboosting:\n  shared:\n    leaf_l2: 3.5\n  num_leaves: 15\n"


def test_a_file_with_lines_of_another_system_keeps_them(tmp_path: Path) -> None:
    text = FILE.replace("\n", "\r\n")
    assert applied(text, {"boosting.learning_rate": 0.1}, tmp_path) == text.replace("0.05", "0.1")


@pytest.mark.parametrize("value", [1e-05, 2.5e9, 0.1, 31, "alternate"])
def test_a_value_is_read_back_as_it_was(value: str | float, tmp_path: Path) -> None:
    made = applied(FILE, {"boosting.shared.combine": value}, tmp_path)
    assert yaml.safe_load(made)["boosting"]["shared"]["combine"] == value


def test_a_value_that_other_keys_share_is_not_changed() -> None:
    text = "boosting: &same\n  learning_rate: 0.05\nother: *same\n"
    assert proposed_diff(text, {"boosting.learning_rate": 0.1}, PATH) is None
    assert (
        proposed_diff("rate: &rate 0.05\nboosting: {learning_rate: *rate}\n", {"boosting.learning_rate": 1}, PATH)
        is None
    )


@pytest.mark.parametrize("name", ["ecommerce", "movies", "news", "retail", "social"])
def test_each_shipped_scenario_can_be_changed(name: str, tmp_path: Path) -> None:
    text = (PROJECT / "include" / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
    settings = {"boosting.learning_rate": 0.033, "boosting.num_leaves": 19, "boosting.shared.learning_rate": 0.07}
    made = yaml.safe_load(applied(text, settings, tmp_path))
    assert made["boosting"] == {
        **yaml.safe_load(text).get("boosting", {}),
        "learning_rate": 0.033,
        "num_leaves": 19,
        "shared": {**yaml.safe_load(text).get("boosting", {}).get("shared", {}), "learning_rate": 0.07},
    }
