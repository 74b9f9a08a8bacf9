"""Whether each rule of the gate can be judged: its metric, slice and limit, checked against the tasks."""

from __future__ import annotations

from typing import Final

from mtl_tasks.core.errors import ConfigError, nearest
from mtl_tasks.metrics.catalog import CATALOG, metrics_of
from mtl_tasks.scenario.gate import Margin, Rule
from mtl_tasks.scenario.scenario import LISTS, Scenario

SLICES: Final = ("cold_users", "warm_users", "cold_items", "warm_items")


def check_rules(scenario: Scenario) -> None:
    """Refuse, before anything is trained, a rule that can never be judged.

    Raises
    ------
    ConfigError
        Naming the rule and what it may say.
    """
    rules: list[Rule | Margin] = [*scenario.gate.absolute, *scenario.gate.relative]
    for rule in rules:
        where = f"gate: rule on {rule.task} {rule.metric}"
        if rule.task == LISTS and (isinstance(rule, Margin) or rule.slice):
            raise ConfigError(f"{where}: rules on ranking must be absolute and have no slice, in {scenario.file}")
        known = metrics_of("lists" if rule.task == LISTS else scenario.tasks[rule.task].kind)
        if rule.metric not in known:
            hint = nearest(rule.metric, list(known))
            raise ConfigError(f"{where}: no such metric{hint} (known: {', '.join(known)}), in {scenario.file}")
        if rule.slice is not None and rule.slice not in SLICES:
            hint = nearest(rule.slice, list(SLICES))
            raise ConfigError(
                f"{where}: no slice {rule.slice!r}{hint} (known: {', '.join(SLICES)}), in {scenario.file}"
            )
        key, limit = _limit_of(rule)
        if CATALOG[rule.metric].share and not 0 <= limit <= 1:
            raise ConfigError(f"{where}: {key} is {limit:g}, but {rule.metric} is from 0 to 1, in {scenario.file}")


def _limit_of(rule: Rule | Margin) -> tuple[str, float]:
    """Key and value of what a rule asks for."""
    if isinstance(rule, Margin):
        return "margin", rule.margin
    return ("max", rule.max) if rule.max is not None else ("min", rule.min or 0.0)
