"""Ids become arrays that need no pickling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import id_array


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "Int64"])
def test_integers_become_int64(dtype: str) -> None:
    found = id_array(pd.Series([3, 1, 2], dtype=dtype))
    assert found.dtype == np.int64
    assert found.tolist() == [3, 1, 2]


def test_texts_become_fixed_width_and_sort_as_pandas_sorts() -> None:
    texts = pd.Series(["b", "é", "a10", "a9", "Z", ""], dtype="str")
    found = id_array(texts)
    assert found.dtype.kind == "U"
    assert np.sort(found).tolist() == texts.sort_values().tolist()
    assert id_array(pd.Index(texts)).tolist() == texts.tolist()


def test_column_names_carry_their_task() -> None:
    assert columns.label("rating") == "label:rating"
    assert columns.prediction("rating") == "prediction:rating"
