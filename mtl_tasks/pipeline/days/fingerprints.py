"""Fingerprints of everything known by a given day; they form the keys of per-day artifacts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import stable_argsort
from mtl_tasks.core.days import EPOCH
from mtl_tasks.features.attribute_values import listed_categories
from mtl_tasks.features.builder import Tables
from mtl_tasks.pipeline.days.log import hash_rows
from mtl_tasks.pipeline.engine import Run, code_version, library_versions
from mtl_tasks.scenario import FEATURE_SECTIONS, Scenario
from mtl_tasks.store.artifacts import to_json

Digests = Mapping[int, str]
Hashes = NDArray[np.uint64]
Days = NDArray[np.int64]
_NEVER: Final = np.iinfo(np.int64).max


class DayFingerprints:
    """Fingerprints of everything known by a given day.

    A corrected event changes the fingerprints of the days after it, and of no other. So does an attribute of a user or
    an item, from the day on which the log first has them.

    Parameters
    ----------
    settings
        Settings that results depend on, beside data, code and libraries; JSON-able.
    digests
        A hash of the events of each day.
    sides
        For each attribute table, the hash of each row and the first day by which it is known.
    """

    def __init__(self, settings: dict[str, Any], digests: Digests, sides: Sequence[tuple[Hashes, Days]] = ()) -> None:
        self.first = min(digests, default=0)
        start = {**settings, "code": code_version(), "libraries": library_versions()}
        self._start, self._digests, self._sides = to_json(start), digests, sides

    @classmethod
    def of(cls, run: Run, scenario: Scenario, digests: Digests, events: pd.DataFrame, tables: Tables) -> Self:
        """Return the fingerprints for features of a scenario: the run's own, or that of a champion to compare with."""
        source, document = scenario.source, scenario.model_dump(mode="json")
        settings: dict[str, Any] = {name: document[name] for name in FEATURE_SECTIONS}
        settings["ids"] = id_types(events)
        # The number of categories, over all versions, decides which attributes make features of their own.
        settings["listed"] = [
            listed_categories(tables.users, source.users),
            listed_categories(tables.items, source.items),
        ]
        sides = ((tables.users, columns.USER), (tables.items, columns.ITEM))
        return cls(
            run.in_key(settings),
            digests,
            [(hash_rows(table), _first_known_day(table, name, events)) for table, name in sides],
        )

    def before(self, days: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yield each of the ascending ``days`` with a hash of what was known before it, open for updates."""
        digest, past = hashlib.sha256(self._start), sorted(self._digests)
        at = 0
        for day in days:
            end = int(np.searchsorted(past, day))
            for earlier in past[at:end]:
                digest.update(self._digests[earlier].encode())
            at, now = end, digest.copy()
            for hashes, valid in self._sides:
                now.update(hashes[valid <= day].tobytes())
            yield day, now


def id_types(events: pd.DataFrame) -> list[str]:
    """Return the dtypes of the ids: those of a text log are integers until a day brings one that is not."""
    return [str(events[name].dtype) for name in (columns.USER, columns.ITEM)]


def _first_known_day(table: pd.DataFrame, id_column: str, events: pd.DataFrame) -> Days:
    """Return the first day by which each row is known: its id is in the log by then, and its version is older.

    Nothing is known of later ids, so a table that gets new ids every day changes no day before theirs.
    """
    days, ids = events[columns.DAY].to_numpy().astype(np.int64), events[id_column]
    if (days[1:] < days[:-1]).any():
        order = stable_argsort(days)
        days, ids = days[order], ids.iloc[order]
    new = ~ids.duplicated().to_numpy()
    place = pd.Index(ids[new]).get_indexer(pd.Index(table[id_column]))
    met = np.where(place >= 0, np.append(days[new], _NEVER)[place], _NEVER)
    if columns.VALID not in table:
        return met
    valid = (table[columns.VALID] - EPOCH) // pd.Timedelta(days=1)
    return np.maximum(met, valid.to_numpy(dtype=np.int64) + 1)
