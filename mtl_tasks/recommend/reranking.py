"""Re-ranking: each user's recommendations under rules for diversity, caps, exclusions and new items."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import Positions, group_starts
from mtl_tasks.core.top_lists import POPULAR, top_lists
from mtl_tasks.recommend.item_facts import ItemFacts
from mtl_tasks.recommend.selection import CandidateMatrix, count_at, select
from mtl_tasks.scenario.reranking import Reranking


@dataclass(frozen=True)
class RerankingCounts:
    """Counts of changes that the rules made to the recommendations of some users; those of batches add up.

    Attributes
    ----------
    users
        Users with candidates.
    excluded_candidates
        Candidates of all users that the exclusions removed.
    short_lists
        Users whose list is shorter than k only because of the rules; the next is among them.
    empty_lists
        Users whose candidates are all excluded; they have no list.
    lacking_new_items
        Users whose list has fewer new items than ``new_items.at_least``.
    """

    users: int = 0
    excluded_candidates: int = 0
    short_lists: int = 0
    empty_lists: int = 0
    lacking_new_items: int = 0

    def __add__(self, other: RerankingCounts) -> RerankingCounts:
        mine, theirs = asdict(self), asdict(other)
        return RerankingCounts(**{name: mine[name] + theirs[name] for name in mine})

    def document(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def rerank(
    scored: pd.DataFrame, score: str, k: int, rules: Reranking, items: ItemFacts
) -> tuple[pd.DataFrame, RerankingCounts]:
    """Return up to k rows of each user by a score under the rules, and counts of what the rules did.

    Without rules the rows are those of :func:`~mtl_tasks.core.top_lists.top_lists`, which also defines the order of
    candidates and their ties. A list may be shorter than k. A row whose score is NaN is never chosen before another.

    Parameters
    ----------
    scored
        Candidates with user, item, ``popular_7d`` and the score; rows of a user must be contiguous.
    items
        Facts about all items of ``scored``, made for the same rules.

    Returns
    -------
    tuple
        Rows of ``scored`` with their index and a ``rank`` column from 1, ordered by user and rank; and the counts.

    Raises
    ------
    ValueError
        If an item is not among ``items``.
    """
    if not rules.active:
        return top_lists(scored, score, k), RerankingCounts(
            users=int(group_starts(scored[columns.USER].to_numpy()).sum())
        )
    codes = items.codes(scored[columns.ITEM])
    kept = np.flatnonzero(~items.excluded[codes])
    if rules.selects:
        table = scored[list(dict.fromkeys([columns.USER, columns.ITEM, POPULAR, score]))].iloc[kept]
        chosen = _choose(table.reset_index(drop=True), score, k, rules, items, codes[kept])
        row, place = np.nonzero(chosen >= 0)
        best = scored.iloc[kept[chosen[row, place]]].assign(**{columns.RANK: place + 1})
    else:
        best = top_lists(scored.iloc[kept], score, k)
    return best, _counts(scored, best, k, rules, items, len(scored) - len(kept))


def _choose(table: pd.DataFrame, score: str, k: int, rules: Reranking, items: ItemFacts, codes: Positions) -> Positions:
    """Return the rows of each user's list, int64 (users, k) by ascending user, -1 where it is shorter.

    Most lists are complete with the best ``k * pool_factor`` candidates, and sorting all would take several times as
    long. The choice prefers these anyway, so that only incomplete lists need more.
    """
    depth = k * rules.pool_factor
    head = _matrix(table, score, depth, codes)
    chosen = select(head, k, rules, items)
    complete = count_at(head.filled, chosen) == k
    if rules.new_items is not None:
        complete &= count_at(items.new[head.items], chosen) >= min(rules.new_items.at_least, k)
    deeper = np.flatnonzero(~complete & (head.filled.sum(axis=1) == depth))
    rows = _rows(head, chosen)
    if len(deeper):
        users = table[columns.USER].to_numpy()[head.positions[deeper, 0]]
        whole = _matrix(table[table[columns.USER].isin(users)], score, len(table), codes)
        rows[deeper] = _rows(whole, select(whole, k, rules, items))
    return rows


def _matrix(table: pd.DataFrame, score: str, depth: int, codes: Positions) -> CandidateMatrix:
    """Return the best candidates of each user; ``codes`` are the items of the rows that the index numbers."""
    ordered = top_lists(table, score, depth)
    position = ordered.index.to_numpy()
    return CandidateMatrix.of(
        ordered[columns.USER].to_numpy(), position, codes[position], ordered[score].to_numpy(dtype=np.float64)
    )


def _rows(candidates: CandidateMatrix, chosen: Positions) -> Positions:
    if not candidates.positions.size:
        return np.full(chosen.shape, -1)
    return np.where(chosen >= 0, np.take_along_axis(candidates.positions, np.maximum(chosen, 0), axis=1), -1)


def _counts(
    scored: pd.DataFrame, best: pd.DataFrame, k: int, rules: Reranking, items: ItemFacts, excluded: int
) -> RerankingCounts:
    candidates = scored.groupby(columns.USER).size()
    lengths = best.groupby(columns.USER).size().reindex(candidates.index, fill_value=0)
    lacking = 0
    if rules.new_items is not None:
        new = best.loc[items.new[items.codes(best[columns.ITEM])], columns.USER].value_counts()
        least = min(rules.new_items.at_least, k)
        lacking = int((new.reindex(candidates.index, fill_value=0) < least).sum())
    return RerankingCounts(
        users=len(candidates),
        excluded_candidates=excluded,
        short_lists=int((lengths < candidates.clip(upper=k)).sum()),
        empty_lists=int((lengths == 0).sum()),
        lacking_new_items=lacking,
    )
