"""The reference page of the scenario file says what the models say."""

from __future__ import annotations

import pytest

from mtl_tasks.metrics.catalog import CATALOG
from mtl_tasks.onboarding.reference import PAGE, Key, reference_page, scenario_sections
from mtl_tasks.scenario.base import Model
from mtl_tasks.scenario.gate_rules import SLICES
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def keys() -> dict[str, Key]:
    return {key.path: key for section in scenario_sections() for key in section.keys}


def test_the_page_is_the_one_that_make_docs_writes() -> None:
    assert (PROJECT / PAGE).read_text(encoding="utf-8") == reference_page(), "run `make docs`"


def test_every_key_has_a_description(keys: dict[str, Key]) -> None:
    assert len(keys) > 100
    assert [path for path, key in keys.items() if not key.meaning.strip()] == []


def test_descriptions_are_phrases_that_a_table_can_hold(keys: dict[str, Key]) -> None:
    assert [path for path, key in keys.items() if "\n" in key.meaning or key.meaning.endswith(".")] == []


def test_every_field_of_every_section_is_in_it(keys: dict[str, Key]) -> None:
    fields = {field for model in Model.__subclasses__() for field in model.model_fields}
    assert len(fields) > 80
    assert fields <= {path.rpartition(".")[2] for path in keys}


def test_types_defaults_and_limits_are_those_of_the_models(keys: dict[str, Key]) -> None:
    assert keys["windows.train"][1:4] == ("integer", "required", "1 to 10,000")
    assert keys["source.format"][1:4] == ("`parquet`, `csv`", "`parquet`", "")
    assert keys["factors.alpha"][1:4] == ("number", "`10.0`", "1e-6 to 1,000,000,000")
    assert keys["gate.confidence"].limits == "more than 0.5; less than 1"
    assert keys["validation.earliest"][1:4] == ("date", "`1990-01-01`", "1900-01-01 to 2200-01-01")
    assert keys["features.windows"][1:4] == ("list of integer", "`[7, 28]`", "at most 20 entries; each 1 to 10,000")
    assert keys["source.items.separator"][1:4] == ("text", r"`\|`", "1 to 3 characters")
    assert keys["tasks.<name>.range"].type == "[number, number] or `null`"
    assert keys["gate.absolute[].metric"].default == "required"


@pytest.fixture(scope="module")
def gate_rules() -> str:
    guide = (PROJECT / "include/docs/scenario-guide.md").read_text(encoding="utf-8")
    return guide.split("## Gate rules\n")[1].split("\n## ")[0]


def test_the_guides_gate_rules_name_every_metric_and_slice(gate_rules: str) -> None:
    assert [name for name in (*CATALOG, *SLICES) if f"`{name}`" not in gate_rules] == []
