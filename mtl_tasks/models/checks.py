"""Checks of training data before a fit: LightGBM silently accepts most data that it cannot learn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtl_tasks.core.errors import DataError
from mtl_tasks.models.boosting.task_rows import TaskRows, Values
from mtl_tasks.models.member import Table
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.rows_needed import room_faults


def check_learnable(train: Table, tune: Table, scenario: Scenario) -> None:
    """As :func:`check_labels`, and raise if a train window is too short for the settings of boosted trees."""
    check_labels(train, tune, scenario)
    for name in scenario.tasks:
        for fault in room_faults(name, len(train.rows(name).label), scenario):
            raise DataError(fault)


def check_labels(train: Table, tune: Table, scenario: Scenario) -> None:
    """Raise on the first fault of labels or weights that makes training fail or useless.

    Raises
    ------
    DataError
        Names task, window, count and remedy.
    """
    for window, table in (("train", train), ("tune", tune)):
        where = _where(window, len(table))
        for name, task in scenario.tasks.items():
            rows = table.rows(name)
            _check_labels(name, task.kind, rows.label, where, f"lengthen windows.{window} in {scenario.file}")
            _check_weights(name, rows, where, scenario.file)


def check_taken_labels(table: Table, window: str | None, every: int, member: str, scenario: Scenario) -> None:
    """Raise on the first task that has nothing to learn from in every k-th row; a window of None is that of a refit.

    Raises
    ------
    DataError
        Names task, rows, count and remedy.
    """
    for name, task in scenario.tasks.items():
        label = table.labels[name][::every]
        where = f"one row in {every} of {_where(window or 'refit', len(table))}, which bounds memory"
        remedy = f"leave {member!r} out of `members` in {scenario.file}, or use fewer features"
        _check_labels(name, task.kind, label[~np.isnan(label)].astype(np.float64), where, remedy)


def check_features(features: pd.DataFrame, window: str, file: str) -> None:
    """Raise on the first column that no model can be trained on.

    Raises
    ------
    DataError
        Names column, window, count and remedy.
    """
    for name in features:
        _check_column(str(name), features[name], _where(window, len(features)), file)


def _where(window: str, rows: int) -> str:
    return f"{window!r} ({rows:,} rows)"


def _check_column(name: str, column: pd.Series, where: str, file: str) -> None:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return
    if column.dtype != np.float32:
        raise DataError(
            f"feature {name!r}: its type is {column.dtype} in {where}, models take float32, or category for a column "
            "of kinds: convert it when features are built"
        )
    infinite = int(np.isinf(column.to_numpy()).sum())
    if infinite:
        raise DataError(
            f"feature {name!r}: {infinite:,} infinite values in {where}, a missing one is NaN: fix the columns "
            f"it is made from, which are named under source in {file}"
        )


def _check_labels(task: str, kind: str, label: Values, where: str, remedy: str) -> None:
    if not len(label):
        raise DataError(f"{task}: no labeled rows in {where}, nothing can be learned; {remedy}")
    infinite = int(np.isinf(label).sum())
    if infinite:
        raise DataError(
            f"{task}: {infinite:,} of {len(label):,} labels in {where} are infinite, an unknown one is NaN: fix the "
            "log's label column"
        )
    if label.min() == label.max():
        what = "both classes are needed" if kind == "binary" else "nothing can be learned"
        raise DataError(f"{task}: all {len(label):,} labels in {where} are {label[0]:g}, {what}; {remedy}")


def _check_weights(task: str, rows: TaskRows, where: str, file: str) -> None:
    if rows.weight is None:
        return
    wrong = np.flatnonzero(~((rows.weight > 0) & np.isfinite(rows.weight)))
    if len(wrong):
        raise DataError(
            f"{task}: {len(wrong):,} of {len(rows.weight):,} sample weights in {where} are not positive and finite "
            f"(first: {rows.weight[wrong[0]]:g}): correct the settings of tasks.{task} in {file} that they follow from"
        )
