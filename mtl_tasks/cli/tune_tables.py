"""Terminal tables of the result of ``tune``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtl_tasks.report import labels
from mtl_tasks.store.documents.tuning import GainEstimate, TuningResult


def print_result(result: TuningResult, console: Console) -> None:
    """Print the result, laid out for 100 columns."""
    counts = result.trials
    _say(console, f"\n{result.scenario}, as of {', '.join(result.as_of)}, study {result.study}", "bold")
    _say(
        console,
        f"{counts.complete + counts.pruned} trials: {counts.complete} complete, {counts.pruned} pruned"
        f"{f', {counts.failed} failed' if counts.failed else ''}"
        f"{f', {counts.interrupted} interrupted or at work' if counts.interrupted else ''}; "
        f"{labels.duration(result.cpu_seconds)} of CPU time; each fits {', '.join(result.members)}",
        "dim",
    )
    _show(console, "Settings", _settings(result))
    _say(
        console,
        f"Loss on the users that settings are chosen on, 1 is the popularity baseline: {result.shipped_value:.5f} "
        f"shipped, {result.best_value:.5f} best (trial {result.best_trial}).",
        "dim",
    )
    if result.tasks:
        _show(console, "On the other users", _tasks(result))
        _say(console, "± standard error, clustered by user; * the 95 % interval excludes 0.", "dim")
    _say(console, f"\n{result.conclusion}", "bold green" if result.confirmed else "bold")
    if result.diff is not None:
        _say(console, f"\n{result.diff}".rstrip("\n"))


def _settings(result: TuningResult) -> Table:
    table = _table("setting", "searched", "shipped", "best")
    for key, dimension in result.space.items():
        widened = " (widened)" if key in result.widened else ""
        shipped, best = result.shipped[key], result.best[key]
        style = "bold" if shipped != best else ""
        table.add_row(key, f"{_searched(dimension)}{widened}", _value(shipped), Text(_value(best), style=style))
    return table


def _searched(dimension: Mapping[str, Any]) -> str:
    if "choices" in dimension:
        return ", ".join(map(_value, dimension["choices"]))
    ends = f"{_value(dimension['low'])} to {_value(dimension['high'])}"
    return f"{ends}, log" if dimension.get("log") else ends


def _tasks(result: TuningResult) -> Table:
    table = _table("as of", "task", "loss", "shipped", "best", "gain")
    for one in result.tasks:
        cells = (one.as_of, one.task, one.loss, f"{one.shipped:.5f}", f"{one.best:.5f}")
        table.add_row(*cells, Text(_gain(one.gain), style=_style(one.gain)))
    return table


def _gain(gain: GainEstimate) -> str:
    mark = "*" if gain.low > 0 or gain.high < 0 else " "
    return f"{labels.signed(gain.mean, 5)} ± {gain.standard_error:.5f}{mark}"


def _style(gain: GainEstimate) -> str:
    return "green" if gain.low > 0 else "red" if gain.high < 0 else ""


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in ("shipped", "best", "gain") else "left", no_wrap=True)
    return table


def _show(console: Console, title: str, table: Table) -> None:
    _say(console, f"\n{title}", "bold")
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
