"""Features of a run, one artifact per block of days, which runs of other dates reuse.

A block is a day, or several quiet ones (:mod:`mtl_tasks.pipeline.days.blocks`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.categories import union_categories
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features.als import ItemFactors
from mtl_tasks.features.groups import declared_columns
from mtl_tasks.pipeline.days.blocks import Block, block_name, divided
from mtl_tasks.pipeline.days.fingerprints import DayFingerprints
from mtl_tasks.pipeline.days.log import day_digests, hash_rows
from mtl_tasks.pipeline.days.missing_features import FEATURES, FeatureDays, MissingBlock, MissingDays
from mtl_tasks.pipeline.days.snapshots import snapshot_keys, weeks_of
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.executor import InProcess, open_executor
from mtl_tasks.pipeline.stages.inputs import load_windows
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import DAYS, Artifact, Ref, Store, day_refs

log = logging.getLogger(__name__)

_BLOCK_ROWS: Final = 4_096  # below, an artifact costs more than its rows


def make_days(run: Run, inputs: Inputs) -> list[Ref]:
    """Return the artifact of every block of days of a run's rows; those that the store lacks are made, in shards.

    Parameters
    ----------
    inputs
        The artifacts of the stages ``validate``, ``split`` and ``factors``.

    Raises
    ------
    ArtifactError
        If a file of an existing block is missing or has another size (any other damage is found on reading), or the
        store cannot be written.
    """
    work = FeatureDays(run, inputs)
    found, missing = _look_up(work)
    made = list[Ref]()
    if missing.blocks:
        work.give(missing)
        # A single block, as of the next day, is not worth the start of a cluster.
        with open_executor(os.environ if len(missing.blocks) > 1 else {}) as executor:
            if not isinstance(executor, InProcess):
                work = FeatureDays(run, inputs, work.files)  # without the log, which workers read for themselves
            made = FeatureDays.refs_made(executor.map("features", work, {}))
    log.info("%s: features of %d parts made, of %d reused", run.scenario.name, len(made), len(found))
    refs = found | dict(zip((block.days for block in missing.blocks), made, strict=True))
    return [refs[block] for block in sorted(refs)]


def _look_up(work: FeatureDays) -> tuple[dict[Block, Ref], MissingDays]:
    """Return the blocks that the store has, and those that it lacks."""
    run, windows = work.run, load_windows(work.inputs["split"])
    digests = day_digests(run.store, work.inputs["validate"])
    fingerprints = DayFingerprints.of(run, run.scenario, digests, work.log.frame, work.tables)
    rows = work.rows
    keys = day_keys(fingerprints, rows.drop(columns=_labels_and_window(rows)), work.factor_models)
    days = rows[columns.DAY].to_numpy()
    sizes = {day: int(np.subtract(*np.searchsorted(days, [day + 1, day]))) for day in keys}
    found, missing = dict[Block, Ref](), list[MissingBlock]()
    for block in divided(sizes, range(windows["train"][0], windows["test"][1]), _BLOCK_ROWS):
        key = _block_key([keys[day] for day in block])
        artifact = run.store.find(run.store.folder(run.scenario.name, DAYS, block_name(block), key))
        if artifact is None:
            missing.append(MissingBlock(block, key, sum(sizes[day] for day in block)))
            continue
        run.store.reuse(artifact.ref)
        artifact.verify_sizes()  # reading checks the hash; here that took a seventh of the next day's run
        found[block] = artifact.ref
    if not missing:
        return found, MissingDays([], {}, [])
    first, last = missing[0].days[0], missing[-1].days[-1]
    # For the next run, and for the recommendations of the test window.
    due = weeks_of([windows["test"][0], int(days[-1])], first, last)
    return found, MissingDays(missing, snapshot_keys(fingerprints, last), due)


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
        frame = store.open(ref).frame(FEATURES, None if names is None else list(names))
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
    names = first.column_names(FEATURES)
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


def _block_key(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()


def _labels_and_window(rows: pd.DataFrame) -> list[str]:
    """Return the columns that features do not depend on: labels, and the rows' window."""
    return [str(name) for name in rows if name == columns.WINDOW or str(name).startswith(columns.label(""))]


def _factors_hash(item_factors: ItemFactors, day: int) -> bytes:
    usable = item_factors.valid_from <= day
    digest = hashlib.sha256(pd.util.hash_array(item_factors.item_ids[usable].astype(object)).tobytes())
    for values in (item_factors.valid_from[usable], np.ascontiguousarray(item_factors.vectors[usable])):
        digest.update(values.tobytes())
    return digest.digest()
