"""Features of a run, one artifact per block of days, which runs of other dates reuse.

A block is a day, or several quiet ones (:mod:`mtl_tasks.pipeline.days.blocks`).

A snapshot of the feature statistics is stored once a week, so that the next run need not count from the log's first
day.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.categories import drop_unused_categories, union_categories
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features import FeatureMaker, Tables
from mtl_tasks.features.als import ItemFactors
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.features.interactions import encode
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.pipeline.days.blocks import Block, block_name, divided
from mtl_tasks.pipeline.days.fingerprints import DayFingerprints
from mtl_tasks.pipeline.days.log import day_digests, hash_rows, read_events
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import DAYS, MANIFEST, Artifact, Payload, Ref, Store, day_refs

log = logging.getLogger(__name__)

_FILE: Final = "features"
_ROWS_AT_ONCE: Final = 250_000  # bounds memory: rows whose features are held before they are written
_BLOCK_ROWS: Final = 4_096  # below, an artifact costs more than its rows
_WEEK: Final = 7  # a snapshot holds the statistics before a day divisible by this


def make_days(
    run: Run,
    validated: Artifact,
    tables: Tables,
    rows: pd.DataFrame,
    factor_models: dict[str, ItemFactors],
    windows: Mapping[str, tuple[int, int]],
) -> list[Ref]:
    """Return the artifact of every block of days of ``rows``, made now if the store has none.

    Parameters
    ----------
    validated
        The artifact of the validated log.
    tables
        As :func:`mtl_tasks.features.build_features` takes them.
    rows
        user, item, day and context, ordered by day.
    windows
        First day of each of the rows' windows, and the day after its last. Snapshots are stored for the next run, and
        for the recommendations of the test window.

    Raises
    ------
    ArtifactError
        If a file of an existing block is missing or has another size (any other damage is found on reading), or the
        store cannot be written.
    """
    events, digests = read_events(run.store, validated), day_digests(run.store, validated)
    fingerprints = DayFingerprints.of(run, run.scenario, digests, events, tables)
    keys = day_keys(fingerprints, rows.drop(columns=_labels_and_window(rows)), factor_models)
    days = rows[columns.DAY].to_numpy()
    positions = {day: slice(*np.searchsorted(days, [day, day + 1]).tolist()) for day in keys}
    sizes = {day: place.stop - place.start for day, place in positions.items()}
    blocks = divided(sizes, range(windows["train"][0], windows["test"][1]), _BLOCK_ROWS)
    named = {block: _block_key([keys[day] for day in block]) for block in blocks}
    found = {block: run.store.find(_folder(run, block_name(block), key)) for block, key in named.items()}
    for artifact in found.values():
        if artifact is not None:
            run.store.reuse(artifact.ref)
            artifact.verify_sizes()  # reading checks the hash; here that took a seventh of the next day's run
    missing = [block for block, artifact in found.items() if artifact is None]
    made = dict[Block, Artifact]()
    if missing:
        memory = recall(run.store, run.scenario.name, fingerprints, missing[0][0])
        coded, coded_rows = encode(events, rows, run.scenario)
        del events, rows  # 0.7 GB at ten million events
        maker = FeatureMaker(coded, tables, factor_models, run.scenario, memory)
        wanted = [day for block in missing for day in block]
        weeks = _weeks([windows["test"][0], days[-1]], wanted[0], wanted[-1])
        parts = dict[int, pd.DataFrame]()
        for batch in _batches(wanted, weeks, positions):
            weeks = _keep(run, fingerprints, maker, weeks, batch[0])
            at = np.concatenate([np.arange(positions[day].start, positions[day].stop) for day in batch])
            parts |= _by_day(maker.make(coded_rows.at(at)), batch, sizes)
            for block in [block for block in missing if block not in made and block[-1] in parts]:
                made[block] = _publish(run, block, named[block], [parts.pop(day) for day in block])
        _keep(run, fingerprints, maker, weeks, run.as_of.day)
    log.info("%s: features of %d parts made, of %d reused", run.scenario.name, len(missing), len(blocks) - len(missing))
    return [(found[block] or made[block]).ref for block in blocks]


def read_days(
    store: Store,
    features: Artifact,
    names: Sequence[str] | None = None,
    positions: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Return the features of a run's rows, in their order.

    Parameters
    ----------
    features
        The artifact of the stage.
    names
        Columns to read; by default all.
    positions
        Positions of the rows, ascending; by default all. Days without any of them are not read.

    Returns
    -------
    pandas.DataFrame
        float32 columns that share one array, then the categorical columns.
    """
    refs = day_refs(features)
    ends = np.cumsum([ref.rows for ref in refs])
    if positions is None:
        positions = np.arange(ends[-1])
    numbers: NDArray[np.float32] | None = None
    at, categorical, labels = 0, [], []
    for ref, end in zip(refs, ends.tolist(), strict=True):
        first, last = np.searchsorted(positions, [end - ref.rows, end]).tolist()
        if first == last:
            continue
        frame = store.open(ref).frame(_FILE, None if names is None else list(names))
        if last - first < ref.rows:
            frame = frame.iloc[positions[first:last] - (end - ref.rows)]
        if numbers is None:
            labels = [name for name in frame if frame[name].dtype == np.float32]
            numbers = np.empty((len(labels), len(positions)), dtype=np.float32)
        for place, name in enumerate(labels):
            numbers[place, at : at + len(frame)] = frame[name]
        categorical.append(frame.drop(columns=labels))
        at += len(frame)
    assert numbers is not None  # there is a row in every window
    made = pd.DataFrame(numbers.T, columns=labels, copy=False)
    return made if categorical[0].empty else pd.concat([made, union_categories(categorical)], axis=1)


