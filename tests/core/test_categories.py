"""Categorical columns keep their dtype when tables are joined."""

from __future__ import annotations

import pandas as pd

from mtl_tasks.core.categories import concat_rows


def test_rows_with_different_categories_stay_categorical() -> None:
    first = pd.DataFrame({"x": [1, 2], "kind": pd.Categorical(["b", None]), "y": [0.5, 1.5]})
    second = pd.DataFrame({"x": [3], "kind": pd.Categorical(["a"], categories=["c", "a"]), "y": [2.5]})
    empty = pd.DataFrame({"x": [4], "kind": pd.Categorical([None]), "y": [3.5]})
    joined = concat_rows([first, second, empty])
    assert list(joined) == ["x", "kind", "y"]
    assert joined["kind"].cat.categories.tolist() == ["a", "b", "c"]
    assert joined["kind"].astype(object).where(joined["kind"].notna(), None).tolist() == ["b", None, "a", None]
    assert joined["x"].tolist() == [1, 2, 3, 4]
    assert joined.index.tolist() == [0, 1, 2, 3]


def test_one_table_keeps_its_columns_and_gets_a_plain_index() -> None:
    only = pd.DataFrame({"kind": pd.Categorical(["a", "b"])}, index=[7, 9])
    assert concat_rows([only]).index.tolist() == [0, 1]
    assert concat_rows([only])["kind"].dtype == only["kind"].dtype
