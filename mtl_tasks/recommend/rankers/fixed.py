"""Rankers with nothing fitted: the utility, popularity, the ALS score, and their reciprocal-rank fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Self

import numpy as np

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import ALS, POPULAR, POPULAR_1D, RRF_OFFSET, UTILITY
from mtl_tasks.recommend.rankers.base import Ranker, RankingRows, Values, ranks_within
from mtl_tasks.scenario import Scenario

RRF_SOURCES: Final = (POPULAR, ALS)


class ColumnRanker(Ranker):
    """Orders by a column of the candidates."""

    column: ClassVar[str]

    def scores(self, rows: RankingRows) -> Values:
        """See :class:`Ranker`."""
        return rows.scored[self.column].to_numpy(dtype=np.float64)

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Ranker`."""
        return cls()


class UtilityRanker(ColumnRanker):
    """Orders by the scenario's utility formula."""

    kind = "utility"
    column = UTILITY
    needs_predictions = True


class PopularityRanker(ColumnRanker):
    """Orders by the positive interactions of the last seven days."""

    kind = "popularity"
    column = POPULAR


class DailyPopularityRanker(ColumnRanker):
    """Orders by the positive interactions of the last day."""

    kind = "popularity_1d"
    column = POPULAR_1D


class ALSRanker(ColumnRanker):
    """Orders by the score of the preference factors."""

    kind = "als"
    column = ALS


class RRFRanker(Ranker):
    """Reciprocal-rank fusion of popularity and the ALS score (Cormack, Clarke & Buettcher, SIGIR 2009)."""

    kind = "rrf"

    def scores(self, rows: RankingRows) -> Values:
        """See :class:`Ranker`."""
        users, ties = rows.scored[columns.USER].to_numpy(), rows.scored[POPULAR].to_numpy(dtype=np.float64)
        made = np.zeros(len(rows))
        for source in RRF_SOURCES:
            score = rows.scored[source].to_numpy(dtype=np.float64)
            made += 1.0 / (RRF_OFFSET + ranks_within(users, score, ties))
        return made

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Ranker`."""
        return cls()
