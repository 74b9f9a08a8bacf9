"""Two runs on the test rows that they share: paired differences, from the predictions that both have stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError
from mtl_tasks.evaluation.evaluate import FUSION, ScoredRows, slice_masks
from mtl_tasks.evaluation.gate import CHAMPION
from mtl_tasks.evaluation.versus_champion import compare_paired
from mtl_tasks.metrics.catalog import metrics_of
from mtl_tasks.pipeline.engine import Inputs
from mtl_tasks.pipeline.past_documents import rebuild_run
from mtl_tasks.pipeline.stages.inputs import load_test_predictions
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.registry import RunRecord

READABLE_ROWS: Final = 500_000  # of a run's windows: a page waits for the bootstrap of those it shares
READABLE_LABELS: Final = 2_000_000  # shared rows times tasks: 16 CPU seconds of bootstrap
KEPT: Final = 64  # pairs of runs; a few kB each
_OCCURRENCE: Final = "occurrence"
_PAIR: Final = [columns.USER, columns.ITEM, columns.DAY, _OCCURRENCE]


@dataclass(frozen=True)
class SharedMetric:
    """A metric of two runs on the same rows.

    Attributes
    ----------
    subject
        The slice; empty for all rows.
    gain
        The second run's minus the first's, signed so that positive is better.
    """

    task: str
    subject: str
    metric: str
    first: float | None
    second: float | None
    gain: Measurement


@dataclass(frozen=True)
class SharedRows:
    """Two runs on the rows that are in both test windows, with the same labels.

    Attributes
    ----------
    rows
        Their number.
    days
        First and last of them, ``YYYY-MM-DD``; None without any.
    metrics
        Those of each task, then its primary metric on each slice.
    problem
        Why the runs cannot be paired; None if they can.
    without_slices
        Why the slices are left out; None if they are not.
    """

    first: str
    second: str
    rows: int = 0
    days: tuple[str, str] | None = None
    metrics: tuple[SharedMetric, ...] = ()
    problem: str | None = None
    without_slices: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        rows = [{**asdict(row), "gain": row.gain.to_json()} for row in self.metrics]
        return {**asdict(self), "days": None if self.days is None else list(self.days), "metrics": rows}


@dataclass(frozen=True)
class _TestRows:
    """A run's test rows: user, item, day, occurrence and labels, with the fusion's prediction of each task."""

    scenario: Scenario
    frame: pd.DataFrame
    features: Ref
    positions: NDArray[np.int64]


class _SlicesError(Exception):
    """The features of the second run cannot be read."""


def pair_runs(store: Store, first: RunRecord, second: RunRecord) -> SharedRows:
    """Compare two runs on the rows that they share; what cannot be read is named in the result."""
    runs = _identity(first), _identity(second)
    try:
        try:
            return _pair(store, *runs, sliced=True)
        except _SlicesError as error:  # not cached: the features may be made again
            return replace(_pair(store, *runs, sliced=False), without_slices=str(error))
    except (ArtifactError, ConfigError, DataError, KeyError) as error:
        return SharedRows(first.run_key, second.run_key, problem=str(error))


@dataclass(frozen=True)
class _Identity:
    """A record, equal to one with the same key and references."""

    key: tuple[Any, ...]
    entry: RunRecord = field(compare=False)


def _identity(entry: RunRecord) -> _Identity:
    return _Identity((entry.run_key, tuple(sorted(entry.refs.items()))), entry)


@lru_cache(maxsize=KEPT)
def _pair(store: Store, first: _Identity, second: _Identity, *, sliced: bool) -> SharedRows:
    """Compare two runs, also by slice if ``sliced``; a failed read is not cached.

    Raises
    ------
    _SlicesError
        If the features that say which rows are in a slice were pruned or are damaged.
    """
    ours, theirs = (_read(store, run.entry) for run in (first, second))
    shared = _shared(ours.frame, theirs.frame)
    keys = first.entry.run_key, second.entry.run_key
    if shared.empty:
        return SharedRows(*keys, problem="no row is in both test windows")
    _check_labels(len(shared), len(theirs.scenario.tasks))
    days = [day_text(int(shared[columns.DAY].iloc[at])) for at in (0, -1)]
    masks = _masks(store, theirs, shared["position"].to_numpy()) if sliced else {}
    metrics = tuple(_metrics(shared, ours.scenario, theirs.scenario, masks))
    return SharedRows(*keys, len(shared), (days[0], days[1]), metrics)


def _check_labels(rows: int, tasks: int) -> None:
    if rows * tasks > READABLE_LABELS:
        raise DataError(
            f"the runs share {rows:,} rows of {tasks} tasks, {rows * tasks:,} labels, more than the "
            f"{READABLE_LABELS:,} that are compared for a page"
        )


def _read(store: Store, entry: RunRecord) -> _TestRows:
    """Read a run's test rows with the predictions that its members made before they learned from later rows."""
    needed = [name for name in entry.refs if name in ("split", "fuse") or name.startswith("member:")]
    scenario = rebuild_run(store, entry).scenario
    inputs = Inputs({name: store.open(entry.refs[name]) for name in needed})
    if inputs["split"].ref.rows > READABLE_ROWS:
        raise DataError(
            f"the windows of run {entry.run_key[:12]} have {inputs['split'].ref.rows:,} rows, more than the "
            f"{READABLE_ROWS:,} that are read for a page"
        )
    rows = inputs["split"].frame("rows")
    positions = np.flatnonzero((rows[columns.WINDOW] == "test").to_numpy())
    labels = [columns.label(task) for task in scenario.tasks]
    frame = rows.iloc[positions][[columns.USER, columns.ITEM, columns.DAY, *labels]].reset_index(drop=True)
    for task, predictions in load_test_predictions(scenario, inputs).items():
        frame[columns.prediction(task)] = predictions[FUSION]
    frame[_OCCURRENCE] = frame.groupby([columns.USER, columns.ITEM, columns.DAY], sort=False).cumcount()
    return _TestRows(scenario, frame.assign(position=np.arange(len(frame))), entry.refs["features"], positions)


