"""The runs of a scenario as a table: search, filters, order and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from mtl_tasks.pipeline.past_runs import History, PastRun
from mtl_tasks.report.labels import in_order, metric
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.records import RunId, run_id

SHOWN_RUNS: Final = 100
SHOWN_COLUMNS: Final = 4  # without a choice: a table of all tasks of a wide scenario would not fit
MOST_COLUMNS: Final = 12
BY_DATE: Final = "as_of"
BY_TIME: Final = "recorded"
SEPARATOR: Final = "."  # between task and metric; neither has one


@dataclass(frozen=True)
class Choice:
    """The part of the runs to show.

    Attributes
    ----------
    search
        Text in the key, the date, the status or the reason.
    standing
        A status; empty for all.
    since, until
        First and last as_of, ``YYYY-MM-DD``; empty for all.
    column
        ``task.metric`` of each column, at most ``MOST_COLUMNS``; empty for the primary metrics of the first tasks.
    sort
        ``as_of``, ``recorded``, or the ``task.metric`` of a column.
    ascending
        The smallest first.
    """

    search: str = ""
    standing: str = ""
    since: str = ""
    until: str = ""
    column: tuple[str, ...] = ()
    sort: str = BY_DATE
    ascending: bool = False
    show: int = SHOWN_RUNS

    @property
    def narrowed(self) -> bool:
        """Whether runs are left out on purpose."""
        return bool(self.search or self.standing or self.since or self.until)

    def query(self, **changes: object) -> str:
        """Return the query string of this choice with changes; defaults are left out."""
        changed = replace(self, **changes)  # type: ignore[arg-type] # the template passes fields by name
        fields = {name: value for name, value in vars(changed).items() if value != getattr(Choice, name)}
        written = {name: int(value) if isinstance(value, bool) else value for name, value in fields.items()}
        return urlencode(written, doseq=True)


@dataclass(frozen=True)
class Column:
    """A metric of a task."""

    task: str
    metric: str

    @property
    def name(self) -> str:
        """Name of the column in a :class:`Choice`."""
        return f"{self.task}{SEPARATOR}{self.metric}"

    def of(self, run: PastRun) -> Measurement | None:
        """Return a run's value."""
        return run.metrics.get(self.task, {}).get(self.metric)


@dataclass(frozen=True)
class Row:
    """A run with what the registry's record does not hold.

    Attributes
    ----------
    recorded
        When its verdict was recorded, in UTC; None if the store keeps no times.
    link
        Page of the DAG run that made it, within Airflow's UI; None if none did.
    """

    run: PastRun
    recorded: datetime | None
    link: str | None


@dataclass(frozen=True)
class RunTable:
    """The chosen runs.

    Attributes
    ----------
    rows
        The first ``choice.show`` of the ``found`` runs, in the chosen order.
    columns
        The chosen metrics, or the primary metrics of the first ``SHOWN_COLUMNS`` tasks.
    metrics
        All metrics of the newest run.
    standings
        All statuses that runs have.
    """

    choice: Choice
    rows: list[Row]
    found: int
    columns: list[Column]
    metrics: list[Column]
    standings: list[str]


def choose_rows(
    history: History, choice: Choice, recorded: Mapping[RunId, datetime], links: Mapping[str, str]
) -> RunTable:
    """Return the table of a choice.

    Parameters
    ----------
    recorded
        From :func:`mtl_tasks.store.record_times.record_times`.
    links
        From :func:`plugins.model_board.dag_runs.links_by_gate`.
    """
    newest = history.runs[-1].metrics if history.runs else {}
    metrics = [Column(task, name) for task, values in newest.items() for name in in_order(values)]
    primary = [Column(task, in_order(values)[0]) for task, values in newest.items() if values]
    chosen = [column for column in metrics if column.name in choice.column]
    columns = chosen or primary[:SHOWN_COLUMNS]
    rows = [_row(run, recorded, links) for run in history.runs if _fits(run, choice)]
    by_name = {column.name: column for column in metrics}
    ordered = _sorted(rows, choice, by_name.get(choice.sort))
    standings = sorted({run.standing for run in history.runs})
    return RunTable(choice, ordered[: choice.show], len(rows), columns, metrics, standings)


def _row(run: PastRun, recorded: Mapping[RunId, datetime], links: Mapping[str, str]) -> Row:
    gate = run.entry.refs.get("gate")
    return Row(run, recorded.get(run_id(run.entry)), None if gate is None else links.get(gate.key))


def _fits(run: PastRun, choice: Choice) -> bool:
    if choice.standing and run.standing != choice.standing:
        return False
    if (choice.since and run.entry.as_of < choice.since) or (choice.until and run.entry.as_of > choice.until):
        return False
    text = f"{run.entry.run_key} {run.entry.as_of} {run.standing} {run.why}".casefold()
    return choice.search.casefold() in text


def _sorted(rows: list[Row], choice: Choice, column: Column | None) -> list[Row]:
    """Return the rows in the chosen order; equal ones by date, and those without the value last."""
    newest_first = sorted(rows, key=lambda row: row.run.entry.as_of, reverse=not choice.ascending)
    if column is None and choice.sort != BY_TIME:
        return newest_first
    values = {id(row): _value(row, column) for row in rows}
    there = [row for row in newest_first if values[id(row)] is not None]
    there.sort(key=lambda row: values[id(row)] or 0.0, reverse=not choice.ascending)
    return there + [row for row in newest_first if values[id(row)] is None]


def _value(row: Row, column: Column | None) -> float | None:
    if column is None:
        return None if row.recorded is None else row.recorded.timestamp()
    found = column.of(row.run)
    return None if found is None else found.value


def title_of(column: Column) -> str:
    """Return a column's heading.

    >>> title_of(Column("rating", "rmse"))
    'rating: RMSE ↓'
    """
    return f"{column.task}: {metric(column.metric).heading}"
