"""The command `mtl estimate`: time and memory of a run on a number of workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtl_tasks.cli.options import AsJson, Root, ScenarioName, StoreUri, console, enter, print_json, store_key

if TYPE_CHECKING:
    from mtl_tasks.pipeline.estimate import RunEstimate

Workers = Annotated[
    int, typer.Option("--workers", metavar="N", min=1, max=9999, help="Processes that shards of users run on.")
]
Rows = Annotated[
    int | None, typer.Option("--rows", metavar="N", min=1, help="Rows of the log; else those of the newest run.")
]


def estimate(
    scenario: ScenarioName,
    workers: Workers = 1,
    rows: Rows = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
) -> None:
    """Estimate the minutes and the memory of a run, by stage, from what the newest runs took."""
    enter(root, False, None)
    from mtl_tasks.pipeline.estimate import estimate_run
    from mtl_tasks.scenario import load_scenario
    from mtl_tasks.store.artifacts import Store

    load_scenario(scenario)  # a misspelled name would otherwise be a scenario without runs
    made = estimate_run(Store(store, store_key()), scenario, workers, rows)
    if as_json:
        print_json(made.to_json())
        return
    _print(scenario, made)


def _print(scenario: str, made: RunEstimate) -> None:
    from mtl_tasks.report.terminal_tables import plain_table, say_wrapped

    workers = "1 worker" if made.workers == 1 else f"{made.workers} workers"
    runs = "the newest run" if made.runs == 1 else f"the newest {made.runs} runs"
    shown = console()
    say_wrapped(
        shown,
        f"{scenario}: {made.rows:,} rows on {workers}: {made.minutes:.1f} minutes in all stages, and at most "
        f"{made.largest_gib:.1f} GiB. From {runs}, with the days that they reused.",
    )
    table = plain_table()
    for name in ("stage", "minutes", "GiB", "GiB a worker", "basis"):
        table.add_column(name, overflow="fold", justify="left" if name in ("stage", "basis") else "right")
    for name, one in made.stages.items():
        worker = "" if one.worker_gib is None else f"{one.worker_gib:.2f}"
        table.add_row(name, f"{one.minutes:.2f}", f"{one.process_gib:.2f}", worker, one.basis)
    shown.print(table)
