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


def concat_rows(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with the same columns; categorical ones keep their dtype whatever categories each part has."""
    if len(parts) == 1:
        return parts[0].reset_index(drop=True)
    categorical = [name for name in parts[0] if isinstance(parts[0][name].dtype, pd.CategoricalDtype)]
    joined = pd.concat([part.drop(columns=categorical) for part in parts], ignore_index=True)
    if not categorical:
        return joined
    united = union_categories([part[categorical] for part in parts])
    return pd.concat([joined, united], axis=1)[list(parts[0])]
