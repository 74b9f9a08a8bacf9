"""Evaluation of recommendation lists out of the catalog: each list against what its user took afterward.

A list belongs to a user and a start day. It is made from what was known before that day, and judged against the user's
gains from that day on. A user with a truth and no list, or a short one, counts with the hits that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.errors import nearest
from mtl_tasks.evaluation.estimates import Estimates, Interval, Key, Statistic, estimate, estimate_by_subsamples, means
from mtl_tasks.evaluation.item_catalog import ItemCatalog
from mtl_tasks.evaluation.list_truth import LIST, Codes, ListTruth, Mask
from mtl_tasks.metrics.lists import EXPOSURE, gini, graded_list_metrics
from mtl_tasks.metrics.ranking import Values
from mtl_tasks.store.documents.lists import LIST_QUESTION, ListsDocument, ListSlice

POSITIVES: Final = "positives"  # column: a user's positives before a start day
CLUSTER: Final = "cluster"  # column: int32 code of a list's user
START: Final = "start"  # column: int32 index of a list's start day
COLD_METRICS: Final = ("recall", "hit_rate")  # those that are also computed for cold items alone
_GATHERED: Final = 2_000_000  # numbers of item vectors in memory at a time


@dataclass(frozen=True)
class ListSettings:
    """Settings of the evaluation of lists.

    Attributes
    ----------
    k
        Length of a list.
    seed, replicates, confidence
        Of the user-clustered bootstrap.
    references
        Rankers that all others are compared with.
    cold_users
        A user with fewer positives before the start day is cold.
    cold_items
        An item with fewer interactions before the start day is cold; one that the catalog lacks has none.

    Raises
    ------
    ValueError
        If ``k`` is below 1.
    """

    k: int
    seed: int
    replicates: int = 200
    confidence: float = 0.95
    references: tuple[str, ...] = ("popularity", "als")
    cold_users: int = 5
    cold_items: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}: a list has at least 1 item")

    @property
    def interval(self) -> Interval:
        """Settings of the intervals."""
        return Interval(seed=self.seed, replicates=self.replicates, confidence=self.confidence)


class ListEvaluation:
    """Collects the lists of named rankers batch by batch and evaluates them together.

    Parameters
    ----------
    truth
        User, item, day and ``gain`` above 0: what a user took from a start day on, each once. The column ``day`` may be
        left out if the catalog has one start day.
    catalog
        Items that a list can contain.
    rankers
        Names of the rankers. A ranker whose list of a user is never added has no hit there.
    settings
        Length of a list, and settings of intervals, references and slices.
    history
        User, day and ``positives`` (int); a user and day without a row has none. None: no slices by user.

    Raises
    ------
    ValueError
        If a gain is not above 0, a pair or a ranker repeats, or a day is not a start day.
    """

    def __init__(
        self,
        truth: pd.DataFrame,
        catalog: ItemCatalog,
        rankers: Sequence[str],
        settings: ListSettings,
        history: pd.DataFrame | None = None,
    ) -> None:
        self._catalog, self._settings, self._rankers = catalog, settings, tuple(rankers)
        if len(set(rankers)) != len(rankers):
            raise ValueError(f"rankers {', '.join(rankers)}: a name is given twice")
        truth = self._with_day(truth)
        lists = truth[LIST].drop_duplicates().sort_values(LIST)
        self._lists = pd.MultiIndex.from_frame(lists)
        users, number = np.unique(lists[columns.USER].to_numpy(), return_inverse=True)
        # Codes in an order drawn at random: in that of the ids, a stored code would tell whose list it is.
        self._user = np.random.default_rng(settings.seed).permutation(len(users)).astype(np.int32)[number]
        self._start = np.searchsorted(catalog.starts, lists[columns.DAY].to_numpy())
        self._truth = ListTruth.of(truth, self._lists, self._start, catalog, settings.k, settings.cold_items)
        self._positives = None if history is None else self._positives_of(self._with_day(history))
        shape = len(self._lists), settings.k
        self._candidates = self._found = 0
        self._codes: dict[str, Codes] = {name: np.full(shape, -1, dtype=np.int32) for name in self._rankers}

    def add(self, name: str, lists: pd.DataFrame) -> None:
        """Add lists of a ranker.

        Parameters
        ----------
        lists
            User, item, rank from 1 to k, and day if the catalog has several start days.

        Raises
        ------
        ValueError
            If the ranker, a user and day, an item or a rank is unknown, or a list has a rank or an item twice.
        """
        if name not in self._codes:
            known = list(self._rankers)
            raise ValueError(f"unknown ranker {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        if not len(lists):
            return
        place = self._lists.get_indexer(pd.MultiIndex.from_frame(self._with_day(lists)[LIST]))
        code = pd.Index(self._catalog.items).get_indexer(pd.Index(lists[columns.ITEM]))
        rank = lists[columns.RANK].to_numpy()
        k = self._settings.k
        _refuse(place < 0, name, "of a user and day without truth; add lists of the truth's users only")
        _refuse(code < 0, name, "with an item that the catalog lacks")
        _refuse((rank < 1) | (rank > k) | (rank != np.floor(rank)), name, f"with a rank that is not in 1..{k}")
        touched, row = np.unique(place, return_inverse=True)
        filled = self._codes[name][touched]
        slot = row * k + rank.astype(np.int64) - 1
        _refuse((filled.ravel()[slot] >= 0) | pd.Series(slot).duplicated().to_numpy(), name, "with a rank given before")
        filled.ravel()[slot] = code
        ordered = np.sort(filled, axis=1)
        _refuse(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1), name, "with an item twice")
        self._codes[name][touched] = filled

    def add_candidates(self, candidates: pd.DataFrame) -> None:
        """Count candidates of lists, each once: user, item, and day if the catalog has several start days.

        Raises
        ------
        ValueError
            If a candidate is of a user and day without truth.
        """
        place = self._lists.get_indexer(pd.MultiIndex.from_frame(self._with_day(candidates)[LIST]))
        code = pd.Index(self._catalog.items).get_indexer(pd.Index(candidates[columns.ITEM]))
        _refuse(place < 0, "candidates", "of a user and day without truth; add those of the truth's users only")
        self.count_candidates(len(candidates), int(self._truth.contains(place, code).sum()))

    def count_candidates(self, candidates: int, found: int) -> None:
        """Add a number of candidates, and of those among them that are in the truth."""
        self._candidates += candidates
        self._found += found

    def values(self) -> pd.DataFrame:
        """Return the values of each list, without ids, for later paired tests.

        Returns
        -------
        pandas.DataFrame
            A row for each user and start day: ``cluster`` int32, the user's code; ``start`` int32, the index of the
            start day; and float32 columns ``<ranker>.<metric>``, NaN where a metric is undefined.
        """
        keys, table = self._table()
        named = {value_column(*key): table[:, at].astype(np.float32) for at, key in enumerate(keys)}
        return pd.DataFrame({CLUSTER: self._user, START: self._start.astype(np.int32), **named})

    def document(self) -> ListsDocument:
        """Return metrics, intervals, differences and slices."""
        keys, table = self._table()
        everyone = np.ones(len(self._user), dtype=np.bool_)
        slices = {}
        if self._positives is not None:
            cold = self._positives < self._settings.cold_users
            slices = {"cold_users": self._slice(keys, table, cold), "warm_users": self._slice(keys, table, ~cold)}
        return ListsDocument(
            question=LIST_QUESTION,
            k=self._settings.k,
            starts=tuple(self._catalog.starts.tolist()),
            items=len(self._catalog),
            confidence=self._settings.confidence,
            replicates=self._settings.replicates,
            unreachable=self._truth.unreachable,
            candidate_recall=self._found / max(int(self._truth.count.sum()), 1) if self._candidates else None,
            candidates_per_list=self._candidates / max(len(self._lists), 1) if self._candidates else None,
            everyone=self._slice(keys, table, everyone),
            slices={**slices, "cold_items": self._cold_items()},
        )

    def _table(self) -> tuple[list[Key], Values]:
        """Return the value of each list, float64 (lists, keys), and the columns' names."""
        made = {}
        for name, codes in self._codes.items():
            for metric, values in self._per_list(codes).items():
                made[Key(name, metric)] = values
        return list(made), np.column_stack(list(made.values())) if made else np.zeros((len(self._user), 0))

    def _per_list(self, codes: Codes) -> dict[str, Values]:
        gains = self._truth.gains_of(codes)
        made = graded_list_metrics(gains, self._truth.ideal, self._truth.count)
        made["novelty"] = self._mean_of(codes, self._catalog.information)
        directions = self._catalog.directions
        if directions is not None:
            made["diversity"] = _diversity(codes, directions)
        made["popularity_bias"] = self._mean_of(codes, self._catalog.percentile)
        return made

    def _mean_of(self, codes: Codes, table: Values) -> Values:
        """Return the mean over each list of a number (s, n) of its items; NaN for an empty list."""
        listed = codes >= 0
        if not listed.any():
            return np.full(len(codes), np.nan)
        total = np.where(listed, table[self._start[:, None], codes], 0.0).sum(axis=1)
        length = listed.sum(axis=1)
        return np.where(length > 0, total / np.maximum(length, 1), np.nan)

    def _slice(self, keys: list[Key], table: Values, mask: Mask) -> ListSlice:
        users, table = self._user[mask], table[mask]
        rows = (~np.isnan(table)).sum(axis=0)
        of_lists = estimate(users, keys, means(table), rows, self._settings.interval)
        every = [Key(name, metric) for name in self._rankers for metric in EXPOSURE]
        exposure = _exposure([codes[mask] for codes in self._codes.values()], len(self._catalog))
        rows = np.full(len(every), len(users), dtype=np.int64)
        of_all = estimate_by_subsamples(users, every, exposure, rows, self._settings.interval)
        return self._document_of(mask, of_lists.joined(of_all))

    def _cold_items(self) -> ListSlice:
        """Return recall and hit rate of the cold items, over the lists whose truth has any."""
        mask = self._truth.cold_count > 0
        keys, made = [], []
        for name, codes in self._codes.items():
            hits = self._truth.cold_hits(codes)[mask]
            keys += [Key(name, metric) for metric in COLD_METRICS]
            made += [hits / self._truth.cold_count[mask], (hits > 0).astype(np.float64)]
        table = np.column_stack(made) if made else np.zeros((int(mask.sum()), 0))
        rows = np.full(len(keys), mask.sum(), dtype=np.int64)
        found = estimate(self._user[mask], keys, means(table), rows, self._settings.interval)
        return self._document_of(mask, found)

    def _document_of(self, mask: Mask, found: Estimates) -> ListSlice:
        references = self._settings.references
        return ListSlice(
            lists=int(mask.sum()),
            users=len(np.unique(self._user[mask])),
            rankers={name: found.measures(name, references) for name in self._rankers},
        )

    def _with_day(self, frame: pd.DataFrame) -> pd.DataFrame:
        if columns.DAY in frame:
            return frame
        starts = self._catalog.starts
        if len(starts) > 1:
            raise ValueError(f"the column {columns.DAY!r} is missing, which tells the {len(starts)} start days apart")
        return frame.assign(**{columns.DAY: starts[0]})

    def _positives_of(self, history: pd.DataFrame) -> NDArray[np.int64]:
        if history.duplicated(LIST).any():
            raise ValueError(f"history: {int(history.duplicated(LIST).sum())} rows of a user and day given before")
        counts = history.set_index(LIST)[POSITIVES].reindex(self._lists)
        return counts.fillna(0).to_numpy(dtype=np.int64)