@dataclass(frozen=True)
class DailyFeatures:
    """Features of a run's rows, stored by day and read on demand; see :class:`mtl_tasks.models.member.KeptFeatures`.

    Attributes
    ----------
    features
        The artifact of the stage.
    names
        Columns to read.
    rows
        Positions among the run's rows.
    """

    store: Store
    features: Artifact
    names: list[str]
    rows: range

    @classmethod
    def of(cls, store: Store, features: Artifact, names: list[str]) -> Self:
        """Return the features of all rows, unread."""
        return cls(store, features, names, range(sum(ref.rows for ref in day_refs(features))))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def read(self) -> pd.DataFrame:
        """Return the features as :func:`read_days` does."""
        return read_days(self.store, self.features, self.names, np.arange(self.rows.start, self.rows.stop))

    def where(self, rows: slice) -> Self:
        """Return some of the rows, unread."""
        return replace(self, rows=self.rows[rows])


def feature_columns(store: Store, features: Artifact, scenario: Scenario) -> list[FeatureColumn]:
    """Return the declarations of the columns that :func:`read_days` returns, in their order."""
    declared = {column.name: column for column in declared_columns(scenario)}
    first = store.open(day_refs(features)[0])
    names = first.column_names(_FILE)
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise ArtifactError(f"{first.folder}: no feature group makes its column {unknown[0]!r}; run again with --force")
    return [declared[name] for name in names]


def all_there(store: Store, made: Artifact) -> bool:
    """Whether every day that a stage's artifact lists is still in the store, unchanged."""
    found = ((ref, store.look_up(ref)) for ref in day_refs(made))
    return all(artifact is not None and artifact.ref.sha256 == ref.sha256 for ref, artifact in found)


def day_keys(
    fingerprints: DayFingerprints, rows: pd.DataFrame, factor_models: Mapping[str, ItemFactors]
) -> dict[int, str]:
    """Return a key for each day of ``rows``, ascending, made of all that its features depend on.

    That is what was known before the day, the rows themselves, and the item factors valid on that day.
    """
    row_days, row_hashes = rows[columns.DAY].to_numpy(), hash_rows(rows)
    keys = {}
    for day, key in fingerprints.before(np.unique(row_days).tolist()):
        first, last = np.searchsorted(row_days, [day, day + 1])
        key.update(row_hashes[first:last].tobytes())
        for name in sorted(factor_models):
            key.update(_factors_hash(factor_models[name], day))
        keys[day] = key.hexdigest()
    return keys


