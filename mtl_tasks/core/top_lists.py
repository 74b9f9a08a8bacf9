"""Top-k rows of each user by a score, and the names of the ranking scores."""

from __future__ import annotations

from typing import Final

import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import top_n_mask

POPULAR: Final = "popular_7d"
POPULAR_1D: Final = "popular_1d"
ALS: Final = "als"
UTILITY: Final = "utility"
SCORE: Final = "score"  # of the ranker that a run chose
LOG: Final = "log "  # prefixes of a score in a weighted sum
LOGIT: Final = "logit "
RRF_OFFSET: Final = 60  # of Cormack, Clarke & Buettcher, SIGIR 2009
RARE: Final = 0.2  # pseudo-interactions per week of an item without any; .2 beat 1 on `movies`, July 2013


def top_lists(scored: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """Return the k best rows of each user by a score (NaN last), best first, with a ``rank`` column from 1.

    Rows of a user must be contiguous; they keep their index. Ties are broken by last week's popularity, then by item
    id, so that recommendations are a function of the scores.
    """
    scored = scored[top_n_mask(scored[columns.USER].to_numpy(), scored[score].to_numpy(), k)]  # leaves few to sort
    by = [columns.USER, score, POPULAR] if score != POPULAR else [columns.USER, POPULAR]
    ascending = [True, *[False] * (len(by) - 1), True]
    ordered = scored.sort_values([*by, columns.ITEM], ascending=ascending, na_position="last", kind="stable")
    best = ordered.groupby(columns.USER, sort=False).head(k)
    return best.assign(**{columns.RANK: best.groupby(columns.USER, sort=False).cumcount() + 1})