def value_column(ranker: str, metric: str) -> str:
    """Return the column of :meth:`ListEvaluation.values` that has a ranker's metric."""
    return f"{ranker}.{metric}"


def paired(
    values: pd.DataFrame, metric: str, mine: str, other: str, *, confidence: float, replicates: int, seed: int
) -> tuple[float | None, float | None, float | None]:
    """Return the difference of two rankers and its interval, with users drawn for both together.

    Parameters
    ----------
    values
        The frame of :meth:`ListEvaluation.values`.

    Returns
    -------
    tuple
        Difference of the means, positive if ``mine`` is better, and the ends of its interval; None where undefined.

    Raises
    ------
    ValueError
        If the frame lacks a ranker's metric.
    """
    wanted = [value_column(mine, metric), value_column(other, metric)]
    for name in wanted:
        if name not in values:
            known = [str(column) for column in values.columns if column not in (CLUSTER, START)]
            raise ValueError(f"values of lists lack {name!r}{nearest(name, known)}")
    table = values[wanted].to_numpy(dtype=np.float64)
    rows = (~np.isnan(table)).sum(axis=0)
    keys = [Key(mine, metric), Key(other, metric)]
    users = values[CLUSTER].to_numpy()
    found = estimate(users, keys, means(table), rows, Interval(seed, replicates, confidence))
    made = found.difference(mine, other, metric)
    return made.value, made.low, made.high


