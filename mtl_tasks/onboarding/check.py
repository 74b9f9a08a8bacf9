"""Check of a scenario against its log: the columns, the windows, and everything that would stop a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError, MtlError, quoting_rows
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.conversion import ColumnRef
from mtl_tasks.data.files import LogFile, list_tables, with_retries
from mtl_tasks.data.interactions import join_parts, log_column, log_column_refs
from mtl_tasks.data.prior import with_prior
from mtl_tasks.data.reading import wanted_columns
from mtl_tasks.data.sources import LogSource, open_log
from mtl_tasks.data.splits import Windows, describe_rows, label_rows, log_days, window_faults
from mtl_tasks.data.validation import FaultPolicy, ValidationResult, validate_interactions
from mtl_tasks.onboarding.attribute_table import Side, describe_table, table_faults
from mtl_tasks.onboarding.files import HISTORY, day_of, in_turn, list_entries
from mtl_tasks.onboarding.obstacles import find_obstacles
from mtl_tasks.onboarding.profile import Profile, profile
from mtl_tasks.onboarding.sample import Sample, read_sample
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.gate_rules import check_rules
from mtl_tasks.store.artifacts import Store

Parts = list[dict[str, pa.ChunkedArray]]


@dataclass(frozen=True)
class Mapped:
    """A column that the scenario names, with its profile."""

    key: str
    found: Profile


@dataclass
class Inspection:
    """The findings of a check.

    Attributes
    ----------
    read
        The rows and files that were read, in words.
    complete
        Whether they are the whole log before ``as_of``.
    unused
        Columns of the log that the scenario does not name.
    windows
        As :func:`mtl_tasks.data.splits.describe_rows`, with the history; empty if the check stopped before.
    problems
        Faults that stop a run, each with its remedy.
    notes
        Findings that do not stop a run.
    """

    scenario: str
    as_of: str | None = None
    read: str = "nothing"
    complete: bool = False
    columns: list[Mapped] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    windows: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether no finding stops a run."""
        return not self.problems

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Record an error raised by the block as a problem."""
        try:
            yield
        except MtlError as error:
            self.problems.append(str(error))

    def to_json(self) -> dict[str, Any]:
        """Return the findings for a JSON document."""
        return {**asdict(self), "ready": self.ready}


def inspect(
    scenario: Scenario,
    as_of: pd.Timestamp | None,
    root: str | Path,
    rows: int,
    environment: Mapping[str, str],
    store: Store | None = None,
    today: pd.Timestamp | None = None,
) -> Inspection:
    """Read the scenario's log, or a part of it, and collect the faults of both.

    Parameters
    ----------
    as_of
        UTC midnight; None takes the day after the newest event, or ``today`` if that is in the future.
    rows
        Approximate limit of the rows to read: of partitions the newest of every window, of a single Parquet file rows
        from all over it, of a single CSV file the first.
    environment
        Environment variables, which hold the address of a database.
    store
        The store that the run would write to and find champions in; None skips the checks that need it.
    today
        The current day, which no run may look beyond; None for no limit.
    """
    found = Inspection(scenario.name)
    _judge_settings(scenario, found)
    with quoting_rows(scenario.validation.quote_rows), tempfile.TemporaryDirectory() as kept:
        entries: list[LogFile] = []
        source = open_log(scenario, root, UPath(kept), environment)
        with found.caught():
            entries = with_retries(lambda: list_entries(source, as_of, rows))
            entries = entries if as_of is not None else _until_today(scenario, entries, today, found)
        with found.caught():
            list_tables(scenario, root)
        if entries and found.ready:
            attribution: dict[str, Any] = {}
            frame, first_day = _read(scenario, source, entries, (as_of, today), rows, found, attribution)
            if frame is not None and found.complete and scenario.source.prior is not None:
                frame, first_day = _with_prior(scenario, frame, root, found), None
            if frame is not None:
                end = _day_after(scenario, entries, frame, today, found) if as_of is None else as_of
                _validate(scenario, frame, end, first_day, root, found, attribution)
    if store is not None:
        day = found.as_of if as_of is None else f"{as_of:%Y-%m-%d}"
        with found.caught():
            found.problems.extend(find_obstacles(scenario, day, store, devices=True))
    if scenario.notify is not None:
        with found.caught():
            scenario.notify.check_installed(scenario.file)
    return found


def _until_today(
    scenario: Scenario, entries: list[LogFile], today: pd.Timestamp | None, found: Inspection
) -> list[LogFile]:
    """Return the files of days that are over: a run reads no others."""
    over = [entry for entry in entries if today is None or entry[2] is None or entry[2] < day_of(today)]
    if len(over) < len(entries):
        assert today is not None
        left = f"{scenario.source.log}: {len(entries) - len(over):,} of {len(entries):,} files are of days that are"
        found.notes.append(f"{left} not over yet (today is {today:%Y-%m-%d}): a run takes them from the next day on")
    if not over:
        raise DataError(f"{scenario.source.log}: no day of the log is over yet: wait, or correct the folders' dates")
    return over


def _with_prior(scenario: Scenario, frame: pd.DataFrame, root: str | Path, found: Inspection) -> pd.DataFrame | None:
    try:
        return with_prior(frame, scenario, list_tables(scenario, root), root)
    except MtlError as error:
        found.problems.append(str(error))
        return None


def _judge_settings(scenario: Scenario, found: Inspection) -> None:
    with found.caught():
        check_rules(scenario)
    if not (scenario.gate.absolute or scenario.gate.relative):
        found.notes.append(
            f"gate: no rule in {scenario.file}, so every model will be rejected: look at the metrics of a first run,"
            " then write what a model must achieve to be published"
        )


def _read(
    scenario: Scenario,
    source: LogSource,
    entries: list[LogFile],
    ends: tuple[pd.Timestamp | None, pd.Timestamp | None],
    rows: int,
    found: Inspection,
    attribution: dict[str, Any],
) -> tuple[pd.DataFrame | None, int | None]:
    """Return the sampled interactions, None if a column cannot be read, and the first day of a partitioned log.

    ``ends`` are ``as_of`` and ``today`` of :func:`inspect`.
    """
    as_of, today = ends
    days = [day for _, _, day in entries if day is not None]
    as_of_day = max(days, default=0) + 1 if as_of is None else day_of(as_of)
    chosen: list[tuple[str, int | None, pa.Table]] = []
    left, whole = rows, True
    for path, name, day in in_turn(entries, scenario, as_of_day):
        if left <= 0:
            break
        sample = _sample(path, name, scenario.source.format == "csv", left, found)
        if sample is None:
            return None, None
        chosen.append((name, day, sample.table))
        left, whole = left - len(sample.table), whole and sample.whole
    chosen.sort(key=lambda part: part[0])
    found.complete = whole and len(chosen) == len(entries) and (not source.queried or left > 0)
    read = sum(len(table) for _, _, table in chosen)
    if not found.complete and not days and as_of is None:
        found.notes.append(
            "--as-of is not given: it is taken after the newest event that was read, the log may continue"
        )
    found.read = f"{'all ' * found.complete}{read:,} rows of {len(chosen):,} of {len(entries):,} files"
    _describe(scenario, chosen, found)
    before = today if as_of is None else as_of
    return _converted(scenario, chosen, found, before, attribution), min(days, default=None)


def _sample(path: UPath, name: str, text: bool, rows: int, found: Inspection) -> Sample | None:
    try:
        return with_retries(lambda: read_sample(path, name, text, rows))
    except MtlError as error:
        found.problems.append(str(error))
        return None


def _describe(scenario: Scenario, chosen: list[tuple[str, int | None, pa.Table]], found: Inspection) -> None:
    """Record the profiles of the columns that the scenario names, and the names of all other columns."""
    column_refs = log_column_refs(scenario, scenario.source.log)
    for ref in column_refs.values():
        parts = [table.column(ref.column) for _, _, table in chosen if table.column_names.count(ref.column) == 1]
        if parts:
            found.columns.append(Mapped(_key(ref), profile(ref.column, _joined(parts), ref.text)))
    named = {ref.column for ref in column_refs.values()}
    every = dict.fromkeys(name for _, _, table in chosen for name in table.column_names)
    found.unused = [name for name in every if name not in named]


def _joined(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Join the parts that have the last part's type; a difference in types is a separate problem."""
    kind = parts[-1].type
    return pa.chunked_array([chunk for part in parts if part.type == kind for chunk in part.chunks], type=kind)


