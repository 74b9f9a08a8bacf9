"""Lists of days before the test window, made as recommendations are, with what their users took afterward."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import group_starts
from mtl_tasks.data.relevance import GAIN, relevance
from mtl_tasks.features.builder import Tables
from mtl_tasks.recommend.rankers.base import LabeledLists, RankingRows, ranks_within, thin
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)

# Candidates without gain kept of a list to learn from. On `news`, 30 and 80 gave an NDCG of .0467 and .0486 on test,
# all 280 gave .0427 in five times the time.
NEGATIVES: Final = 50


@dataclass(frozen=True)
class ListDays:
    """Days on which training lists start.

    Attributes
    ----------
    early
        Ascending; their horizons end before the blend window, whose labels no member saw when it predicted it.
    blend
        First day of the blend window.
    horizon
        Days after the start of a list in which what its user takes counts.
    """

    early: tuple[int, ...]
    blend: int
    horizon: int

    @classmethod
    def of(cls, windows: Mapping[str, tuple[int, int]], scenario: Scenario) -> ListDays:
        """Choose consecutive horizons that end where the blend window begins, none before the train window."""
        start, end = windows["blend"]
        horizon = end - start
        days = [start - horizon * step for step in range(scenario.recommend.ranking.days, 0, -1)]
        return cls(tuple(day for day in days if day >= windows["train"][0]), start, horizon)


@dataclass(frozen=True)
class DayLists:
    """The lists of one start day.

    Attributes
    ----------
    users
        Number of users whose lists were made: those with a truth, or a sample of them.
    lists
        Those with a relevant candidate; in the others every order is equally good.
    """

    day: int
    users: int
    lists: LabeledLists


class ListSampler:
    """Makes the training lists of a scenario.

    Parameters
    ----------
    events
        Interactions; a list's candidates and features use only those before its day.
    """

    def __init__(self, events: pd.DataFrame, tables: Tables, scenario: Scenario) -> None:
        self._events, self._tables, self._scenario = events, tables, scenario

    def truth(self, day: int, horizon: int) -> pd.DataFrame:
        """Return the truth of a day's users, or of a sample of them: user, item and gain."""
        scenario, settings = self._scenario, self._scenario.recommend
        leave_out = settings.repeat == "leave_out"
        end = day + horizon
        found, _ = relevance(
            self._events,
            scenario,
            scenario.target,
            settings.gains,
            day,
            end,
            leave_out=leave_out,
            known_before=end,  # a label may become final in the test window
        )
        users = found[columns.USER].unique()
        if len(users) <= settings.ranking.users:
            return found
        rng = np.random.default_rng([scenario.seed, day])
        return found[found[columns.USER].isin(rng.choice(users, settings.ranking.users, replace=False))]

    def make(self, scorer: Scorer, days: tuple[int, ...], horizon: int, *, predicted: bool) -> list[DayLists]:
        """Return the labeled lists of some days.

        Parameters
        ----------
        predicted
            Whether to add the members' predictions and the utility to all candidates; otherwise the lists are thinned
            to the relevant candidates and at most ``NEGATIVES`` others.
        """
        truths = {day: self.truth(day, horizon) for day in days}
        parts: dict[int, list[_Batch]] = {day: [] for day in days}
        users = {day: truth[columns.USER].unique() for day, truth in truths.items() if len(truth)}
        for rows in scorer.unranked(self._events, self._tables, users) if users else ():
            day = int(rows.scored[columns.DAY].iloc[0])
            batch = _Batch.of(rows, truths[day])
            if not len(batch.gain):  # no user of the batch has a relevant candidate
                continue
            if predicted:
                batch = _Batch(scorer.with_utilities(batch.rows), batch.gain)
            else:
                batch = batch.thinned(np.random.default_rng([self._scenario.seed, day, len(parts[day])]))
            parts[day].append(batch)
        k = self._scenario.recommend.top_k
        return [
            DayLists(day, len(users.get(day, ())), _joined(parts[day], truths[day], k)) for day in days if parts[day]
        ]


@dataclass(frozen=True)
class _Batch:
    """Candidates of some users with their gains, only of users with a relevant candidate."""

    rows: RankingRows
    gain: NDArray[np.float32]

    @classmethod
    def of(cls, rows: RankingRows, truth: pd.DataFrame) -> _Batch:
        pairs = pd.MultiIndex.from_frame(rows.scored[[columns.USER, columns.ITEM]])
        known = pd.Series(truth[GAIN].to_numpy(), pd.MultiIndex.from_frame(truth[[columns.USER, columns.ITEM]]))
        gain = known.reindex(pairs).fillna(0.0).to_numpy(dtype=np.float32)
        number = np.cumsum(group_starts(rows.scored[columns.USER].to_numpy())) - 1
        teaching = np.bincount(number, weights=gain)[number] > 0
        return cls(rows.where(teaching), gain[teaching])

    def thinned(self, rng: np.random.Generator) -> _Batch:
        """Keep the relevant candidates and a sample of the others."""
        number = np.cumsum(group_starts(self.rows.scored[columns.USER].to_numpy())) - 1
        kept = thin(number, self.gain, NEGATIVES, rng)
        return _Batch(self.rows.where(kept), self.gain[kept])


def _joined(batches: list[_Batch], truth: pd.DataFrame, k: int) -> LabeledLists:
    scored = pd.concat([batch.rows.scored for batch in batches], ignore_index=True)
    features = pd.concat([batch.rows.features for batch in batches], ignore_index=True)
    starts = group_starts(scored[columns.USER].to_numpy())
    users: NDArray[Any] = scored[columns.USER].to_numpy()[starts]
    return LabeledLists(
        RankingRows(scored, features),
        (np.cumsum(starts) - 1).astype(np.int64),
        np.concatenate([batch.gain for batch in batches]),
        ideal_dcg(truth, k).reindex(pd.Index(users)).to_numpy().astype(np.float64),
        users,
    )


def ideal_dcg(truth: pd.DataFrame, k: int) -> pd.Series[float]:
    """Return the DCG of each user's k largest gains in the best order."""
    ordered = truth.sort_values([columns.USER, GAIN], ascending=[True, False], kind="stable")
    rank = ordered.groupby(columns.USER).cumcount().to_numpy() + 1
    value = np.where(rank <= k, ordered[GAIN].to_numpy(dtype=np.float64) / np.log2(rank + 1.0), 0.0)
    return pd.Series(value, ordered[columns.USER]).groupby(level=0).sum()


def ndcg(labeled: LabeledLists, score: NDArray[np.float64], k: int, ties: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return NDCG at k of each list ordered by a score, float64 (lists,); a NaN score is never listed."""
    rank = ranks_within(labeled.lists, score, ties)
    listed = (rank <= k) & ~np.isnan(score)
    gained = np.where(listed, labeled.gain / np.log2(rank + 1.0), 0.0)
    return np.asarray(np.bincount(labeled.lists, weights=gained, minlength=len(labeled)) / labeled.ideal)
