"""The typed form of a scenario file: what the log is, what to predict, over which windows, under which gate."""

from mtl_tasks.scenario.base import number_limits
from mtl_tasks.scenario.compression import Compression
from mtl_tasks.scenario.deep import DEEP, Deep
from mtl_tasks.scenario.gate import Gate, ListRule, Margin, Rule
from mtl_tasks.scenario.loading import (
    load_scenario,
    parse_scenario,
    parse_setting,
    scenario_names,
    with_new_names,
    with_settings,
)
from mtl_tasks.scenario.members import BOOSTED, MEMBERS, Boosting, FusionMethod, MemberKind
from mtl_tasks.scenario.notify import Notify, NotifyTarget, Outcome
from mtl_tasks.scenario.pods import Pod, Pods
from mtl_tasks.scenario.recommend import RANKERS, SOURCE_NAMES, RankerName, Recommend, SourceName, Sources
from mtl_tasks.scenario.scenario import FEATURE_SECTIONS, LISTS, SCENARIO_FOLDER, AssetSchedule, Scenario, Windows
from mtl_tasks.scenario.source import AttributeTable, Content, ItemTable, Long, Prior, Source, Sql, UserTable
from mtl_tasks.scenario.tasks import Task
from mtl_tasks.scenario.tracking import MlflowTarget, Tracking
from mtl_tasks.scenario.tuning import TUNABLE, Dimension, Setting, Tuning
from mtl_tasks.scenario.utility import Formula

__all__ = [
    "BOOSTED",
    "DEEP",
    "FEATURE_SECTIONS",
    "LISTS",
    "MEMBERS",
    "RANKERS",
    "SCENARIO_FOLDER",
    "SOURCE_NAMES",
    "TUNABLE",
    "AssetSchedule",
    "AttributeTable",
    "Boosting",
    "Compression",
    "Content",
    "Deep",
    "Dimension",
    "Formula",
    "FusionMethod",
    "Gate",
    "ItemTable",
    "ListRule",
    "Long",
    "Margin",
    "MemberKind",
    "MlflowTarget",
    "Notify",
    "NotifyTarget",
    "Outcome",
    "Pod",
    "Pods",
    "Prior",
    "RankerName",
    "Recommend",
    "Rule",
    "Scenario",
    "Setting",
    "Source",
    "SourceName",
    "Sources",
    "Sql",
    "Task",
    "Tracking",
    "Tuning",
    "UserTable",
    "Windows",
    "load_scenario",
    "number_limits",
    "parse_scenario",
    "parse_setting",
    "scenario_names",
    "with_new_names",
    "with_settings",
]
