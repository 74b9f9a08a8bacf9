"""The typed form of a scenario file: what the log is, what to predict, over which windows, under which gate."""

from mtl_tasks.scenario.gate import Gate, Margin, Rule
from mtl_tasks.scenario.loading import load_scenario, parse_scenario, parse_setting, scenario_names
from mtl_tasks.scenario.members import BOOSTED, Boosting, FusionMethod, MemberKind
from mtl_tasks.scenario.scenario import FEATURE_SECTIONS, SCENARIO_FOLDER, Scenario
from mtl_tasks.scenario.source import AttributeTable, ItemTable, Long, Prior, Source, Sql, UserTable
from mtl_tasks.scenario.tasks import Task

__all__ = [
    "BOOSTED",
    "FEATURE_SECTIONS",
    "SCENARIO_FOLDER",
    "AttributeTable",
    "Boosting",
    "FusionMethod",
    "Gate",
    "ItemTable",
    "Long",
    "Margin",
    "MemberKind",
    "Prior",
    "Rule",
    "Scenario",
    "Source",
    "Sql",
    "Task",
    "UserTable",
    "load_scenario",
    "parse_scenario",
    "parse_setting",
    "scenario_names",
]
