"""Features of a run, an artefact a day: runs of other dates that would make the same day take it as it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns
from mtl_tasks.factors import ItemSpace
from mtl_tasks.features import FeatureMaker, Tables
from mtl_tasks.features.coding import encode
from mtl_tasks.features.side import listed_kinds
from mtl_tasks.run import Run, code_version, library_versions
from mtl_tasks.splits import day_text
from mtl_tasks.store import DAYS, Artifact, Payload, Ref, Store, to_json

log = logging.getLogger(__name__)

_FILE = "features"
_DAYS_AT_ONCE = 7  # bounds memory: rows whose features are held before they are written


def make_days(
    run: Run,
    config: Mapping[str, Any],
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    spaces: dict[str, ItemSpace],
) -> list[Ref]:
    """Return an artefact for every day of ``rows``, made now where the store has none.

    Parameters
    ----------
    config
        The sections of the scenario that features depend on.
    events, tables
        As :func:`mtl_tasks.features.build_features` takes them.
    rows
        user, item, day and context, ordered by day.

    Raises
    ------
    ArtifactError
        If a day that was made before is damaged, or the store cannot be written.
    """
    told = rows.drop(columns=[name for name in rows if _is_told(str(name))])
    known = {**config, "code": code_version(), "libraries": library_versions()}
    # How many kinds there are, of all versions, decides which attributes make features of their own.
    source = run.scenario.source
    known["listed"] = [listed_kinds(tables.users, source.users), listed_kinds(tables.items, source.items)]
    # Without an item table there is one that lists the log's items, those of later days too, and says nothing of them.
    some = tables if source.items is not None else Tables(tables.users, tables.items.iloc[:0])
    keys = day_keys(events, some, told, spaces, known)
    days = rows[columns.DAY].to_numpy()
    places = {day: slice(*np.searchsorted(days, [day, day + 1]).tolist()) for day in keys}
    found = {day: None if run.force else run.store.find(run.store.folder(*_place(run, day, keys))) for day in keys}
    for artifact in found.values():
        if artifact is not None:
            artifact.verify()
    missing = [day for day, artifact in found.items() if artifact is None]
    made = dict(_make(run, missing, places, keys, events, tables, rows, spaces)) if missing else {}
    log.info("%s: features of %d days made, of %d reused", run.scenario.name, len(missing), len(keys) - len(missing))
    return [(found[day] or made[day]).ref for day in keys]


def read_days(
    store: Store,
    features: Artifact,
    names: Sequence[str] | None = None,
    places: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Return the features of a run's rows, in their order.

    Parameters
    ----------
    features
        The artefact of the stage.
    names
        Columns to read; by default all.
    places
        Which rows, ascending; by default all. Days without any of them are not read.

    Returns
    -------
    pandas.DataFrame
        float32 columns that share one array, then those of kinds (category).
    """
    refs = [Ref.from_json(entry) for entry in features.json("days")]
    ends = np.cumsum([ref.rows for ref in refs])
    if places is None:
        places = np.arange(ends[-1])
    numbers: NDArray[np.float32] | None = None
    at, kinds, labels = 0, [], []
    for ref, end in zip(refs, ends.tolist(), strict=True):
        first, last = np.searchsorted(places, [end - ref.rows, end]).tolist()
        if first == last:
            continue
        frame = store.open(ref).frame(_FILE, None if names is None else list(names))
        if last - first < ref.rows:
            frame = frame.iloc[places[first:last] - (end - ref.rows)]
        if numbers is None:
            labels = [name for name in frame if frame[name].dtype == np.float32]
            numbers = np.empty((len(labels), len(places)), dtype=np.float32)
        for place, name in enumerate(labels):
            numbers[place, at : at + len(frame)] = frame[name]
        kinds.append(frame.drop(columns=labels))
        at += len(frame)
    assert numbers is not None  # there is a row in every window
    made = pd.DataFrame(numbers.T, columns=labels, copy=False)
    return made if kinds[0].empty else pd.concat([made, joined_kinds(kinds)], axis=1)


def all_there(store: Store, features: Artifact) -> bool:
    """Whether every day that an artefact of the stage lists is still in the store."""
    refs = (Ref.from_json(entry) for entry in features.json("days"))
    return all(store.find(store.root / ref.uri) is not None for ref in refs)