def _refuse(wrong: Mask, name: str, fault: str) -> None:
    if wrong.any():
        raise ValueError(f"lists of {name!r}: {int(wrong.sum())} of {len(wrong)} {fault}")


def _diversity(codes: Codes, directions: Values) -> Values:
    """Return 1 - mean cosine of a list's pairs, float64 (lists,); NaN with fewer than two items that have a vector."""
    extended = np.vstack([directions, np.zeros((1, directions.shape[1]))])  # -1, no item, has the last
    has = (extended != 0).any(axis=1)
    chunk = max(1, _GATHERED // max(codes.shape[1] * directions.shape[1], 1))
    squares = [
        (extended[codes[first : first + chunk]].sum(axis=1) ** 2).sum(axis=1) for first in range(0, len(codes), chunk)
    ]
    size = has[codes].sum(axis=1)
    pairs = size * (size - 1)
    square = np.concatenate(squares) if squares else np.zeros(0)
    # The square of the sum has each vector with itself, which is 1, and each pair twice.
    return np.where(pairs > 0, 1.0 - (square - size) / np.maximum(pairs, 1), np.nan)


def _exposure(lists: list[Codes], items: int) -> Statistic:
    """Return the statistic that computes coverage and Gini coefficient of each ranker's lists."""
    shown = [(codes[codes >= 0], np.nonzero(codes >= 0)[0]) for codes in lists]

    def statistic(weights: Values) -> Values:
        made: list[float] = []
        for code, row in shown:
            exposure = np.bincount(code, weights=weights[row], minlength=items).astype(np.float64)
            made += [float((exposure > 0).sum() / max(items, 1)), gini(exposure)]
        return np.array(made)

    return statistic
