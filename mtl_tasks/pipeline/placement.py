"""The rank of an item among a user's candidates, or the reason why it is not one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.documents import Document
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, SCORE, UTILITY, top_lists
from mtl_tasks.features.builder import FeatureMaker
from mtl_tasks.features.interactions import with_context
from mtl_tasks.recommend.candidates import Candidates
from mtl_tasks.recommend.rankers import RankingRows
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.serving_context import ServingContext
from mtl_tasks.recommend.sources import PastPositives


class Placement(Document):
    """Where an item stands for a user.

    Attributes
    ----------
    rank
        Among the user's candidates, from 1; None if it is no candidate.
    candidates
        Their number.
    popular_7d
        Positive interactions with the item in the last seven days.
    score
        What the candidates are ordered by; None if it is no candidate, or has no score.
    utility
        None if it is no candidate, or the order does not need it.
    listed
        Whether it is in the user's recommendations.
    sentence
        The rank, or the reason why the item is not in the recommendations.
    """

    rank: int | None
    candidates: int
    popular_7d: int
    score: float | None
    utility: float | None
    listed: bool
    sentence: str


@dataclass(frozen=True)
class UserCandidates:
    """The candidates of a user.

    Attributes
    ----------
    ranked
        In their order, best first: item, rank, score and, if it was needed, utility.
    parts
        What each score adds to a candidate's score beyond what it adds to the mean candidate's, by name, with the
        candidates' items as index; no column for a score that is no sum.
    taken
        Codes of the items that the user has taken.
    """

    ranked: pd.DataFrame
    parts: pd.DataFrame
    taken: NDArray[np.int64]

    def find(self, item: int | str) -> pd.Series[Any] | None:
        """Return an item's row; None if it is no candidate."""
        found = self.ranked[self.ranked[columns.ITEM] == item]
        return None if found.empty else found.iloc[0]


class CandidateRanking:
    """Ranks the candidates of one user after the other, as the run's recommendations are ranked.

    Parameters
    ----------
    maker
        Advanced to ``day``.
    excluded
        Ids of the items that rules on their attributes exclude.
    """

    def __init__(
        self, scorer: Scorer, maker: FeatureMaker, context: ServingContext, day: int, excluded: NDArray[Any]
    ) -> None:
        self._scorer, self._maker, self._context, self._day = scorer, maker, context, day
        self._excluded = set(excluded.tolist())
        self._items = pd.Index(maker.events.item_ids)

    @cached_property
    def _candidates(self) -> Candidates:
        """The candidate sources of all users, built when the first question about a user is asked."""
        return Candidates(self._maker, self._day, self._scorer.scenario, self._scorer.towers)

    @cached_property
    def _taken(self) -> Any:
        return PastPositives(self._maker.positives.before(self._day), self._day).matrix()

    def popular(self, items: Sequence[int | str]) -> list[int]:
        """Return each item's positive interactions in the last seven days."""
        return [int(count) for count in self._candidates.last_week[self._items.get_indexer(pd.Index(items))]]

    def of_user(self, code: int) -> UserCandidates:
        """Return the ranked candidates of the user with a code."""
        events, scenario = self._maker.events, self._scorer.scenario
        rows, _ = self._candidates.rows(np.array([code]))
        kept = np.flatnonzero(~np.isin(events.item_ids[rows.items], list(self._excluded)))
        rows = rows.at(kept)
        scored = pd.DataFrame(
            {columns.USER: events.user_ids[rows.users], columns.ITEM: events.item_ids[rows.items]}
        ).assign(**{columns.DAY: np.int32(self._day)})
        features = self._maker.make(with_context(rows, self._context.add(scored), events, scenario))
        scored[POPULAR] = self._candidates.last_week[rows.items].astype(np.float64)
        scored[POPULAR_1D] = self._candidates.last_day[rows.items].astype(np.float64)
        scored[ALS] = features["taste.dot"].to_numpy(dtype=np.float64)
        ranking = RankingRows(scored, features)
        if self._scorer.ranker.needs_predictions:
            ranking = self._scorer.with_utilities(ranking)
        made = ranking.scored.assign(**{SCORE: self._scorer.ranker.scores(ranking)})
        parts = pd.DataFrame(self._scorer.ranker.parts(ranking), index=pd.Index(made[columns.ITEM]))
        return UserCandidates(
            top_lists(made, SCORE, max(len(made), 1)), parts - parts.mean(), self._taken[code].indices
        )

    def place(self, user: UserCandidates, item: int | str, listed: Sequence[int | str]) -> Placement:
        """Return where an item stands.

        Parameters
        ----------
        listed
            The items of the user's stored recommendations, in their order.
        """
        found = user.find(item)
        return Placement(
            rank=None if found is None else int(found[columns.RANK]),
            candidates=len(user.ranked),
            popular_7d=self.popular([item])[0],
            score=_finite(None if found is None else found[SCORE]),
            utility=_finite(None if found is None else found.get(UTILITY)),
            listed=item in listed,
            sentence=self._sentence(user, item, found, list(listed)),
        )

    def _sentence(
        self, user: UserCandidates, item: int | str, found: pd.Series[Any] | None, listed: list[int | str]
    ) -> str:
        settings = self._scorer.scenario.recommend
        if item in listed:
            return f"It is number {listed.index(item) + 1} of the {len(listed)} recommendations."
        if item in self._excluded:
            return "It is not in the list: recommend.reranking.exclude leaves it out for everybody."
        if found is None and settings.repeat == "leave_out" and self._items.get_loc(item) in user.taken:
            return "It is not in the list: the user has taken it already, and recommend.repeat leaves such items out."
        if found is None:
            sources = ", ".join(settings.source_sizes)
            return f"It is not in the list: none of the candidate sources ({sources}) offers it to this user."
        ranked = f"It is ranked {int(found[columns.RANK]):,} of the user's {len(user.ranked):,} candidates"
        if int(found[columns.RANK]) > settings.top_k:
            return f"It is not in the list: {ranked[0].lower()}{ranked[1:]}, and the list ends at {settings.top_k}."
        if not listed:
            return f"{ranked}, but this run has no stored recommendations for the user."
        if settings.reranking.active:
            return (
                f"It is not in the list: {ranked[0].lower()}{ranked[1:]}, and a rule of recommend.reranking gave "
                "its place to another item."
            )
        return f"{ranked}, but the stored recommendations were made by other code."


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
