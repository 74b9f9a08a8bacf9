"""All tables of a finished run, for the terminal: models, fusion, rankers, drift, stages, sample users."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtl_tasks.report import labels
from mtl_tasks.report.document import FLOOR, FUSION, RunDocument
from mtl_tasks.report.order import order_of
from mtl_tasks.report.terminal_tables import plain_table, say, say_wrapped, show
from mtl_tasks.store.documents.data import StageUsage
from mtl_tasks.store.documents.drift import Drift
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.origin import Origin

_STYLES = {"better": "green", "worse": "red"}
_USER_WIDTH = 30
_MOST_FIGURES = 5
LIST_METRICS: Final = ("ndcg", "recall", "hit_rate", "coverage")  # the report has all


def print_details(document: RunDocument, console: Console) -> None:
    """Print everything that the summary leaves out, as tables that fit 100 columns."""
    scenario, ranking = document.scenario, document.evaluation.ranking
    if document.origin is not None:
        say(console, f"\n{_origin(document.origin)}", style="dim")
    for task, evaluation in document.evaluation.tasks.items():
        title = f"{task} ({scenario.tasks[task].described}, {labels.count(evaluation.rows)} test rows)"
        show(console, title, _metrics(document, task))
    note = f"In parentheses: gain over the {FLOOR} floor, positive is better; * its 95 % interval excludes 0."
    say(console, note, style="dim")
    show(console, "Fusion", _fusion(document))
    show(console, f"Top-{ranking.k} recommendations ({labels.users(ranking)})", _ranking(document))
    say(console, f"± half the 95 % interval. {_unreachable(document)}", style="dim")
    say(console, _candidates(document), style="dim")
    if document.drift is not None:
        _print_drift(document.drift, console)
    show(console, "Stages", _stages(document.stages))
    if document.sample:
        since = "" if document.accepted else f", made before the run was: {document.outcome}"
        show(console, f"Recommendations{since}", _users(document))
        say_wrapped(console, order_of(document), style="dim")


def _origin(origin: Origin) -> str:
    commit = "" if origin.commit is None else f"; commit {origin.commit[:12]}"
    return f"Started by {origin.who}{commit}{' with local changes' if origin.local_changes else ''}."


def _metrics(document: RunDocument, task: str) -> Table:
    versus_floor, models = document.evaluation.tasks[task].versus_floor, document.models(task)
    table = plain_table()
    table.add_column("model", no_wrap=True)
    names = labels.in_order(models[FLOOR])
    for name in names:
        table.add_column(labels.metric(name).heading, justify="right", no_wrap=True)
    best = {name: labels.best(models, name) for name in names}
    for model, metrics in models.items():
        gains = versus_floor.get(model, {}) if model != FLOOR else {}
        cells = [_cell(name, metrics.get(name), gains.get(name), model in best[name]) for name in names]
        table.add_row(model, *cells, style="bold" if model == FUSION else "")
    return table


def _cell(name: str, metric: Measurement | None, gain: Measurement | None, is_best: bool) -> Text:
    digits = labels.metric(name).digits
    text = Text(labels.number(metric.value if metric else None, digits), style="bold" if is_best else "")
    if gain is not None and gain.value is not None:
        standing = labels.stands(gain)
        mark = "*" if standing in _STYLES else " "
        text.append(f" ({labels.signed(gain.value, digits)}){mark}", style=f"not bold {_STYLES.get(standing, 'dim')}")
    else:
        text.append(" " * (len(labels.signed(0, digits)) + 4))
    return text


def _fusion(document: RunDocument) -> Table:
    table = plain_table()
    table.add_column("task", no_wrap=True)
    table.add_column("method")
    table.add_column("weights")
    table.add_column("blend loss", justify="right")
    table.add_column("calibration")
    for task, fusion in document.fusion.items():
        weights = sorted(document.weights(task).items(), key=lambda pair: -pair[1])
        # Only members with a weight are named: a column per member would not fit.
        shown = [f"{labels.number(weight, 2)} {member}" for member, weight in weights if weight > 0]
        loss = labels.number(fusion.blend_loss.get(fusion.candidate))
        table.add_row(task, fusion.method, ", ".join(shown) or "–", loss, fusion.calibration.kind)
    return table


def _ranking(document: RunDocument) -> Table:
    ranking = document.evaluation.ranking
    table = plain_table()
    table.add_column("ranker", no_wrap=True)
    lists = labels.best_first(ranking.by_ranker, "ndcg")
    names = [name for name in LIST_METRICS if name in next(iter(lists.values()), {})]
    for name in names:
        table.add_column(labels.metric(name).heading, justify="right", no_wrap=True)
    best = {name: labels.best(lists, name) for name in names}
    for title, metrics in lists.items():
        cells = [_estimate(metrics.get(name), title in best[name]) for name in names]
        table.add_row(labels.list_title(title), *cells, style="bold" if title == ranking.published else "")
    return table


def _estimate(metric: Measurement | None, is_best: bool) -> Text:
    digits = 3
    text = Text(labels.number(metric.value if metric else None, digits), style="bold" if is_best else "")
    if metric is not None and metric.half_width is not None:
        text.append(f" ±{labels.number(metric.half_width, digits)}", style="not bold dim")
    return text


def _unreachable(document: RunDocument) -> str:
    share = document.evaluation.ranking.unreachable
    return f"{labels.percent(share)} of the items they took were not in the log before the test window."


def _candidates(document: RunDocument) -> str:
    ranking = document.evaluation.ranking
    return (
        f"{labels.percent(ranking.candidate_recall)} of what they took were among the candidates, "
        f"{ranking.candidates_per_user:.0f} per user."
    )


def _print_drift(drift: Drift, console: Console) -> None:
    champion = drift.champion
    if champion is None:
        say(console, "\nDrift: no champion to compare with.", style="dim")
    elif champion.problem is not None:
        why = f"the champion of {champion.as_of} cannot be compared with: {champion.problem}."
        say(console, f"\nDrift: {why}", style="dim")
    else:
        table = plain_table()
        for heading in ("of", "furthest"):
            table.add_column(heading)
        for heading in ("PSI", "by chance"):
            table.add_column(heading, justify="right")
        for group, shift in {shift.group: shift for shift in reversed(champion.shifts)}.items():
            table.add_row(group, shift.name, labels.number(shift.psi, 3), labels.number(shift.noise, 3))
        show(console, f"Drift since the champion of {champion.as_of}", table)
        little, large = labels.SHIFTED
        say(console, f"Population stability index: below {little} is little, above {large} large.", style="dim")


def _costs(seconds: float, cpu_seconds: float, peak_rss_mb: float) -> tuple[str, str, str]:
    return labels.number(seconds, 1), labels.number(cpu_seconds, 1), labels.count(peak_rss_mb)


def _stages(stages: Sequence[StageUsage]) -> Table:
    table = plain_table()
    table.add_column("stage", no_wrap=True)
    for title in ("seconds", "CPU seconds", "peak MiB"):
        table.add_column(title, justify="right")
    table.add_column("")
    for stage in stages:
        reused = "reused" if stage.reused else ""
        table.add_row(stage.name, *_costs(stage.seconds, stage.cpu_seconds, stage.peak_rss_mb), reused)
    seconds, cpu_seconds = sum(stage.seconds for stage in stages), sum(stage.cpu_seconds for stage in stages)
    peak = max((stage.peak_rss_mb for stage in stages), default=0)
    table.add_section()
    table.add_row("all", *_costs(seconds, cpu_seconds, peak), "", style="bold")
    return table


def _users(document: RunDocument) -> Table:
    table = plain_table()
    columns = _figures(document)
    table.add_column("user", max_width=_USER_WIDTH)
    table.add_column("", justify="right")
    table.add_column("title")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right", min_width=max(map(len, column.split("_"))))
    for user in document.sample:
        table.add_section()
        about = [
            str(user.user_id),
            *textwrap.wrap(f"took {labels.listed(user.history, most=3)}", _USER_WIDTH),
        ]
        rows = user.recommendations
        for place, row in enumerate(rows):
            note = about[place] if place < min(len(about), len(rows)) else ""
            figures = [labels.number(row.figures[column], 2) for column in columns]
            table.add_row(Text(note, style="dim" if place else ""), str(place + 1), Text(row.title), *figures)
    return table


def _figures(document: RunDocument) -> list[str]:
    """Return the columns shown beside a recommendation's title; of many tasks, only those of the utility formula."""
    rows = [row for user in document.sample for row in user.recommendations]
    figures = list(rows[0].figures) if rows else []
    if len(figures) <= _MOST_FIGURES:
        return figures
    ordering = document.scenario.formula.tasks[: _MOST_FIGURES - 1]
    return [key for key in figures if key in ordering or key not in document.scenario.tasks]