def _key(ref: ColumnRef) -> str:
    return ref.key.partition(" in ")[0]


def _converted(
    scenario: Scenario,
    chosen: list[tuple[str, int | None, pa.Table]],
    found: Inspection,
    before: pd.Timestamp | None,
    attribution: dict[str, Any],
) -> pd.DataFrame | None:
    """Convert column by column, so that each reports its first fault."""
    seen: dict[str, tuple[str, str]] = {}
    broken: set[str] = set()
    parts: Parts = []
    for file, _, table in chosen:
        part = {}
        for name, ref in log_column_refs(scenario, file).items():
            if name in broken:
                continue
            try:
                wanted_columns(table.column_names, {name: ref})
                part[name] = log_column(name, table.column(ref.column), ref, scenario, seen)
            except MtlError as error:
                broken.add(name)
                found.problems.append(str(error))
        parts.append(part)
    if broken:
        found.notes.append("the rows are checked once every column can be read")
        return None
    try:
        return join_parts(scenario, [(file, day) for file, day, _ in chosen], parts, (), before, attribution)
    except MtlError as error:
        found.problems.append(str(error))
        return None


def _day_after(
    scenario: Scenario, entries: list[LogFile], frame: pd.DataFrame, today: pd.Timestamp | None, found: Inspection
) -> pd.Timestamp:
    """Return the day after the newest event, but at most today; the events of today are then left out."""
    days = [day for _, _, day in entries if day is not None]
    times = frame[columns.TIME]
    newest = times[times < pd.Timestamp(scenario.validation.latest, tz="UTC")].max()
    if not days and pd.notna(newest):
        days = [day_of(newest)]
    after = pd.Timestamp(max(days, default=-1) + 1, unit="D", tz="UTC")
    if today is None or after <= today:
        return after
    found.notes.append(
        f"{scenario.source.log}: continues to {day_text(max(days))}: the rows from today ({today:%Y-%m-%d}) on are left"
        " out, as their day is not over yet"
    )
    return today


