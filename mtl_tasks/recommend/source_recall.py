"""Recall of the candidate sources: what each finds of what users take later, alone and beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.features.interactions import encode, positive_interactions
from mtl_tasks.recommend.candidates import SOURCES, source_bit
from mtl_tasks.recommend.sources.new_items import NEW_DAYS
from mtl_tasks.scenario import Scenario, SourceName
from mtl_tasks.store.documents.lists import RecallReport, SliceRecall, SourceShare

COLD_USER: Final = 5  # a user with fewer positive interactions before the day is cold

_EVERY: Final = "all"  # sources together

Mask = NDArray[np.bool_]


class SourceRecall:
    """Collects candidates batch by batch and compares them with what users took later.

    Parameters
    ----------
    truth
        User and item, each pair once; only these users' candidates count.
    sources
        The sources that are on.
    cold_users, cold_items, known_items
        Ids: see :class:`RecallReport`.
    """

    def __init__(
        self,
        truth: pd.DataFrame,
        sources: list[SourceName],
        cold_users: NDArray[Any],
        cold_items: NDArray[Any],
        known_items: NDArray[Any],
    ) -> None:
        self._truth = pd.MultiIndex.from_frame(truth[[columns.USER, columns.ITEM]])
        self._users, self._sources = pd.Index(truth[columns.USER].unique()), sources
        self._cold_users, self._cold_items = pd.Index(cold_users), pd.Index(cold_items)
        self._unreachable = int((~truth[columns.ITEM].isin(pd.Index(known_items))).sum())
        self._found = np.zeros(len(truth), dtype=np.uint16)
        slices = self._slices(truth)
        self._pairs = {name: mask for name, (mask, _) in slices.items()}
        self._user_counts = {name: users for name, (_, users) in slices.items()}
        names = [*sources, None]
        self._offered: dict[str, dict[SourceName | None, int]] = {name: dict.fromkeys(names, 0) for name in slices}

    @classmethod
    def at(cls, events: pd.DataFrame, truth: pd.DataFrame, day: int, scenario: Scenario) -> SourceRecall:
        """Find the cold users and items in the interactions before a day.

        Parameters
        ----------
        events
            The log, with what is known of a user and an item before ``day``.
        truth
            See :class:`SourceRecall`.
        """
        past = events[events[columns.DAY] < day]
        users = truth[columns.USER].unique()
        first = past.groupby(columns.ITEM, observed=True)[columns.DAY].min()
        theirs = past[past[columns.USER].isin(users)]
        coded, _ = encode(theirs, theirs.iloc[:0], scenario)
        positives = positive_interactions(coded, scenario).before(day)
        warm = coded.user_ids[np.bincount(positives.users, minlength=len(coded.user_ids)) >= COLD_USER]
        return cls(
            truth,
            list(scenario.recommend.source_sizes),
            users[~pd.Index(users).isin(pd.Index(warm))],
            first.index[first >= day - NEW_DAYS].to_numpy(),
            first.index.to_numpy(),
        )

    def add(self, scored: pd.DataFrame) -> None:
        """Add a batch of candidates: user, item, and the uint16 mask of the sources."""
        mine = scored.loc[scored[columns.USER].isin(self._users), [columns.USER, columns.ITEM, SOURCES]]
        masks = mine[SOURCES].to_numpy(dtype=np.uint16)
        place = self._truth.get_indexer(pd.MultiIndex.from_frame(mine[[columns.USER, columns.ITEM]]))
        self._found[place[place >= 0]] |= masks[place >= 0]
        for name, (within, _) in self._slices(mine).items():
            counts = self._offered[name]
            counts[None] += int(within.sum())
            for source in self._sources:
                counts[source] += int((masks[within] & source_bit(source) > 0).sum())

    @property
    def found(self) -> pd.DataFrame:
        """User, item, and the uint16 mask of the sources that found the pair; only pairs that one found."""
        found = self._found > 0
        return self._truth[found].to_frame(index=False).assign(**{SOURCES: self._found[found]})

    @property
    def offered(self) -> dict[str, dict[str, int]]:
        """Number of candidates by slice and source, and of all of them (``all``)."""
        return {
            name: {source or _EVERY: count for source, count in counts.items()}
            for name, counts in self._offered.items()
        }

    def merge(self, found: pd.DataFrame, offered: Mapping[str, Mapping[str, int]]) -> None:
        """Add what was collected from the candidates of other users: :attr:`found` and :attr:`offered`."""
        place = self._truth.get_indexer(pd.MultiIndex.from_frame(found[[columns.USER, columns.ITEM]]))
        self._found[place] |= found[SOURCES].to_numpy(dtype=np.uint16)
        for name, counts in self._offered.items():
            for source in counts:
                counts[source] += offered[name][source or _EVERY]

    def document(self) -> RecallReport:
        """Return the recall of everything that was added."""
        slices = {name: self._slice(name) for name in self._pairs}
        return RecallReport(cold_user=COLD_USER, new_days=NEW_DAYS, unreachable=self._unreachable, slices=slices)

    def _slices(self, pairs: pd.DataFrame) -> dict[str, tuple[Mask, int]]:
        """Return each slice's mask of the pairs, and its number of users with truth."""
        cold_user = pairs[columns.USER].isin(self._cold_users).to_numpy()
        cold_item = pairs[columns.ITEM].isin(self._cold_items).to_numpy()
        everybody = len(self._users)
        return {
            "all": (np.ones(len(pairs), dtype=np.bool_), everybody),
            "cold_users": (cold_user, int(self._users.isin(self._cold_users).sum())),
            "cold_items": (cold_item, everybody),
        }

    def _slice(self, name: str) -> SliceRecall:
        found, users, offered = self._found[self._pairs[name]], self._user_counts[name], self._offered[name]
        return SliceRecall(
            users=users,
            pairs=len(found),
            recall=_share(found > 0),
            candidates_per_user=offered[None] / users if users else None,
            sources={
                source: SourceShare(
                    recall=_share(found & source_bit(source) > 0),
                    unique=_share(found == source_bit(source)),
                    candidates_per_user=offered[source] / users if users else None,
                )
                for source in self._sources
            },
        )


def _share(mask: Mask) -> float | None:
    return float(mask.mean()) if len(mask) else None
