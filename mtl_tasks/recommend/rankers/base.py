"""Base class of the rankers: a ranker orders a user's candidates by a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.arrays import group_starts
from mtl_tasks.scenario import Scenario

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RankingRows:
    """Candidates of some lists.

    Attributes
    ----------
    scored
        The rows of a list are contiguous. Columns: user, item, day, ``popular_7d``, ``popular_1d`` and ``als``, and,
        for a ranker that needs predictions, ``utility`` and the prediction of every task in it (NaN where unknown).
    features
        Features of the same rows.
    """

    scored: pd.DataFrame
    features: pd.DataFrame

    def __len__(self) -> int:
        return len(self.scored)

    def where(self, mask: NDArray[np.bool_]) -> RankingRows:
        """Select some of the rows."""
        return RankingRows(self.scored[mask], self.features[mask])


@dataclass(frozen=True)
class LabeledLists:
    """Candidates whose relevance is known.

    Attributes
    ----------
    lists
        int64 (n,): number of each row's list, ascending; a list is a user's candidates of one day.
    gain
        float32 (n,): relevance, 0 for a candidate that the user did not take.
    ideal
        float64 (lists,): largest DCG at ``top_k`` that a list of any items could have.
    users
        (lists,): user of each list.
    """

    rows: RankingRows
    lists: NDArray[np.int64]
    gain: NDArray[np.float32]
    ideal: Values
    users: NDArray[Any]

    def __len__(self) -> int:
        return len(self.ideal)

    def where(self, chosen: NDArray[np.bool_]) -> LabeledLists:
        """Select some of the lists by a mask, bool (lists,)."""
        mask = chosen[self.lists]
        renumbered = np.cumsum(chosen) - 1
        return LabeledLists(
            self.rows.where(mask), renumbered[self.lists[mask]], self.gain[mask], self.ideal[chosen], self.users[chosen]
        )

    def without_features(self) -> LabeledLists:
        """Return the same lists for rankers that read no features, which take most of the memory."""
        return replace(self, rows=RankingRows(self.rows.scored, pd.DataFrame(index=self.rows.scored.index)))

    def thinned(self, most: int, rng: np.random.Generator) -> LabeledLists:
        """Keep the relevant candidates, and at most ``most`` others of each list, drawn at random."""
        kept = thin(self.lists, self.gain, most, rng.random(len(self.gain)))
        return replace(self, rows=self.rows.where(kept), lists=self.lists[kept], gain=self.gain[kept])


class Ranker(ABC):
    """Orders candidates; ``load`` inverts ``files``, and scores then agree to the bit."""

    kind: ClassVar[str]
    needs_predictions: ClassVar[bool] = False  # whether it reads the members' predictions

    @abstractmethod
    def scores(self, rows: RankingRows) -> Values:
        """Return float64 (n,), the higher the earlier; NaN for rows without the predictions that it needs.

        A score does not depend on the rows of other users.
        """

    def parts(self, rows: RankingRows) -> dict[str, Values]:
        """Return what each score adds to the rows' scores, float64 (n,) by name; empty for a score that is no sum."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Return everything that :meth:`load` needs, by file name; equal rankers give equal bytes."""
        return {}

    @classmethod
    @abstractmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """Rebuild a ranker from its files.

        Raises
        ------
        ArtifactError
            If a file is missing or cannot be parsed.
        """

    def describe(self) -> dict[str, Any]:
        """Return what the ranker is made of, for reports."""
        return {}


def thin(lists: NDArray[np.int64], gain: NDArray[np.float32], most: int, drawn: Values) -> NDArray[np.bool_]:
    """Mark the rows with gain, and at most ``most`` others of each list, drawn at random, bool (n,).

    Parameters
    ----------
    lists
        int64 (n,) number of each row's list, ascending.
    drawn
        float64 (n,): a number from [0, 1) for each row, drawn at random; the largest are kept.
    """
    relevant = gain > 0
    allowed = most + np.bincount(lists, weights=relevant)
    return ranks_within(lists, np.where(relevant, 2.0, drawn), drawn) <= allowed[lists]


def ranks_within(groups: NDArray[Any], score: Values, ties: Values) -> NDArray[np.int64]:
    """Return each row's rank in its group by descending score, int64 (n,) from 1; NaN ranks last.

    Parameters
    ----------
    groups
        (n,); rows of a group are contiguous.
    ties
        float64 (n,): larger comes first among equal scores; then the first row does.

    >>> ranks_within(np.array([7, 7, 7, 3]), np.array([0.1, 0.5, 0.5, np.nan]), np.array([0.0, 1.0, 2.0, 0.0]))
    array([3, 2, 1, 1])
    """
    starts = group_starts(groups)
    number = np.cumsum(starts) - 1
    order = np.lexsort((-ties, np.where(np.isnan(score), np.inf, -score), number))
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.flatnonzero(starts)[number] + 1
    return ranks