def _validate(
    scenario: Scenario,
    frame: pd.DataFrame,
    as_of: pd.Timestamp,
    first_day: int | None,
    root: str | Path,
    found: Inspection,
    attribution: dict[str, Any],
) -> None:
    found.as_of = f"{as_of:%Y-%m-%d}"
    if not _judge_tables(scenario, frame, root, found):
        return
    items = read_items(scenario, list_tables(scenario, root), root, frame[columns.ITEM])
    say = FaultPolicy(lambda error: found.problems.append(str(error)), found.notes.append)
    with found.caught():
        judged = validate_interactions(
            frame, items, scenario, as_of, say=say, whole=found.complete, attribution=attribution
        )
        events = judged.events
        windows = _windows(scenario, judged, as_of, first_day, found)
        rows = label_rows(events, scenario, windows)
        found.windows = {HISTORY: _history(events, windows), **describe_rows(rows, scenario, windows)}
        if found.complete:
            found.problems.extend(window_faults(rows, scenario, windows))
        else:
            found.notes.extend(_empty_windows(found.windows))


def _windows(
    scenario: Scenario, judged: ValidationResult, as_of: pd.Timestamp, first_day: int | None, found: Inspection
) -> Windows:
    """Cut the windows from the log's first day. A run takes the first day with a good row, which a sample may lack."""
    end, with_rows = day_of(as_of), int(log_days(judged.events, judged.report["prior"])[0])
    if first_day is None or not found.complete:
        return Windows.cut(scenario, end, with_rows if first_day is None else first_day)
    try:
        return Windows.cut(scenario, end, with_rows)
    except DataError as error:
        windows = Windows.cut(scenario, end, first_day)  # the first folders hold only bad rows: the rest can be shown
        found.problems.append(str(error))
        return windows


def _empty_windows(windows: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note for each window without a row in the sample: a run refuses it if the whole log has none either."""
    for name, window in windows.items():
        if not window["rows"]:
            yield (
                f"{name} ({window['first']} to {window['last']}) holds none of the rows that were read: a run refuses "
                "an empty window, so read more of the log to be sure (--sample)"
            )


def _judge_tables(scenario: Scenario, frame: pd.DataFrame, root: str | Path, found: Inspection) -> bool:
    """Record the attribute tables' profiles and faults; return whether they have no fault."""
    before = len(found.problems)
    sides: dict[Side, str] = {"items": columns.ITEM, "users": columns.USER}
    for side, id_column in sides.items():
        table = getattr(scenario.source, side)
        if table is not None:
            with found.caught():
                found.columns.extend(Mapped(key, one) for key, one in describe_table(table, side, root))
                found.problems.extend(table_faults(scenario, side, root, frame[id_column]))
    return len(found.problems) == before


def _history(events: pd.DataFrame, windows: Windows) -> dict[str, Any]:
    first, end = windows[HISTORY]
    count = int((events[columns.DAY] < end).sum())
    return {"first": day_text(first), "last": day_text(end - 1), "rows": count, "tasks": {}}
