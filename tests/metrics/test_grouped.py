"""Rankings within groups equal what a loop over the groups computes, ties by their expectation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.metrics.catalog import compute
from mtl_tasks.metrics.grouped import GroupRanking
from mtl_tasks.metrics.ranking import Values

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=20)


def columns_of(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, Values, Values]:
    """Return group codes without gaps, labels and predictions, ordered by group."""
    group, label, score = np.array(sorted(rows, key=lambda row: row[0])).T
    return np.unique(group, return_inverse=True)[1], label.astype(float), score / 4


def ndcg_of(label: Values, k: int) -> float:
    discount = np.where(np.arange(len(label)) < k, 1 / np.log2(np.arange(2, len(label) + 2)), 0.0)
    ideal = np.sort(label)[::-1] @ discount
    return float(label @ discount / ideal) if ideal > 0 else float("nan")


def test_by_hand() -> None:
    groups = np.array([0, 0, 0, 1, 1, 2])
    label = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    ranking = GroupRanking(groups, np.array([0.9, 0.5, 0.1, 0.4, 0.4, 0.3]))
    np.testing.assert_allclose(ranking.auc(label), [0.5, 0.5, np.nan])
    d2 = 1 / np.log2(3)
    np.testing.assert_allclose(ranking.ndcg(label), [(1 + 1 / 2) / (1 + d2), (1 + d2) / 2, 1.0])
    np.testing.assert_allclose(ranking.ndcg(label, 1), [1.0, 0.5, 1.0])
    np.testing.assert_allclose(ranking.top(1), [1, 0, 0, 0.5, 0.5, 1])


@given(ROWS)
def test_auc_of_a_group_is_the_auc_of_its_rows(rows: list[tuple[int, int, int]]) -> None:
    groups, label, score = columns_of(rows)
    expected = [compute("auc", label[groups == group], score[groups == group]) for group in np.unique(groups)]
    np.testing.assert_allclose(GroupRanking(groups, score).auc(label), expected)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=6), st.integers(1, 7))
def test_ndcg_and_choice_of_tied_rows_are_the_mean_over_their_orders(rows: list[tuple[int, int]], k: int) -> None:
    label, score = np.array(rows, dtype=float).T
    orders = [
        list(order) for order in itertools.permutations(range(len(rows))) if np.all(np.diff(score[list(order)]) <= 0)
    ]
    ranking = GroupRanking(np.zeros(len(rows), dtype=np.int64), score)
    expected = np.mean([ndcg_of(label[order], k) for order in orders])
    np.testing.assert_allclose(ranking.ndcg(label, k), [expected])
    chosen = np.zeros(len(rows))
    for order in orders:
        chosen[order[:k]] += 1 / len(orders)
    np.testing.assert_allclose(ranking.top(k), chosen)


@given(ROWS, st.permutations(range(20)))
def test_the_order_of_rows_in_a_group_does_not_matter(rows: list[tuple[int, int, int]], order: list[int]) -> None:
    shuffled = [rows[place] for place in order if place < len(rows)]
    results = []
    for table in (rows, shuffled):
        groups, label, score = columns_of(table)
        ranking = GroupRanking(groups, score)
        results.append((ranking.auc(label), ranking.ndcg(label)))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_rows_have_no_groups() -> None:
    nothing = np.zeros(0)
    ranking = GroupRanking(np.zeros(0, dtype=np.int64), nothing)
    assert ranking.auc(nothing).shape == ranking.ndcg(nothing).shape == ranking.top(2).shape == (0,)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_group_whose_labels_are_alike_has_no_auc(label: float) -> None:
    labels = np.full(3, label)
    ranking = GroupRanking(np.zeros(3, dtype=np.int64), np.arange(3.0))
    assert np.isnan(ranking.auc(labels)).all()
    assert np.isnan(ranking.ndcg(labels)[0]) == (label == 0)
