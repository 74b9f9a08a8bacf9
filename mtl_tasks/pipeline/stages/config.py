"""The parts of a scenario that a stage's result depends on: they go into its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtl_tasks.pipeline.engine import Run

Config = Callable[[Run], dict[str, Any]]


def sections(*names: str) -> Config:
    """Return the configuration function of a stage that depends on some sections of the scenario."""

    def config(run: Run) -> dict[str, Any]:
        document = run.scenario.model_dump(mode="json")
        return {name: document[name] for name in names}

    return config


def whole_scenario(run: Run) -> dict[str, Any]:
    """The configuration of a stage that depends on all of the scenario."""
    return run.scenario.model_dump(mode="json")
