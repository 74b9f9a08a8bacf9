"""Comparison of two to six runs: metrics, members, lists, slices, drift, settings, code, libraries and data."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

from mtl_tasks.core.documents import StoredDocument
from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.evaluation.drift import compare_records, incomparable, read_record
from mtl_tasks.pipeline.changes import flattened, library_versions, log_facts, settings_of
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.pipeline.shared_rows import SharedRows, pair_runs
from mtl_tasks.pipeline.stages.judge import CURVES
from mtl_tasks.report.labels import in_order, list_title, metric
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.curves import Curves, DailyMetric, TaskCurves
from mtl_tasks.store.documents.drift import DriftReport
from mtl_tasks.store.documents.evaluation import CalibrationPoint, Evaluation
from mtl_tasks.store.documents.measurements import Measurement, Measurements
from mtl_tasks.store.documents.verdict import RuleResult, Verdict

FEWEST, MOST = 2, 6  # runs
FLOOR: Final = "popularity"
D = TypeVar("D", bound=StoredDocument)
Key = TypeVar("Key", bound=Hashable)
FUSION: Final = "fusion"
T = TypeVar("T")


@dataclass(frozen=True)
class MetricRow:
    """A metric of every run; None where a run lacks it.

    Attributes
    ----------
    subject
        Member, ranker or slice; empty for the fusion on all rows.
    differences
        From the first run, signed so that positive is better; the first is None.
    """

    task: str
    subject: str
    metric: str
    values: tuple[Measurement | None, ...]
    differences: tuple[Measurement | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        parts = {"values": self.values, "differences": self.differences}
        lists = {name: [None if one is None else one.to_json() for one in part] for name, part in parts.items()}
        return {"task": self.task, "subject": self.subject, "metric": self.metric, **lists}


@dataclass(frozen=True)
class Difference:
    """A setting, or a fact about a run, that differs; None where a run lacks it. Nested keys are joined by dots."""

    name: str
    values: tuple[Any, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {"name": self.name, "values": list(self.values)}


@dataclass(frozen=True)
class PairedRule:
    """A rule of one run's gate that compared it with another of the runs, on the same rows."""

    run: PastRun
    champion: PastRun
    rule: RuleResult


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, in the order they were asked for; the first is the reference.

    Attributes
    ----------
    overlap
        A sentence on the test windows, and on whether the figures are paired.
    origins
        Code, libraries and data that differ.
    shared
        Each further run on the test rows that it shares with the first; only for runs whose test windows overlap.
    calibration
        Binary task to the calibration of each run's fusion; empty where a run has none.
    by_day
        Task to the primary metric of each run's models by day of its own test window; None where a run has none.
    drift
        Drift of each further run's test rows from the first's.
    problems
        One sentence for each run whose evidence cannot be read.
    """

    runs: tuple[PastRun, ...]
    metrics: list[MetricRow]
    members: list[MetricRow]
    lists: list[MetricRow]
    slices: list[MetricRow]
    paired: list[PairedRule]
    shared: list[SharedRows]
    calibration: dict[str, list[tuple[CalibrationPoint, ...]]]
    by_day: dict[str, list[DailyMetric | None]]
    overlap: str
    settings: list[Difference]
    origins: list[Difference]
    drift: list[DriftReport]
    problems: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        tables = ("metrics", "members", "lists", "slices", "settings", "origins", "drift")
        return {
            "runs": [run.to_json() for run in self.runs],
            **{name: [row.to_json() for row in getattr(self, name)] for name in tables},
            "paired": [
                {"run": pair.run.entry.run_key, "champion": pair.champion.entry.run_key, **pair.rule.to_json()}
                for pair in self.paired
            ],
            "shared_rows": [pair.to_json() for pair in self.shared],
            "calibration": {
                task: [[point.to_json() for point in run] for run in runs] for task, runs in self.calibration.items()
            },
            "by_day": {
                task: [None if run is None else run.to_json() for run in runs] for task, runs in self.by_day.items()
            },
            "overlap": self.overlap,
            "problems": self.problems,
        }


def compare_runs(store: Store, runs: Sequence[PastRun]) -> Comparison:
    """Compare runs of one scenario.

    Each run was measured on its own test rows, so the interval of a difference is that of two independent values: it is
    too wide if the rows are the same. On the rows that two runs share, the difference is paired.

    Raises
    ------
    ConfigError
        If there are fewer than two runs, or more than six.
    """
    if not FEWEST <= len(runs) <= MOST:
        raise ConfigError(f"{len(runs)} runs cannot be compared: choose {FEWEST} to {MOST}")
    problems: list[str] = []
    evaluations = [_evidence(store, run, "evaluate", "evaluation", Evaluation, problems) for run in runs]
    verdicts = [_evidence(store, run, "gate", "verdict", Verdict, problems) for run in runs]
    curves = [_curves(store, run, problems) for run in runs]
    paired, windows = list(_paired(runs, verdicts)), [_test_window(store, run) for run in runs]
    shared = [
        pair_runs(store, runs[0].entry, run.entry)
        for run, window in zip(runs[1:], windows[1:], strict=True)
        if _overlapping(windows[0], window)
    ]
    return Comparison(
        runs=tuple(runs),
        metrics=_rows([{(task, ""): found for task, found in run.metrics.items()} for run in runs]),
        members=_rows([_members(found) for found in evaluations], only_primary=True),
        lists=_rows([_lists(found) for found in evaluations], only_primary=True),
        slices=_rows([_slices(found) for found in evaluations], only_primary=True),
        paired=paired,
        shared=shared,
        calibration=_by_task([{} if found is None else found.calibration for found in evaluations], ()),
        by_day=_by_task([{task: one.by_day for task, one in found.items()} for found in curves], None),
        overlap=_overlap(windows, paired, shared),
        settings=_different([settings_of(run.entry) for run in runs]),
        origins=_different([_origin(store, run) for run in runs]),
        drift=[_drift(store, runs[0], run) for run in runs[1:]],
        problems=problems,
    )


def _evidence(store: Store, run: PastRun, stage: str, name: str, kind: type[D], problems: list[str]) -> D | None:
    try:
        return read_document(store.open(run.entry.refs[stage]), name, kind)
    except (ArtifactError, KeyError) as error:
        problems.append(f"run {run.entry.run_key[:12]}: {name} of {stage} cannot be read ({error})")
        return None


Subjects = Mapping[tuple[str, str], Measurements]  # task and subject to the metrics


def _members(found: Evaluation | None) -> Subjects:
    """Return the floor, the other members and the fusion, by task."""
    made: dict[tuple[str, str], Measurements] = {}
    for name, task in ({} if found is None else found.tasks).items():
        for member in sorted(task.members, key=lambda member: (member != FLOOR, member)):
            made[name, member] = task.members[member]
        made[name, FUSION] = task.fusion
    return made


def _lists(found: Evaluation | None) -> Subjects:
    return {} if found is None else {("", list_title(name)): got for name, got in found.ranking.by_ranker.items()}


def _slices(found: Evaluation | None) -> Subjects:
    slices = {} if found is None else found.slices
    return {(task, name): got.fusion for task, parts in slices.items() for name, got in parts.items()}


def _rows(tables: Sequence[Subjects], *, only_primary: bool = False) -> list[MetricRow]:
    """Return a row for each metric that any run has, or only for the primary metric of each subject."""
    made = []
    for task, subject in _united(tables):
        found = [table.get((task, subject), {}) for table in tables]
        names = in_order(set().union(*found))
        for name in names[:1] if only_primary else names:
            values = tuple(measurements.get(name) for measurements in found)
            made.append(MetricRow(task, subject, name, values, tuple(_differences(name, values))))
    return made


def _united(tables: Iterable[Mapping[Key, Any]]) -> list[Key]:
    return list(dict.fromkeys(key for table in tables for key in table))


def _differences(name: str, values: Sequence[Measurement | None]) -> Iterator[Measurement | None]:
    yield None
    for value in values[1:]:
        yield _difference(name, values[0], value)


def _difference(name: str, first: Measurement | None, second: Measurement | None) -> Measurement | None:
    if first is None or second is None or first.value is None or second.value is None:
        return None
    sign = metric(name).better or 1
    gain = sign * (second.value - first.value)
    if first.half_width is None or second.half_width is None:
        return Measurement(value=gain, low=None, high=None)
    half = math.hypot(first.half_width, second.half_width)
    return Measurement(value=gain, low=gain - half, high=gain + half)


def _paired(runs: Sequence[PastRun], verdicts: Sequence[Verdict | None]) -> Iterator[PairedRule]:
    by_key = {run.entry.run_key: run for run in runs}
    for run, verdict in zip(runs, verdicts, strict=True):
        champion = None if verdict is None else by_key.get(verdict.champion or "")
        if champion is not None and verdict is not None:
            yield from (PairedRule(run, champion, rule) for rule in verdict.rules if rule.kind == "relative")


Window = tuple[str, str]


def _overlapping(first: Window | None, second: Window | None) -> bool:
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def _overlap(windows: Sequence[Window | None], paired: Sequence[PairedRule], shared: Sequence[SharedRows]) -> str:
    """Return how the test windows lie, and which differences are paired."""
    days = _position(windows)
    below = []
    if any(pair.problem is None for pair in shared):
        below.append("those on the rows that a run shares with the first")
    if paired:
        below.append("those that a gate has measured on the same rows")
    if below:
        return f"{days} Paired differences are below: {' and '.join(below)}. All others are not paired."
    return f"{days} The figures are not paired: each run was measured on its own rows."


def _position(windows: Sequence[Window | None]) -> str:
    known = sorted(window for window in windows if window is not None)
    if len(known) < len(windows):
        return "The test window of at least one run is not in the store any more."
    if len(set(known)) == 1:
        return f"The runs have the same test window, {known[0][0]} to {known[0][1]}."
    overlap = any(_overlapping(*pair) for pair in pairwise(known))
    return "The test windows overlap." if overlap else "The test windows do not overlap."


def _curves(store: Store, run: PastRun, problems: list[str]) -> dict[str, TaskCurves]:
    """Return a run's curves by task; empty if they cannot be read, and for a run from before they were kept."""
    try:
        artifact = store.open(run.entry.refs["evaluate"])
    except (ArtifactError, KeyError):  # named among the problems already
        return {}
    if f"{CURVES}.json" not in artifact.names:
        return {}
    found = _evidence(store, run, "evaluate", CURVES, Curves, problems)
    return {} if found is None else found.tasks


