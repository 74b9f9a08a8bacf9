"""Recall and NDCG of the candidates' benchmark, on lists small enough to count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import POPULAR, SCORE
from mtl_tasks.data.relevance import GAIN
from tests.benchmarks.candidates import _ndcg, _recall


@pytest.fixture
def truth() -> pd.DataFrame:
    return pd.DataFrame({columns.USER: [1, 1, 2], columns.ITEM: [10, 11, 12], GAIN: 1.0, "new": [False, True, False]})


@pytest.fixture
def made() -> pd.DataFrame:
    pairs = {columns.USER: [1, 1, 1, 2], columns.ITEM: [10, 11, 13, 13]}
    return pd.DataFrame({**pairs, SCORE: [1.0, 3.0, 2.0, 1.0], POPULAR: 0.0})


def test_recall_counts_pairs(truth: pd.DataFrame, made: pd.DataFrame) -> None:
    assert _recall(truth, made) == (pytest.approx(2 / 3), 1.0)
    assert np.isnan(_recall(truth.assign(new=False), made)[1])


def test_ndcg_of_new_items_counts_no_other(truth: pd.DataFrame, made: pd.DataFrame) -> None:
    ideal = 1 + 1 / np.log2(3)
    assert _ndcg(truth, made, 3, new=False).tolist() == pytest.approx([(1 + 0.5) / ideal, 0.0])
    assert _ndcg(truth, made, 3, new=True).tolist() == pytest.approx([1.0])
    assert _ndcg(truth, made, 1, new=True).tolist() == pytest.approx([1.0])
