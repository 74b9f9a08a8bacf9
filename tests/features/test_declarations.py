"""Every column of the scenarios is declared by one group: with its kind, its description and its use in linear members.

``declared.json`` has columns, descriptions and choices to keep; a new column need not be added.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.feature_columns import readable, recently, select
from mtl_tasks.features.builder import Tables, build_features, fit_factor_models
from mtl_tasks.features.groups import GROUPS, declared_columns
from mtl_tasks.models import member_class
from mtl_tasks.models.baselines import AlsMember, PopularityMember
from mtl_tasks.scenario import AttributeTable, Scenario, load_scenario, scenario_names
from tests.support.worlds import END, FIRST, START, world_scenario

EXPECTED: dict[str, Any] = json.loads(Path(__file__).with_name("declared.json").read_text())
SCENARIOS = sorted(EXPECTED["columns"])
SMALL = {
    "factors.dimensions": 3,
    "factors.iterations": 1,
    "factors.rating_dimensions": 2,
    "factors.rating_iterations": 1,
    "boosting.threads": 1,
}


def test_no_scenario_is_left_out() -> None:
    assert sorted(scenario_names()) == SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_known_columns_keep_their_order_and_description(name: str) -> None:
    scenario = load_scenario(name)
    declared = {column.name: column.description for column in declared_columns(scenario)}
    known = EXPECTED["columns"][name].split(" ")
    assert [column for column in declared if column in known] == known
    made = {column.name: column.description for column in member_class("cascade").makes(scenario)}
    assert len(made) == len(scenario.tasks)
    assert {column: EXPECTED["descriptions"][column] for column in (*known, *made)}.items() <= (declared | made).items()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_column_has_a_description_of_its_own(name: str) -> None:
    said = [column.description for column in declared_columns(load_scenario(name))]
    assert len(said) > 50
    assert len(set(said)) == len(said)
    assert [text for text in said if "_" in text or "." in text or not text] == []


def test_raw_factors_are_declared_where_they_are_asked_for() -> None:
    scenario = world_scenario()
    factors = [column for column in declared_columns(scenario) if column.kind == "factor"]
    assert len(factors) == 2 * scenario.factors.dimensions
    assert {column.name: column.description for column in factors}.items() <= EXPECTED["descriptions"].items()
    assert [column for column in declared_columns(load_scenario("movies")) if column.kind == "factor"] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_column_that_is_made_is_declared_by_one_group(name: str) -> None:
    scenario = load_scenario(name, dict(SMALL))
    rng = np.random.default_rng(1)
    events, rows = draw(scenario, rng, 300, FIRST, END), draw(scenario, rng, 20, START, END + 1)
    tables = Tables(draw_table(scenario.source.users, columns.USER), draw_table(scenario.source.items, columns.ITEM))
    made = build_features(events, tables, rows, fit_factor_models(events, scenario, START, END), scenario)
    declaring = {column: [kind for kind in GROUPS if column in names_of(kind, scenario)] for column in made}
    assert {column: kinds for column, kinds in declaring.items() if len(kinds) != 1} == {}
    assert [(column, made[column].dtype == np.float32) for column in made] == [
        (column.name, column.kind != "category") for column in declared_columns(scenario)
    ]


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("member", [PopularityMember, AlsMember])
def test_a_linear_member_chooses_the_expected_columns(
    name: str, member: type[PopularityMember] | type[AlsMember]
) -> None:
    scenario = load_scenario(name)
    declared = declared_columns(scenario)
    for task in scenario.tasks:
        chosen = member.columns_of(task, scenario, declared)
        expected = EXPECTED["linear"][name][member.kind][task].split(" ")
        assert [f"{column}:{transform}" for column, transform in chosen.items()] == expected


def test_a_window_of_one_day_is_counted_once() -> None:
    declared = declared_columns(world_scenario(features={"windows": [1, 7]}))
    names = [column.name for column in declared]
    assert len(set(names)) == len(names)
    assert select(declared, "count", "item", days=1) == ["item.count_1d"]
    assert select(declared, "count", "item") == ["item.count"]


def test_names_and_windows_are_readable() -> None:
    assert readable("watch_ratio") == "watch ratio"
    assert [recently(days) for days in (None, 1, 28)] == ["", " in the last day", " in the last 28 days"]


def names_of(kind: Any, scenario: Scenario) -> list[str]:
    return [column.name for column in kind.declare(scenario)]


def draw(scenario: Scenario, rng: np.random.Generator, count: int, first: int, end: int) -> pd.DataFrame:
    """Draw interactions with all that a scenario's log tells."""
    context = scenario.source.context
    frame = pd.DataFrame(
        {
            columns.USER: rng.integers(0, 10, count),
            columns.ITEM: rng.integers(0, 8, count),
            columns.DAY: np.sort(rng.integers(first, end, count)).astype(np.int32),
        }
    )
    for task in scenario.labels:
        frame[columns.label(task)] = rng.integers(0, 2, count).astype(np.float32)
    for name in context.numbers:
        frame[columns.context(name)] = rng.random(count).astype(np.float32)
    for name in context.categorical:
        frame[columns.context(name)] = pd.Categorical(rng.choice(["a", "b"], count))
    return frame


def draw_table(section: AttributeTable | None, id_column: str) -> pd.DataFrame:
    """Return a table with all attributes that a section names."""
    frame = pd.DataFrame({id_column: np.arange(10)})
    if section is None:
        return frame
    for name in section.numeric:
        frame[name] = np.arange(10, dtype=np.float32)
    for name in (*section.categorical, *section.multi):
        frame[name] = pd.Series(["x", "y"] * 5, dtype="str")
    for name in section.times:
        frame[name] = pd.Timestamp(FIRST, unit="D", tz="UTC").as_unit("us")
    return frame
