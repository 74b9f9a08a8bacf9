"""The parts of a scenario that a stage's result depends on; they are part of its key."""

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
    """Return the configuration of a stage that depends on the whole scenario."""
    return run.scenario.model_dump(mode="json")
