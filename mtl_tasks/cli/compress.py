"""The command `mtl compress`: the frontier of smaller models of a finished run, and the run of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mtl_tasks.cli.options import AsJson, Root, ScenarioName, StoreUri, Verbose, console, enter, print_json, store_key
from mtl_tasks.cli.output import present, stdout_kept_clean

if TYPE_CHECKING:  # imported inside the command, so that `--help` is fast
    from mtl_tasks.pipeline.compress import Frontier

WINDOWS: Final = ("blend", "test")  # test has the chosen model and the teacher only
TeacherKey = Annotated[
    str, typer.Option("--run", metavar="RUN", help="The key of the promoted run to compress, or its first digits.")
]
Budget = Annotated[
    float, typer.Option("--budget", metavar="SHARE", help="Largest cost of a scored row, as a share of the run's.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the frontier and the choice; make no run of the chosen model.")
]


def compress(
    scenario: ScenarioName,
    run: TeacherKey,
    budget: Budget = 0.25,
    dry_run: DryRun = False,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Choose a smaller model of a promoted run, and run it as a run of its own that the gate compares with that run."""
    enter(root, verbose, None)
    from rich.console import Console

    from mtl_tasks.cli.progress import StageProgress, past_seconds

    with StageProgress(Console(stderr=True, highlight=False)).shown() as progress, stdout_kept_clean():
        from mtl_tasks.pipeline.compress import compressed_run, find_frontier
        from mtl_tasks.pipeline.local import run_pipeline
        from mtl_tasks.pipeline.origin import COMMAND_LINE, find_origin, user_name
        from mtl_tasks.pipeline.past_documents import overrides_of
        from mtl_tasks.scenario import load_scenario
        from mtl_tasks.store.artifacts import Store
        from mtl_tasks.store.registry import Registry

        load_scenario(scenario)  # a misspelled name would otherwise be a scenario without runs
        opened = Store(store, store_key())
        entry = Registry(opened, scenario).get(run)
        frontier = find_frontier(opened, entry, budget)
        document = None
        if not dry_run:
            progress.expect(past_seconds(opened, scenario))
            settings = {**overrides_of(opened, entry), **frontier.chosen.settings}
            origin = find_origin(COMMAND_LINE, user_name())
            compressed = replace(compressed_run(opened, entry, frontier.chosen), origin=origin)
            document = run_pipeline(compressed, progress, settings)
    if as_json:
        print_json({**frontier.to_json(), "run": None if document is None else document.to_json()})
        return
    _print_frontier(frontier)
    if document is not None:
        present(document, as_json, verbose=verbose)


def _print_frontier(frontier: Frontier) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = frontier.to_json()
    title = f"Smaller models of run {shown['teacher'][:12]} as of {shown['as_of']}, paired with it on blend and test"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    tasks = list(frontier.judge.scenario.tasks)
    for column in ("model", "cost", "trees", "CPU s / M rows", *(f"{task}, blend | test" for task in tasks)):
        table.add_column(column, overflow="fold", justify="left" if column == "model" else "right")
    for point in shown["points"]:
        name = f"{point['name']} (chosen)" if point["name"] == shown["chosen"] else point["name"]
        cost = (f"{point['ratio']:.3f}", f"{point['trees']:,}", f"{point['cpu_seconds_per_million']:.1f}")
        found = point["tasks"]
        cells = [" | ".join(_gain(found[name][task]) if name in found else "" for name in WINDOWS) for task in tasks]
        table.add_row(*(Text(cell) for cell in (name, *cost, *cells)))
    console().print(table)
    settings = " ".join(f"--set {key}={_value(value)}" for key, value in shown["settings"].items())
    typer.echo(f"chosen within a budget of {frontier.budget:g}: {shown['chosen']} ({settings})")


def _gain(found: Mapping[str, Any]) -> str:
    gain, low, high = (found["gain"][part] for part in ("value", "low", "high"))
    if gain is None:
        return "–"
    half = "" if low is None or high is None else f" ± {(high - low) / 2:.4f}"
    return f"{gain:+.4f}{half}".replace("-", "−")


def _value(value: Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)
