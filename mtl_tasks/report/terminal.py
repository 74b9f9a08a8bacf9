"""The summary of a finished run on one screen of the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtl_tasks.report import labels
from mtl_tasks.report.document import RunDocument
from mtl_tasks.report.overview import SHOWN_RULES, MetricRow, Overview, overview
from mtl_tasks.report.terminal_details import print_details
from mtl_tasks.report.terminal_tables import plain_table, say, say_wrapped, show
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.registry import AWAITING

_STYLES: Final = {"better": "green", "worse": "red"}
_COSTLIEST: Final = 3  # stages that are named
_DIGITS: Final = 4


def print_summary(document: RunDocument, console: Console, *, verbose: bool = False) -> None:
    """Print a finished run on one screen of 100 columns.

    Parameters
    ----------
    verbose
        Whether to print all tables and rules after it.
    """
    scenario, seen = document.scenario, overview(document)
    made = f", made {seen.made}" if seen.made else ""
    say(console, f"\n{scenario.title}", style="bold")
    say(console, f"{scenario.name}, as of {document.as_of}, run {document.run_key[:12]}{made}", style="dim")
    _print_verdict(document, seen, console, all_rules=verbose)
    show(console, "On the test window", _measured(seen))
    say_wrapped(console, _reading(document, seen), style="dim")
    _print_lists(document, console)
    _print_drift_line(document, console)
    if changed := _changed(document):
        say_wrapped(console, changed)
    for line in _cost(document, seen):
        say_wrapped(console, line)
    if verbose:
        print_details(document, console)
    say(console, f"\nReport: {document.report}")
    if not verbose:
        say(console, "--verbose prints all tables.", style="dim")


def _print_verdict(document: RunDocument, seen: Overview, console: Console, *, all_rules: bool) -> None:
    """Print the decision, the failed rules, and the passed ones if they are few."""
    verdict, accepted = document.verdict, document.accepted
    notes = [
        f"{verdict.passed} of {len(verdict.rules)} rules passed",
        *(["dry run, nothing is promoted"] if verdict.mode == "dry_run" else []),
        *(["first run, no champion yet"] if verdict.first else []),
    ]
    color = "green" if accepted else "yellow" if document.outcome == AWAITING else "red"
    heading = Text.assemble("\n", (document.outcome.upper(), f"bold {color}"))
    console.print(heading.append(f"  ({'; '.join(notes)})", style="dim"), soft_wrap=True)
    for ruling in document.rulings:
        say(console, f"  {ruling}", style="bold")
    for warning in verdict.warnings:
        say(console, f"  {warning}", style="bold yellow")
    rows = [*seen.failed, *seen.passed, *seen.further]
    shown = [row for row in rows if all_rules or len(rows) <= SHOWN_RULES or not row.passed]
    lines = [(row.passed, row.sentence) for row in shown]
    for passed, sentence in lines if rows else [(accepted, reason) for reason in verdict.reasons]:
        mark, style = ("  ✓ ", "green") if passed else ("  ✗ ", "red")
        say_wrapped(console, sentence, mark=mark, mark_style=style)


def _measured(seen: Overview) -> Table:
    """Return one table of the tasks and of the recommendations, beside floor and champion."""
    table = plain_table()
    table.add_column("", no_wrap=True)
    for title in ("metric", "this run", "gain over the floor"):
        table.add_column(title, no_wrap=True, justify="left" if title == "metric" else "right")
    if seen.paired:
        table.add_column("champion", no_wrap=True, justify="right")
        table.add_column("gain over it", no_wrap=True, justify="right")
    before = ""
    for row in seen.metrics:
        cells: list[str | Text] = [
            row.group if row.group != before else "",
            row.shown.heading,
            _value(row.own),
            _gain(row.over_floor),
        ]
        table.add_row(*cells, *(_beside(row) if seen.paired else ()))
        before = row.group
    return table


def _beside(row: MetricRow) -> tuple[str | Text, str | Text]:
    if row.versus is None:
        return "–", "–"
    return labels.number(row.versus.champion, _DIGITS), _gain(row.versus.gain)


def _value(measured: Measurement) -> Text:
    text = Text(labels.number(measured.value, _DIGITS))
    if measured.half_width is not None:
        text.append(f" ±{labels.number(measured.half_width, _DIGITS)}", style="dim")
    return text


def _gain(gain: Measurement | None) -> Text:
    if gain is None or gain.value is None:
        return Text("–", style="dim")
    standing = labels.stands(gain)
    mark = "*" if standing in _STYLES else " "
    return Text(f"{labels.signed(gain.value, _DIGITS)}{mark}", style=_STYLES.get(standing, "dim"))


def _reading(document: RunDocument, seen: Overview) -> str:
    ranking = document.evaluation.ranking
    less = " The first metric of each task." if seen.shortened else ""
    return (
        f"± half the 95 % interval. Gains are paired; positive is better, * the interval excludes 0.{less} "
        f"Lists: the top {ranking.k} of {labels.users(ranking)}."
    )


def _print_lists(document: RunDocument, console: Console) -> None:
    """Print which ranker orders the recommendations and why, or why there are none."""
    rank = document.rank
    if rank is not None:
        title = labels.list_title(rank.chosen)
        ranker = rank.chosen if title == rank.chosen else f"{rank.chosen} ({title})"
        chosen = f"Recommendations ordered by {ranker}: {labels.with_minus(rank.note)}."
        say(console, "")
        say_wrapped(console, chosen, style="yellow" if rank.degraded else "")
    if not document.sample:
        say_wrapped(console, f"Recommendations: none, {document.why_no_lists}.")


def _print_drift_line(document: RunDocument, console: Console) -> None:
    drift = document.drift
    if drift is None:
        return
    champion = drift.champion
    if champion is None:
        say(console, "Drift: no champion to compare with.", style="dim")
    elif champion.problem is not None:
        why = f"the champion of {champion.as_of} cannot be compared with: {champion.problem}."
        say(console, f"Drift: {why}", style="dim")
    elif champion.shifts:
        worst = max(champion.shifts, key=lambda shift: shift.psi)
        size = f"PSI {labels.number(worst.psi, 3)}, {labels.shift_words(worst.psi)}"
        say_wrapped(console, f"Drift since the champion of {champion.as_of}: at most {size} ({worst.name}).")


def _changed(document: RunDocument) -> str:
    """Return how much changed since the champion; empty without one."""
    champion = document.champion
    if champion is None or champion.problem is not None:
        return ""
    counted = Counter(change.kind for change in champion.changes if change.kind in ("setting", "library"))
    parts = [f"{count} {kind if count == 1 else kinds}" for kind, kinds in _PLURALS.items() if (count := counted[kind])]
    parts += [kind for kind in ("code", "data") if any(change.kind == kind for change in champion.changes)]
    return f"Changed since the champion of {champion.as_of}: {', '.join(parts) or 'nothing'}."


_PLURALS: Final = {"setting": "settings", "library": "libraries"}


def _cost(document: RunDocument, seen: Overview) -> tuple[str, str]:
    """Return time, CPU time and memory of the run, with its costliest stages."""
    costliest = sorted(document.stages, key=lambda stage: -stage.seconds)[:_COSTLIEST]
    named = ", ".join(f"{stage.name} {labels.duration(stage.seconds)}" for stage in costliest)
    cpu, memory = labels.duration(seen.cpu_seconds), labels.memory(seen.peak_mb)
    return f"Cost: {labels.duration(seen.seconds)} in all stages, {cpu} of CPU, at most {memory}.", f"Longest: {named}."