def day_keys(
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    spaces: Mapping[str, ItemSpace],
    config: Mapping[str, Any],
) -> dict[int, str]:
    """Name, for each day of ``rows``, all that its features depend on; ascending.

    That is the rows themselves, every event before the day, and the tables and factor spaces as they stood: an event
    that was corrected later changes the keys of the days after it, and of no other.
    """
    past = hashlib.sha256(to_json(dict(config)))
    beside = [(_hashes(table), _valid_days(table)) for table in (tables.users, tables.items)]
    days = events[columns.DAY].to_numpy()
    order = np.argsort(days, kind="stable")
    days, hashed = days[order], _hashes(events)[order]
    row_days, row_hashes = rows[columns.DAY].to_numpy(), _hashes(rows)
    keys, at = {}, 0
    for day in np.unique(row_days).tolist():
        end = int(np.searchsorted(days, day))
        # A digest a day, so that the digest of the past does not depend on which days have rows.
        for start, stop in _runs(days, at, end):
            past.update(hashlib.sha256(hashed[start:stop].tobytes()).digest())
        at = end
        key = past.copy()
        first, last = np.searchsorted(row_days, [day, day + 1])
        key.update(row_hashes[first:last].tobytes())
        for hashes, valid in beside:
            key.update(hashes[valid < day].tobytes())
        for name in sorted(spaces):
            key.update(_space_hash(spaces[name], day))
        keys[day] = key.hexdigest()
    return keys


def _make(
    run: Run,
    missing: list[int],
    places: Mapping[int, slice],
    keys: Mapping[int, str],
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    spaces: dict[str, ItemSpace],
) -> Iterator[tuple[int, Artifact]]:
    coded, coded_rows = encode(events, rows, run.scenario)
    maker = FeatureMaker(coded, tables, spaces, run.scenario)
    for start in range(0, len(missing), _DAYS_AT_ONCE):
        part = missing[start : start + _DAYS_AT_ONCE]
        wanted = np.concatenate([np.arange(places[day].start, places[day].stop) for day in part])
        features = maker.make(coded_rows.at(wanted))
        at = 0
        for day in part:
            size = places[day].stop - places[day].start
            payload = Payload(rows=size, summary={"columns": len(features.columns)})
            payload.add_frame(_FILE, _of_one_day(features.iloc[at : at + size]), measurements=True)
            at += size
            facts = {"scenario": run.scenario.name, "stage": "features of a day", "as_of": day_text(day), "usage": {}}
            folder = run.store.folder(*_place(run, day, keys))
            yield day, run.store.publish(folder, keys[day], payload, facts)


def _place(run: Run, day: int, keys: Mapping[int, str]) -> tuple[str, str, str, str]:
    return run.scenario.name, DAYS, day_text(day), keys[day]


def _is_told(name: str) -> bool:
    """Whether a column of rows says what features do not depend on: labels, and the window they are used in."""
    return name == columns.WINDOW or name.startswith(columns.label(""))


def _runs(days: NDArray[Any], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Bounds of each day's events."""
    edges = np.flatnonzero(np.diff(days[start:end])) + 1 + start
    bounds = [start, *edges.tolist(), end]
    yield from pairwise(bounds) if end > start else ()


def _valid_days(table: pd.DataFrame) -> NDArray[np.int64]:
    """The day of each version of a table; without versions all hold always."""
    if columns.VALID not in table:
        return np.full(len(table), -1, dtype=np.int64)
    return np.asarray((table[columns.VALID] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(days=1), dtype=np.int64)


def _hashes(frame: pd.DataFrame) -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)


def _space_hash(space: ItemSpace, day: int) -> bytes:
    usable = space.valid_from <= day
    digest = hashlib.sha256(pd.util.hash_array(space.item_ids[usable].astype(object)).tobytes())
    for values in (space.valid_from[usable], np.ascontiguousarray(space.vectors[usable])):
        digest.update(values.tobytes())
    return digest.digest()


def _of_one_day(features: pd.DataFrame) -> pd.DataFrame:
    """Forget the kinds that other days had: a day's artefact is the same whoever makes it."""
    kinds = [name for name in features if isinstance(features[name].dtype, pd.CategoricalDtype)]
    return features.assign(**{str(name): features[name].cat.remove_unused_categories() for name in kinds})


def joined_kinds(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Columns of kinds, each with the levels of all days; a day without any kind says nothing of their type."""
    joined = {}
    for name in parts[0]:
        known = [part[name].cat.categories for part in parts if len(part[name].cat.categories)]
        levels = known[0].append(known[1:]).unique().sort_values() if known else pd.Index([], dtype="str")
        codes = [np.append(levels.get_indexer(part[name].cat.categories), -1)[part[name].cat.codes] for part in parts]
        joined[name] = pd.Categorical.from_codes(np.concatenate(codes), categories=levels)
    return pd.DataFrame(joined)
