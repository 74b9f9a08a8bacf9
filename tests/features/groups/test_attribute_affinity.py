"""Values in one text, separated by bars."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtl_tasks.features.groups.attribute_affinity import MultiValued


def parse(*texts: str | None) -> MultiValued:
    return MultiValued.parse("genres", pd.Series(texts, index=range(10, 10 + len(texts)), dtype="str"))


def test_values_keep_their_item_and_order() -> None:
    parsed = parse("Drama|War", "Comedy", "War")
    owner, value = parsed.of(np.array([0, 2, 0]))
    assert owner.tolist() == [0, 0, 1, 2, 2]
    assert value.tolist() == [1, 2, 2, 1, 2]  # Comedy 0, Drama 1, War 2
    assert parsed.size == 3


def test_empty_and_missing_texts_have_no_value() -> None:
    parsed = parse("", "War", None, "|", "War|")
    assert np.diff(parsed.starts).tolist() == [0, 1, 0, 0, 1]
    assert parsed.of(np.arange(5))[1].tolist() == [0, 0]


def test_a_table_without_any_value_parses() -> None:
    assert parse("", None).size == 0
    assert parse().starts.tolist() == [0]
