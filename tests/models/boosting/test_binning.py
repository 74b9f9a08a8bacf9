"""Kinds become codes that mean the same wherever a model is used."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtl_tasks.models.boosting.binning import MOST_LEVELS, Encoder


def frame(*kinds: str | None) -> pd.DataFrame:
    return pd.DataFrame({"brand": pd.Categorical(kinds)})


def test_a_level_keeps_its_code_whatever_else_a_table_holds() -> None:
    encoder = Encoder.learn(frame("b", "a", "c", "b"))
    assert encoder.matrix(frame("c", "x", None, "a", "b")).ravel().tolist() == [3, 0, 0, 1, 2]


def test_of_many_levels_the_most_frequent_are_told_apart() -> None:
    names = [f"{place:04d}" for place in range(MOST_LEVELS + 20)]
    encoder = Encoder.learn(frame(*names, *names[20:]))
    codes = encoder.matrix(frame(*names)).ravel()
    assert np.unique(codes[:20]).tolist() == [0]
    assert codes[20:].tolist() == list(range(1, MOST_LEVELS + 1))
