"""Terminal tables of the findings of ``check``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtl_tasks.core.program import PROGRAM
from mtl_tasks.onboarding.check import Inspection
from mtl_tasks.onboarding.profile import Profile
from mtl_tasks.report import labels
from mtl_tasks.scenario import Scenario

_MOST_UNUSED: Final = 12
_WIDTH: Final = 16  # of a timestamp to the minute


def print_inspection(found: Inspection, scenario: Scenario, console: Console) -> None:
    """Print the findings, laid out for 100 columns."""
    when = "" if found.as_of is None else f", as of {found.as_of}"
    _say(console, f"\n{scenario.title}", "bold")
    _say(console, f"{scenario.file}{when}; read {found.read} of {scenario.source.log}", "dim")
    if found.columns:
        _say(console, "\nColumns", "bold")
        console.print(_columns(found))
    if found.unused:
        more = ", …" if len(found.unused) > _MOST_UNUSED else ""
        _say(console, f"Not named in the scenario: {', '.join(found.unused[:_MOST_UNUSED])}{more}", "dim")
    if found.windows:
        _say(console, f"\nWindows{'' if found.complete else ', of the rows that were read'}", "bold")
        console.print(_windows(found.windows))
        console.print()
        console.print(_labels(found.windows, scenario.tasks))
    _print_verdict(found, console)


def _print_verdict(found: Inspection, console: Console) -> None:
    console.print()
    for note in dict.fromkeys(found.notes):
        console.print(Text("  ! ", style="yellow").append(note, style="default"), soft_wrap=True)
    for problem in found.problems:
        console.print(Text("  ✗ ", style="red").append(problem, style="default"), soft_wrap=True)
    if found.ready:
        as_of = "" if found.as_of is None else f" --as-of {found.as_of}"
        _say(console, f"ready: {PROGRAM} run {found.scenario}{as_of}", "bold green")
    else:
        count = len(found.problems)
        _say(console, f"not ready: {count} problem{'s' * (count > 1)}", "bold red")


def _columns(found: Inspection) -> Table:
    table = _table()
    table.add_column("what", no_wrap=True)
    table.add_column("column", max_width=20, overflow="fold")
    table.add_column("type", no_wrap=True)
    for title in ("nulls", "distinct"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("from", "to"):
        table.add_column(title, no_wrap=True)
    for mapped in found.columns:
        one = mapped.found
        what = re.sub(
            r"^source\.columns\.|^source\.|^tasks\.|\.(numeric|categorical|multi|times)|\.label$", "", mapped.key
        )
        span = [_short(value) for value in (one.low, one.high)]
        cells = (what, one.name, _type(one.type), _share(one), labels.count(one.distinct), *span)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _type(name: str) -> str:
    """Return a type in the words of the scenario guide: a time's zone matters, its unit does not."""
    time = re.fullmatch(r"timestamp\[\w+(?:, tz=(.+))?\]", name)
    if time is None:
        return name.removeprefix("large_")
    return "time, no zone" if time[1] is None else f"time {time[1]}"


def _short(value: str | None) -> str:
    if value is None:
        return "–"
    if re.match(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}", value):
        return value[:_WIDTH]
    return value if len(value) <= _WIDTH else f"{value[: _WIDTH - 1]}…"


def _share(one: Profile) -> str:
    return "none" if one.nulls == 0 else labels.percent(one.nulls)


def _windows(windows: dict[str, Any]) -> Table:
    table = _table()
    for title in ("window", "first day", "last day", "rows"):
        table.add_column(title, justify="right" if title == "rows" else "left", no_wrap=True)
    for window, entry in windows.items():
        table.add_row(window, entry["first"], entry["last"], labels.count(entry["rows"]))
    return table


def _labels(windows: dict[str, Any], tasks: Iterable[str]) -> Table:
    """Return the table of label statistics: one row per task, one column per window."""
    judged = [window for window, entry in windows.items() if entry["tasks"]]
    table = _table()
    table.add_column("labels", no_wrap=True)
    for window in judged:
        table.add_column(window, justify="right")
    for task in tasks:
        table.add_row(task, *(_label(windows[window]["tasks"][task]) for window in judged))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _label(task: dict[str, Any]) -> str:
    """Format the rate of positives, or the mean, and the number of labels."""
    labeled = task["labelled"]
    if not labeled:
        return "no label"
    shown = labels.percent(task["positives"] / labeled) if "positives" in task else f"mean {task['mean']:.4g}"
    return f"{shown} of {labels.count(labeled)}{_sampled(task)}"


def _sampled(task: dict[str, Any]) -> str:
    """Format the negatives drawn for each positive, where the log has none."""
    if task.get("negatives_per_positive") is None:
        return ""
    repeated = task["repeated_negatives"]
    return f", {task['negatives_per_positive']:g} drawn for each" + (
        f", {repeated:,} of them repeats" if repeated else ""
    )


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
