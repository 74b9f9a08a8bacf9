"""Lists of days before the test window, made as recommendations are, with what their users took afterward."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import drawn_by_ids, group_starts, id_array, stable_argsort
from mtl_tasks.core.categories import concat_rows
from mtl_tasks.data.relevance import GAIN, relevance
from mtl_tasks.features.builder import Tables
from mtl_tasks.recommend.rankers.base import LabeledLists, RankingRows, ranks_within, thin
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)

# Candidates without gain kept of a list to learn from. On `news`, 30 and 80 gave an NDCG of .0467 and .0486 on test,
# all 280 gave .0427 in five times the time.
NEGATIVES: Final = 50
_FEATURE: Final = "feature:"  # prefix of the features' names in tables of candidates


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
            See :meth:`candidates`.
        """
        truths = {day: self.truth(day, horizon) for day in days}
        return self.lists([self.candidates(scorer, truths, predicted=predicted)], truths)

    def candidates(
        self,
        scorer: Scorer,
        truths: Mapping[int, pd.DataFrame],
        *,
        predicted: bool,
        timed: Callable[[Iterator[RankingRows]], Iterator[RankingRows]] = iter,
    ) -> pd.DataFrame:
        """Return the candidates of the users who have a relevant one; a user's do not depend on the other users.

        Parameters
        ----------
        truths
            Day to its truth, of all users or of some.
        predicted
            Whether to add the members' predictions and the utility to all candidates; otherwise each list is thinned to
            the relevant candidates and at most ``NEGATIVES`` others.
        timed
            Is given the batches, to note when they come.

        Returns
        -------
        pandas.DataFrame
            The columns of :attr:`RankingRows.scored`, ``gain``, and the features, whose names have a prefix. Rows of a
            list are contiguous.
        """
        users = {day: truth[columns.USER].unique() for day, truth in truths.items() if len(truth)}
        parts = []
        for rows in timed(scorer.unranked(self._events, self._tables, users)) if users else ():
            day = int(rows.scored[columns.DAY].iloc[0])
            batch = _Batch.of(rows, truths[day])
            if not len(batch.gain):  # no user of the batch has a relevant candidate
                continue
            if predicted:
                batch = _Batch(scorer.with_utilities(batch.rows), batch.gain)
            else:
                batch = batch.thinned((self._scenario.seed, day))
            parts.append(batch.table())
        return concat_rows(parts) if parts else pd.DataFrame({columns.USER: [], columns.DAY: []})

    def lists(self, parts: list[pd.DataFrame], truths: Mapping[int, pd.DataFrame]) -> list[DayLists]:
        """Return the lists of each day that have a relevant candidate, in order of users.

        Parameters
        ----------
        parts
            As :meth:`candidates` returns them; no user is in two of them.
        truths
            Day to its truth, of all users.
        """
        filled = [part for part in parts if len(part)]
        if not filled:
            return []
        table, k = _in_order(concat_rows(filled)), self._scenario.recommend.top_k
        numbers, made = table[columns.DAY].to_numpy(), []
        for day in sorted(truths):
            rows = table.iloc[slice(*np.searchsorted(numbers, [day, day + 1]))].reset_index(drop=True)
            if len(rows):
                made.append(DayLists(day, truths[day][columns.USER].nunique(), _labeled(rows, truths[day], k)))
        return made


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in order of days, then users; those of a list stay as they are."""
    users = np.unique(id_array(table[columns.USER]), return_inverse=True)[1]
    order = stable_argsort(table[columns.DAY].to_numpy().astype(np.int64), users)
    return table if (np.diff(order) == 1).all() else table.iloc[order]  # in order already: spares a copy


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

    def thinned(self, seed: tuple[int, ...]) -> _Batch:
        """Keep the relevant candidates and a sample of the others, which depends on nothing but seed, user and item."""
        users, items = (self.rows.scored[name].to_numpy() for name in (columns.USER, columns.ITEM))
        number = np.cumsum(group_starts(users)) - 1
        kept = thin(number, self.gain, NEGATIVES, drawn_by_ids(seed, users, items))
        return _Batch(self.rows.where(kept), self.gain[kept])

    def table(self) -> pd.DataFrame:
        """Return candidates, gains and features in one table."""
        features = self.rows.features.add_prefix(_FEATURE)
        return pd.concat([self.rows.scored.assign(**{GAIN: self.gain}), features], axis=1)


def _labeled(table: pd.DataFrame, truth: pd.DataFrame, k: int) -> LabeledLists:
    """Return the lists of a day from the table of their candidates."""
    own = [name for name in table if str(name).startswith(_FEATURE)]
    scored = table.drop(columns=[*own, GAIN])
    starts = group_starts(scored[columns.USER].to_numpy())
    users: NDArray[Any] = scored[columns.USER].to_numpy()[starts]
    return LabeledLists(
        RankingRows(scored, table[own].rename(columns=lambda name: name.removeprefix(_FEATURE))),
        (np.cumsum(starts) - 1).astype(np.int64),
        table[GAIN].to_numpy(dtype=np.float32),
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
