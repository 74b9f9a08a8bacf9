"""Problems of the benchmarks: features, labels and windows of one log, real or simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.models import Table
from mtl_tasks.scenario import Scenario, parse_scenario

WINDOWS: Final = ("train", "tune", "blend", "test")
# Kept the same on every problem, so that what differs is the method and the log.
BOOSTING: Final[Mapping[str, Any]] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "rounds": 2000,
    "patience": 50,
    "seeds": 1,
    "threads": 2,
}


@dataclass(frozen=True)
class Problem:
    """Rows of one log with all that a member needs to be fitted and judged.

    Attributes
    ----------
    features
        float32 (n, columns).
    labels
        Task to float32 (n,); NaN where not observed.
    users
        (n,) id of each row's user: rows of one user are not independent.
    window
        (n,) one of ``train``, ``tune``, ``blend``, ``test``.
    truth
        Task to the label's true expectation (n,), where it is known: nothing can predict better.
    """

    name: str
    scenario: Scenario
    features: pd.DataFrame
    labels: dict[str, NDArray[np.float32]]
    users: NDArray[Any]
    window: NDArray[Any]
    truth: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def rows(self, *windows: str) -> NDArray[np.bool_]:
        """The mask of the rows in the windows."""
        return np.isin(self.window, windows)

    def table(self, *windows: str) -> Table:
        """Features and labels of the rows in the windows."""
        chosen = self.rows(*windows)
        labels = {task: label[chosen] for task, label in self.labels.items()}
        return Table(self.features[chosen], labels, users=self.users[chosen])


def benchmark_scenario(name: str, title: str, tasks: dict[str, dict[str, Any]], **boosting: Any) -> Scenario:
    """Return a scenario that names tasks and settings; its source is never read."""
    document = {
        "name": name,
        "title": title,
        "source": {"events": "none", "columns": {"user": "user", "item": "item", "time": "time"}, "timezone": "UTC"},
        "tasks": tasks,
        "windows": {"train": 1, "tune": 1, "blend": 1, "test": 1},
        "boosting": {**BOOSTING, **boosting},
        "gate": {},
    }
    return parse_scenario(document, where=f"benchmark {name}")


def binary(label: str) -> dict[str, Any]:
    """Return a binary task whose negatives are logged."""
    return {"kind": "binary", "label": label, "negatives": {"how": "logged"}}


def regression(label: str, low: float, high: float) -> dict[str, Any]:
    """Return a regression task and the range that its predictions are clipped to."""
    return {"kind": "regression", "label": label, "range": [low, high]}