def _shared(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the second run that the first one has too; the first one's columns end in ``:first``.

    Raises
    ------
    DataError
        If the ids are whole numbers in one run and texts in the other.
    """
    for name in (columns.USER, columns.ITEM):
        kinds = [is_integer_dtype(frame[name].dtype) for frame in (ours, theirs)]
        if kinds[0] != kinds[1]:
            raise DataError(f"{name} is a whole number in one run and a text in the other: no row can be matched")
    return theirs.merge(ours, on=_PAIR, how="inner", suffixes=("", ":first"), sort=False)


def _metrics(
    shared: pd.DataFrame, ours: Scenario, theirs: Scenario, masks: dict[str, NDArray[np.bool_]]
) -> Iterator[SharedMetric]:
    for task, settings in theirs.tasks.items():
        if task in ours.tasks and ours.tasks[task].kind == settings.kind:
            rows = _rows_of(shared, task, masks)
            names = metrics_of(settings.kind)
            yield from _paired(task, "", rows, names, theirs.seed)
            for name, mask in rows.slices.items():
                yield from _paired(task, name, rows.where(mask), names[:1], theirs.seed)


def _rows_of(shared: pd.DataFrame, task: str, masks: dict[str, NDArray[np.bool_]]) -> ScoredRows:
    """Return the rows that have the same label in both runs."""
    label, before = (shared[f"{columns.label(task)}{end}"].to_numpy(dtype=np.float64) for end in ("", ":first"))
    same = label == before  # a label that is missing is equal to none
    predictions = {
        model: shared[f"{columns.prediction(task)}{end}"].to_numpy(dtype=np.float64)
        for model, end in ((FUSION, ""), (CHAMPION, ":first"))
    }
    users, days = (shared[name].to_numpy() for name in (columns.USER, columns.DAY))
    kept = ScoredRows(users, days, label, predictions, {}).where(same)
    return ScoredRows(
        kept.users, kept.days, kept.label, kept.predictions, {name: mask[same] for name, mask in masks.items()}
    )


def _masks(store: Store, theirs: _TestRows, at: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return the slices of the shared rows; raises as :func:`_pair`."""
    from mtl_tasks.pipeline.days.features import read_days

    try:
        counts = read_days(store, store.open(theirs.features), ["user.count", "item.count"], theirs.positions)
    except ArtifactError as error:
        raise _SlicesError(str(error)) from error
    return {name: mask[at] for name, mask in slice_masks(counts).items()}


def _paired(task: str, subject: str, rows: ScoredRows, names: Sequence[str], seed: int) -> Iterator[SharedMetric]:
    for name, pair in compare_paired(rows, tuple(names), seed).items():
        yield SharedMetric(task, subject, name, pair.champion, pair.candidate, pair.gain)