def _by_task(found: Sequence[Mapping[str, T]], nothing: T) -> dict[str, list[T]]:
    """Return what each run has of every task; ``nothing`` where it has none."""
    return {task: [one.get(task, nothing) for one in found] for task in _united(found)}


def _test_window(store: Store, run: PastRun) -> Window | None:
    try:
        window = store.open(run.entry.refs["split"]).summary["windows"]["test"]
        return str(window["first"]), str(window["last"])
    except (ArtifactError, KeyError):
        return None


def _origin(store: Store, run: PastRun) -> dict[str, Any]:
    """Return what a run was made of: its code, the extent of its log, and versions of its libraries."""
    libraries = library_versions(store, run.entry)
    named = {f"library {name}": version for name, version in libraries.items()}
    return {"code": run.entry.code[:12], **log_facts(store, run.entry), **named}


def _different(documents: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return what is not alike in all documents, by name."""
    flat = [dict(flattened(document)) for document in documents]
    rows = ((name, tuple(one.get(name) for one in flat)) for name in sorted(_united(flat)))
    return [Difference(name, values) for name, values in rows if any(value != values[0] for value in values)]


def _drift(store: Store, first: PastRun, second: PastRun) -> DriftReport:
    records = []
    for run in (first, second):
        try:
            record = read_record(store.open(run.entry.refs["evaluate"]))
        except ArtifactError as error:
            return incomparable(str(error))
        if record is None:
            return incomparable(f"the run of {run.entry.as_of} was made before distributions were recorded")
        records.append(record)
    return compare_records(*records)
