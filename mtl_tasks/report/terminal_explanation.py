"""The explanation of a user's predictions for an item, for the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtl_tasks.report import labels
from mtl_tasks.report.terminal_tables import plain_table, say, show
from mtl_tasks.store.documents.explanation import MemberScore, RunExplanation, TaskPrediction


def print_explanation(explanation: RunExplanation, console: Console) -> None:
    """Print the explanation of the predictions for one user and one item."""
    title = f": {explanation.title}" if explanation.title else ""
    new = f" (new user, no event before {explanation.as_of.iso})" if explanation.new_user else ""
    say(console, f"\nUser {explanation.user_id}{new} and item {explanation.item_id}{title}", style="bold")
    run = f"run {explanation.run_key[:12]}"
    say(console, f"{explanation.scenario}, as of {explanation.as_of.iso}, {run}", style="dim")
    for task, predicted in explanation.tasks.items():
        show(console, f"{task}: {_predicted(predicted.prediction, predicted.kind)}", _own_predictions(predicted))
        if predicted.explained is None:
            say(
                console,
                "\nNo member that grows trees has weight here, so there is no breakdown by feature.",
                style="dim",
            )
        else:
            _print_contributions(predicted.explained, predicted.kind, console)


def _print_contributions(explained: MemberScore, kind: str, console: Console) -> None:
    say(console, f"\nContributions to {explained.member}, in {explained.unit}:", style="dim")
    parts = [(part.contribution, labels.with_minus(part.words)) for part in explained.contributions]
    others = explained.others
    if others.features:
        parts.append((others.contribution, f"{others.features} other features"))
    say(console, f"{labels.number(explained.base, 2):>8}  on average")
    for amount, words in parts:
        shown = Text(f"{labels.signed(amount, 2):>8}", style="green" if amount > 0 else "red")
        console.print(shown.append(f"  {words}", style="default"), soft_wrap=True)
    say(console, f"{labels.number(explained.score, 2):>8}  {_in_all(explained.score, kind)}")


def _in_all(score: float, kind: str) -> str:
    return f"in all, that is {labels.percent(1 / (1 + math.exp(-score)))}" if kind == "binary" else "in all"


def _own_predictions(task: TaskPrediction) -> Table:
    table = plain_table()
    table.add_column("member")
    table.add_column("prediction", justify="right")
    table.add_column("weight in the fusion", justify="right")
    for own in sorted(task.members, key=lambda own: -own.weight):
        shown = _predicted(own.prediction, task.kind)
        table.add_row(own.member, shown, labels.number(own.weight, 2), style="" if own.weight else "dim")
    table.add_section()
    how = ", ".join([task.method, *([f"{task.calibration} calibration"] * (task.calibration != "none"))])
    table.add_row("fusion", _predicted(task.prediction, task.kind), how, style="bold")
    return table


def _predicted(value: float, kind: str) -> str:
    return labels.percent(value) if kind == "binary" else labels.number(value, 2)
