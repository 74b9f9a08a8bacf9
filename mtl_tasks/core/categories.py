"""Helpers for pandas categorical columns: drop unused categories, unite those of several tables."""

from __future__ import annotations

import numpy as np
import pandas as pd


def drop_unused_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop unused categories, so that a stored day does not depend on what it was read with."""
    made = {}
    for name in frame:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            categorical = frame[name].cat.remove_unused_categories().array
            if not len(categorical.categories):
                categorical = pd.Categorical.from_codes(categorical.codes, categories=pd.Index([], dtype="str"))
            made[str(name)] = categorical
    return frame.assign(**made)


def union_categories(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate categorical columns under the union of their categories; parts without any do not set the dtype."""
    joined = {}
    for name in parts[0]:
        known = [part[name].cat.categories for part in parts if len(part[name].cat.categories)]
        levels = known[0].append(known[1:]).unique().sort_values() if known else pd.Index([], dtype="str")
        codes = [np.append(levels.get_indexer(part[name].cat.categories), -1)[part[name].cat.codes] for part in parts]
        joined[name] = pd.Categorical.from_codes(np.concatenate(codes), categories=levels)
    return pd.DataFrame(joined)