def recall(store: Store, scenario: str, fingerprints: DayFingerprints, day: int) -> FeatureSnapshot | None:
    """Return the newest feature snapshot at or before ``day``; None without any.

    Parameters
    ----------
    scenario
        Name of the scenario, under which its days are stored.

    Raises
    ------
    ArtifactError
        If the snapshot is damaged.
    """
    weeks = dict(fingerprints.before(range(fingerprints.first + -fingerprints.first % _WEEK, day + 1, _WEEK)))
    for week in sorted(weeks, reverse=True):
        found = store.find(store.folder(scenario, DAYS, day_text(week), weeks[week].hexdigest()))
        if found is not None:
            log.info("%s: counting goes on from %s", scenario, day_text(week))
            return FeatureSnapshot.read(found)
    return None


def _keep(run: Run, fingerprints: DayFingerprints, maker: FeatureMaker, weeks: list[int], until: int) -> list[int]:
    """Store a feature snapshot for each of the weeks that begin by ``until``; return the other weeks."""
    due = [week for week in weeks if week <= until]
    for day, key in fingerprints.before(due):
        maker.advance(day)
        facts = {"scenario": run.scenario.name, "stage": "counts", "as_of": day_text(day), "usage": {}}
        folder = _folder(run, day_text(day), key.hexdigest())
        if not (folder / MANIFEST).exists():  # the same counts, though in another order if counted from the first day
            run.store.publish(folder, key.hexdigest(), maker.memory().payload(), facts)
    return weeks[len(due) :]


def _weeks(days: Iterable[int], first: int, last: int) -> list[int]:
    """Return the first day of the week of each day, if it is from ``first`` to ``last``."""
    weeks = {int(day) - int(day) % _WEEK for day in days}
    return sorted(week for week in weeks if first <= week <= last)


def _batches(days: list[int], cuts: list[int], positions: Mapping[int, slice]) -> Iterator[list[int]]:
    """Yield batches of days with a bounded number of rows, a larger day by itself; no batch crosses a cut."""
    batch, size = list[int](), 0
    for day in days:
        rows = positions[day].stop - positions[day].start
        if batch and (size + rows > _ROWS_AT_ONCE or any(batch[-1] < cut <= day for cut in cuts)):
            yield batch
            batch, size = [], 0
        batch.append(day)
        size += rows
    if batch:
        yield batch


def _by_day(features: pd.DataFrame, days: Sequence[int], sizes: Mapping[int, int]) -> dict[int, pd.DataFrame]:
    """Split the features of some days' rows, which are in order of days, by day."""
    ends = np.cumsum([sizes[day] for day in days]).tolist()
    return {day: features.iloc[end - sizes[day] : end] for day, end in zip(days, ends, strict=True)}


def _publish(run: Run, block: Block, key: str, parts: list[pd.DataFrame]) -> Artifact:
    features = drop_unused_categories(parts[0] if len(parts) == 1 else pd.concat(parts))
    payload = Payload(rows=len(features), summary={"columns": len(features.columns)})
    payload.add_frame(_FILE, features, measurements=True)
    facts = {"scenario": run.scenario.name, "stage": "features of a day", "as_of": block_name(block), "usage": {}}
    return run.store.publish(_folder(run, block_name(block), key), key, payload, facts)


def _block_key(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()


def _folder(run: Run, name: str, key: str) -> UPath:
    return run.store.folder(run.scenario.name, DAYS, name, key)


def _labels_and_window(rows: pd.DataFrame) -> list[str]:
    """Return the columns that features do not depend on: labels, and the rows' window."""
    return [str(name) for name in rows if name == columns.WINDOW or str(name).startswith(columns.label(""))]


def _factors_hash(item_factors: ItemFactors, day: int) -> bytes:
    usable = item_factors.valid_from <= day
    digest = hashlib.sha256(pd.util.hash_array(item_factors.item_ids[usable].astype(object)).tobytes())
    for values in (item_factors.valid_from[usable], np.ascontiguousarray(item_factors.vectors[usable])):
        digest.update(values.tobytes())
    return digest.digest()
