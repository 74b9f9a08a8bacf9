"""Encoded rows with the targets of every task."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.boosting.task_rows import TaskRows
from mtl_tasks.models.checks import check_features, check_taken_labels
from mtl_tasks.models.encoding import Codes, FeatureEncoder, Matrix, chunks, spacing, taken
from mtl_tasks.models.member import Table
from mtl_tasks.scenario import DEEP, Scenario

BESIDE: Final = 2  # values of a row for each task: target and weight

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Scaling of a task's label to the target of the network, ``(label - center) / scale``; only numbers are scaled.

    Attributes
    ----------
    base
        The constant score with the least loss.
    """

    objective: str
    center: float
    scale: float
    base: float

    @classmethod
    def of(cls, rows: TaskRows, objective: str) -> Target:
        """Learn the scale from labeled rows."""
        if objective != "regression":
            return cls(objective, 0.0, 1.0, LOSSES[objective].base(rows.label, rows.weight))
        center = float(np.average(rows.label, weights=rows.weight))
        return cls(objective, center, float(np.sqrt(np.average((rows.label - center) ** 2, weights=rows.weight))), 0.0)


@dataclass(frozen=True)
class EncodedRows:
    """Inputs and targets of every k-th row of a table.

    Attributes
    ----------
    dense, codes
        float32 (n, dense inputs) and int32 (n, categorical inputs).
    targets
        float32 (n, tasks); 0 where not observed.
    weights
        float32 (n, tasks): each row's weight times n over the total of the task, 0 where not observed. The mean of
        weighted losses is then the mean over the task's labeled rows, however few they are.
    every
        The k.
    """

    dense: Matrix
    codes: Codes
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    every: int

    def __len__(self) -> int:
        return len(self.dense)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Inputs and targets, as a training step takes them."""
        return self.dense, self.codes, self.targets, self.weights

    @classmethod
    def of(
        cls, encoder: FeatureEncoder, table: Table, targets: dict[str, Target], scenario: Scenario, window: str | None
    ) -> EncodedRows:
        """Encode a table; with the name of a window, its features are checked.

        Raises
        ------
        DataError
            If features or the labels of the taken rows cannot be learned from.
        """
        width = len(encoder.dense_names) + len(encoder.levels)
        every = spacing(len(table), width + BESIDE * len(targets))
        if every > 1:
            log.info("%s: deep: one row in %d of %d is used, to bound memory", scenario.name, every, len(table))
            check_taken_labels(table, window, every, DEEP, scenario)
        rows = taken(len(table), every)
        dense = np.empty((rows, len(encoder.dense_names)), dtype=np.float32)
        codes = np.empty((rows, len(encoder.levels)), dtype=np.int32)
        for position, part in chunks(table, every):
            if window is not None:
                check_features(part, window, scenario.file)
            dense[position], codes[position] = encoder.dense(part), encoder.codes(part)
        values, weights = (np.zeros((rows, len(targets)), dtype=np.float32) for _ in range(2))
        for column, (task, target) in enumerate(targets.items()):
            own = table.rows(task, every)
            values[own.positions, column] = (own.label - target.center) / target.scale
            weights[own.positions, column] = own.shares * rows
        return cls(dense, codes, values, weights, every)
