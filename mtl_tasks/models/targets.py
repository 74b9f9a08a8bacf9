"""Conversion of labels to what is learned, and of raw scores to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mtl_tasks.models.member import Table, within_range
from mtl_tasks.scenario import Scenario, Task

Values = NDArray[np.float64]


def as_learned(table: Table, scenario: Scenario) -> Table:
    """Scale labels that are learned as fractions to between 0 and 1."""
    labels = dict(table.labels)
    for name, task in scenario.tasks.items():
        if task.objective == "fraction" and task.limits is not None:
            low, high = task.limits
            labels[name] = np.clip((labels[name] - low) / (high - low), 0, 1).astype(np.float32)
    return replace(table, labels=labels)


def as_predicted(raw: Values, task: Task) -> Values:
    """Convert raw scores to predictions: a value within the task's limits, or a probability."""
    if task.objective == "regression":
        return within_range(raw, task)
    probability: Values = expit(raw)
    if task.objective == "fraction" and task.limits is not None:
        low, high = task.limits
        return low + (high - low) * probability
    return probability
