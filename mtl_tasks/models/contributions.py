"""Summaries of features' contributions to predictions, for reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

Values = NDArray[np.float64]
TOP: Final = 20


def effects_of(parts: NDArray[np.floating[Any]], names: Sequence[str], features: pd.DataFrame) -> dict[str, Any]:
    """Return the features that move predictions most, in the form of :meth:`Member.explain` for one task.

    Parameters
    ----------
    parts
        float (n, inputs): contribution of each input to the score of a row.
    names
        The feature behind each input; the inputs of one feature are added up.
    features
        Their (n, columns) values; a categorical one has no direction.
    """
    own = dict(zip(*_totals(parts, names), strict=True))
    size = {name: float(np.abs(total).mean()) for name, total in own.items()}
    largest = sorted((name for name in size if size[name] > 0), key=lambda name: -size[name])[:TOP]
    effects = [
        {"feature": name, "mean_abs": round(size[name], 6), "direction": _direction(features[name], own[name])}
        for name in largest
    ]
    return {"rows": len(features), "features": effects, "gain": None}


def shares_of(sizes: NDArray[np.floating[Any]], names: Sequence[str]) -> list[tuple[str, float]]:
    """Return each feature's share of the total, largest first.

    Parameters
    ----------
    sizes
        float (inputs,), not negative: how far each input moves the score.
    names
        The feature behind each input.
    """
    features, totals = _totals(sizes[None], names)
    shares = np.concatenate(totals) / max(float(sizes.sum()), 1e-12)
    order = np.argsort(-shares, kind="stable")
    return [(features[position], round(float(shares[position]), 6)) for position in order]


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Return Spearman's correlation over the rows with both values; None if either is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return None
    return round(float(spearmanr(first, second).statistic), 4)


def _totals(parts: NDArray[np.floating[Any]], names: Sequence[str]) -> tuple[list[str], list[Values]]:
    codes, features = pd.factorize(np.asarray(names, dtype=object))
    order = np.argsort(codes, kind="stable")
    cuts = np.cumsum(np.bincount(codes))[:-1]
    return list(features), [parts[:, own].sum(axis=1, dtype=np.float64) for own in np.split(order, cuts)]


def _direction(values: pd.Series[Any], parts: Values) -> float | None:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None
    return rank_correlation(values.to_numpy(dtype=np.float64), parts)
