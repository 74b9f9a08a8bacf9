"""Metrics of lists by hand, and against those of binary relevance and the definition of the Gini coefficient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.metrics.lists import RELEVANCE, gini, graded_list_metrics
from tests.support.list_metrics import list_metrics


def test_list_metrics_by_hand() -> None:
    hits = np.array([[True, False, True], [False, False, False], [True, True, True], [False, True, False]])
    found = list_metrics(hits, np.array([2, 1, 5, 1]))
    d2, d3 = 1 / np.log2(3), 1 / 2
    np.testing.assert_allclose(found["ndcg"], [(1 + d3) / (1 + d2), 0, 1, d2])
    np.testing.assert_allclose(found["recall"], [1, 0, 3 / 5, 1])
    np.testing.assert_allclose(found["map"], [(1 + 2 / 3) / 2, 0, 1, 1 / 2])


def test_graded_list_metrics_by_hand() -> None:
    gains = np.array([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    ideal = np.array([[3.0, 1.0, 1.0], [0.5, 0.0, 0.0], [2.0, 2.0, 0.0]])
    found = graded_list_metrics(gains, ideal, np.array([4, 1, 2]))
    d2, d3 = 1 / np.log2(3), 1 / 2
    np.testing.assert_allclose(found["ndcg"], [(d2 + 3 * d3) / (3 + d2 + d3), 0, 2 / (2 + 2 * d2)])
    np.testing.assert_allclose(found["recall"], [2 / 4, 0, 1 / 2])
    np.testing.assert_allclose(found["map"], [(1 / 2 + 2 / 3) / 3, 0, 1 / 2])
    np.testing.assert_allclose(found["mrr"], [1 / 2, 0, 1])
    np.testing.assert_allclose(found["hit_rate"], [1, 0, 1])
    np.testing.assert_allclose(found["precision"], [2 / 3, 0, 1 / 3])
    assert tuple(found) == RELEVANCE


@given(st.lists(st.tuples(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 9)), min_size=1))
def test_graded_list_metrics_of_binary_gains_are_the_list_metrics(lists: list[tuple[list[bool], int]]) -> None:
    hits = np.array([hit for hit, _ in lists])
    truth = np.maximum(hits.sum(axis=1) + np.array([more for _, more in lists]), 1)
    ideal = (np.arange(4) < truth[:, None]).astype(float)
    graded = graded_list_metrics(hits.astype(float), ideal, truth)
    for metric, values in list_metrics(hits, truth).items():
        np.testing.assert_allclose(graded[metric], values, rtol=1e-14, atol=0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_absolute_difference(exposure: list[int]) -> None:
    values = np.array(exposure, dtype=float)
    expected = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(expected, abs=1e-12)


def test_gini_without_exposure_is_nan() -> None:
    assert np.isnan(gini(np.zeros(3)))
