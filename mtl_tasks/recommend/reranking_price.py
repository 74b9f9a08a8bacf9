"""The price of re-ranking: how the rules change the NDCG of the recommendations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError

GAIN: Final = "gain"


@dataclass(frozen=True)
class NdcgPrice:
    """Mean NDCG over the same users with and without rules.

    Attributes
    ----------
    users
        Users with a positive gain.
    with_rules, without_rules, difference
        Mean NDCG, and the first minus the second: negative where the rules cost quality. NaN without users.
    """

    users: int
    with_rules: float
    without_rules: float
    difference: float

    def document(self) -> dict[str, int | float | None]:
        """Return the values by name; an undefined one is None."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def ndcg_price(with_rules: pd.DataFrame, without_rules: pd.DataFrame, truth: pd.DataFrame, k: int) -> NdcgPrice:
    """Compare two sets of recommendations on the same truth.

    Parameters
    ----------
    with_rules, without_rules, truth, k
        See :func:`list_ndcg`.
    """
    ruled, plain = (list_ndcg(lists, truth, k) for lists in (with_rules, without_rules))
    means = [float(values.mean()) if len(values) else float("nan") for values in (ruled, plain)]
    return NdcgPrice(len(ruled), means[0], means[1], means[0] - means[1])


def list_ndcg(lists: pd.DataFrame, truth: pd.DataFrame, k: int) -> pd.Series[float]:
    """Return the NDCG at k of each user with a positive gain, float64 by ascending user.

    The gain is linear, the discount is logarithmic (Järvelin & Kekäläinen 2002), and the ideal list has the k largest
    gains of the user. A user without a list has 0.

    Parameters
    ----------
    lists
        User, item and rank (from 1); places beyond k do not count.
    truth
        User, item and ``gain`` (at least 0); an item that is not there has the gain 0.

    Raises
    ------
    DataError
        If a pair of user and item has two gains, or a gain is negative or not finite.
    """
    _check(truth)
    ideal = truth.sort_values([columns.USER, GAIN], ascending=[True, False], kind="stable")
    place = ideal.groupby(columns.USER).cumcount()
    best = _discounted(ideal[columns.USER], ideal[GAIN], place + 1, k)
    found = lists[[columns.USER, columns.ITEM, columns.RANK]].merge(truth, on=[columns.USER, columns.ITEM])
    found = found.sort_values([columns.USER, columns.RANK], kind="stable")
    reached = _discounted(found[columns.USER], found[GAIN], found[columns.RANK], k)
    best = best[best > 0]
    return reached.reindex(best.index, fill_value=0.0) / best


def _discounted(users: pd.Series, gain: pd.Series[float], rank: pd.Series[int], k: int) -> pd.Series[float]:
    counted = np.where(rank <= k, gain.to_numpy(dtype=np.float64) / np.log2(rank.to_numpy(dtype=np.float64) + 1), 0.0)
    return pd.Series(counted, index=users.index).groupby(users).sum()


def _check(truth: pd.DataFrame) -> None:
    repeated = int(truth.duplicated([columns.USER, columns.ITEM]).sum())
    if repeated:
        raise DataError(f"truth: {repeated:,} pairs of user and item are repeated: keep one gain for each")
    wrong = int((~np.isfinite(truth[GAIN]) | (truth[GAIN] < 0)).sum())
    if wrong:
        raise DataError(f"truth: {wrong:,} gains are negative or not finite: a gain is 0 or more")
