"""Tables that trees cannot learn from are refused by column or task, window and count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import DataError
from mtl_tasks.models import Table, member_class
from tests.contracts.member import draw_table, member_scenario

FILE = r"include/scenarios/tiny\.yaml"
Spoil = Callable[[Table], None]
fit = member_class("independent").fit


def column(values: Any, name: str = "taste.dot") -> Spoil:
    def spoil(table: Table) -> None:
        table.features[name] = values(table.features["taste.dot"])

    return spoil


def label(task: str, value: float, count: int | None = None) -> Spoil:
    """Set the first labeled rows of a task, by default all, to one value."""

    def spoil(table: Table) -> None:
        table.labels[task][np.flatnonzero(~np.isnan(table.labels[task]))[:count]] = value

    return spoil


def weight(value: float) -> Spoil:
    def spoil(table: Table) -> None:
        table.weights["like"] = np.ones(len(table), dtype=np.float32)
        table.weights["like"][3:5] = value

    return spoil


FAULTS = [
    (
        column(lambda old: old.where(old.index > 1, np.inf)),
        "feature 'taste.dot': 2 infinite values in {where}, .* {file}",
    ),
    (column(lambda old: old.where(old.index > 0, -np.inf)), "feature 'taste.dot': 1 infinite values in {where}"),
    (column(lambda old: old.astype(object)), "feature 'taste.dot': its type is object in {where}, models take float32"),
    (column(lambda old: old.astype("str")), "feature 'taste.dot': its type is str in {where}"),
    (column(lambda old: old.astype(np.float64)), "feature 'taste.dot': its type is float64 in {where}"),
    (label("rating", np.nan), "rating: no labeled rows in {where}, .* lengthen windows.{window} in {file}"),
    (label("like", np.nan), "like: no labeled rows in {where}"),
    (label("like", 1.0), r"like: all [\d,]+ labels in {where} are 1, both classes are needed; .* {file}"),
    (label("purchase", 0.0), r"purchase: all [\d,]+ labels in {where} are 0, both classes are needed"),
    (label("rating", 7.5), r"rating: all \d+ labels in {where} are 7.5, nothing can be learned; .* {file}"),
    (label("rating", np.inf, 2), r"rating: 2 of \d+ labels in {where} are infinite"),
    (label("like", -np.inf, 1), r"like: 1 of [\d,]+ labels in {where} are infinite"),
    (weight(0.0), r"like: 2 of [\d,]+ sample weights in {where} are not positive and finite \(first: 0\): .* {file}"),
    (weight(-1.5), r"like: 2 of .* are not positive and finite \(first: -1.5\)"),
    (weight(np.nan), r"like: 2 of .* are not positive and finite \(first: nan\)"),
    (weight(np.inf), r"like: 2 of .* are not positive and finite \(first: inf\)"),
]


@pytest.mark.parametrize("window", ["train", "tune"])
@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_a_fault_is_refused_with_its_place_and_count(window: str, spoil: Spoil, message: str) -> None:
    tables = {"train": draw_table(1200, 1), "tune": draw_table(300, 2)}
    spoil(tables[window])
    where = {"train": r"'train' \(1,200 rows\)", "tune": r"'tune' \(300 rows\)"}[window]
    with pytest.raises(DataError, match=message.format(where=where, window=window, file=FILE)) as caught:
        fit(**tables, scenario=member_scenario())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_leaves": 301}, r"labeled rows in 'train', boosting.num_leaves of 301 needs at least 301: .* {file}"),
        ({"min_data_in_leaf": 301}, "boosting.min_data_in_leaf of 301 needs at least 602: lengthen windows.train or "),
    ],
)
def test_a_task_with_fewer_rows_than_a_tree_needs_is_refused(settings: dict[str, int], message: str) -> None:
    train = draw_table(1200, 1)
    label("rating", np.nan, int((~np.isnan(train.labels["rating"])).sum()) - 300)(train)
    fit(train, draw_table(300, 2), member_scenario(num_leaves=300, min_data_in_leaf=150))
    with pytest.raises(DataError, match=rf"^rating: 300 .*{message.format(file=FILE)}"):
        fit(train, draw_table(300, 2), member_scenario(**settings))


def test_missing_features_labels_and_kinds_are_no_fault() -> None:
    tables = {"train": draw_table(1200, 1), "tune": draw_table(300, 2)}
    for table in tables.values():
        column(lambda old: old * np.float32("nan"))(table)
        column(lambda old: pd.Categorical([None, "red"] * (len(old) // 2)), "color")(table)
        label("like", np.nan, 50)(table)
        table.weights["like"] = np.where(np.isnan(table.labels["like"]), 0, 1).astype(np.float32)  # of unlabeled rows
    fit(**tables, scenario=member_scenario())
