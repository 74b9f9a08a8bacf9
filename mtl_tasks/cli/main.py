"""The command line, `mtl`: it parses arguments, calls the pipeline, and shows the result."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtl_tasks import __version__
from mtl_tasks.cli import compress as compression_commands
from mtl_tasks.cli import estimate as estimate_commands
from mtl_tasks.cli import export as export_commands
from mtl_tasks.cli import forget as erasure_commands
from mtl_tasks.cli import registry as registry_commands
from mtl_tasks.cli import tune as tune_commands
from mtl_tasks.cli.options import (
    AsJson,
    AsOfText,
    Force,
    Root,
    ScenarioName,
    Settings,
    StoreUri,
    Verbose,
    console,
    enter,
    now,
    parse_as_of,
    print_json,
    store_key,
    today,
)
from mtl_tasks.cli.output import present, stdout_kept_clean
from mtl_tasks.core.errors import MtlError
from mtl_tasks.core.program import PROGRAM

# Heavy imports are inside the commands, so that `--help` answers in well under a second.
if TYPE_CHECKING:
    from mtl_tasks.pipeline.past_runs import PastRun
    from mtl_tasks.store.artifacts import Store

FinishedRun = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="The key of a run, or its first digits; else the newest one of --as-of."),
]

_OVERVIEW = (
    "Train, judge and publish a multi-task recommender.\n\n"
    "A run is a pure function of the scenario (a file in include/scenarios), the events before --as-of, and the code. "
    "Finished stages are reused, so running the same command again is harmless and quick."
)
_EXAMPLES = f"""
[bold]Examples[/bold]

  {PROGRAM} run movies --as-of 2013-08-25

  {PROGRAM} run movies --as-of 2013-08-25 --set windows.train=28

  {PROGRAM} run movies --as-of 2013-08-25 --json | jq .verdict

  {PROGRAM} show movies --as-of 2013-08-25

  {PROGRAM} explain movies --as-of 2013-08-25 --user 2 --item 770828

  {PROGRAM} data-docs movies --as-of 2013-08-25 --out expectations

  {PROGRAM} registry list movies

  {PROGRAM} compress movies --run 4f2a --budget 0.25

  {PROGRAM} export movies --run 4f2a --out bundle

  {PROGRAM} estimate movies --workers 4 --rows 10000000

  {PROGRAM} forget movies --user 4711

  {PROGRAM} tune movies --as-of 2013-08-25 --trials 25

  {PROGRAM} simulate --users 1000 --items 400 --days 63 --events 200000 --out .simulated/ecommerce

[bold]Exit codes[/bold]

  0    done; a rejected candidate is a result, not an error

  1    `check` found a problem, or an internal error

  2    bad input

  130  interrupted
"""

app = typer.Typer(
    name="mtl_tasks",
    help=_OVERVIEW,
    epilog=_EXAMPLES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mtl-tasks {__version__}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    scenario: ScenarioName,
    as_of: AsOfText = None,
    store: StoreUri = ".store",
    settings: Settings = None,
    force: Force = False,
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Run every stage of a scenario, and show the verdict with what led to it."""
    overrides = enter(root, verbose, settings)
    from rich.console import Console

    from mtl_tasks.cli.progress import StageProgress, past_seconds

    with StageProgress(Console(stderr=True, highlight=False)).shown() as progress, stdout_kept_clean():
        from mtl_tasks.pipeline.local import make_run, run_pipeline
        from mtl_tasks.pipeline.origin import COMMAND_LINE, find_origin, user_name
        from mtl_tasks.scenario import load_scenario

        load_scenario(scenario, dict(overrides))  # a wrong name is reported before a wrong date
        token = now().isoformat() if force else None
        origin = find_origin(COMMAND_LINE, user_name())
        asked = make_run(scenario, parse_as_of(as_of), overrides, store, force=token, key=store_key(), origin=origin)
        progress.expect(past_seconds(asked.store, scenario))
        document = run_pipeline(asked, progress, overrides)
    present(document, as_json, verbose=verbose)


@app.command()
def show(
    scenario: ScenarioName,
    as_of: AsOfText = None,
    run: FinishedRun = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Show a finished run again, as the registry has it; nothing is computed."""
    enter(root, verbose, None)
    with stdout_kept_clean():
        from mtl_tasks.pipeline.past_documents import shown_document

        document = shown_document(*_chosen(scenario, as_of, run, store))
    present(document, as_json, verbose=verbose)


@app.command()
def explain(
    scenario: ScenarioName,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="A user of the log, or a new one.")],
    item: Annotated[str, typer.Option("--item", metavar="ID", help="An item of the log.")],
    as_of: AsOfText = None,
    run: FinishedRun = None,
    store: StoreUri = ".store",
    top: Annotated[int, typer.Option("--top", min=1, help="Number of features to name for each task.")] = 8,
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Explain the predictions of a finished run for one user and one item; nothing is trained."""
    enter(root, verbose, None)
    with stdout_kept_clean():
        from mtl_tasks.pipeline.explore import explain_pair

        opened, found = _chosen(scenario, as_of, run, store)
        explanation = explain_pair(opened, found.entry, user, item, top)
    if as_json:
        print_json(explanation.to_json())
        return
    from mtl_tasks.report.terminal_explanation import print_explanation

    print_explanation(explanation, console())


@app.command(name="data-docs")
def write_data_docs(
    scenario: ScenarioName,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The project is FOLDER/gx; one that is there is updated.")
    ],
    as_of: AsOfText = None,
    run: FinishedRun = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Write the expectations of a run's log and their results as a Great Expectations project with Data Docs."""
    enter(root, verbose, None)
    with stdout_kept_clean():
        from mtl_tasks.pipeline.data_docs import write_data_docs

        opened, found = _chosen(scenario, as_of, run, store)
        made = write_data_docs(opened, found.entry, out)
    if as_json:
        print_json({"page": str(made.page), "run_key": found.entry.run_key, "expectations": made.expectations})
        return
    typer.echo(f"{made.page}: {made.expectations} expectations of run {found.entry.run_key[:12]}")


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The scenario's name: lowercase letters, digits, _.")],
    events: Annotated[str, typer.Option("--events", metavar="PATH", help="The log: a file, or a folder of dt=… days.")],
    items: Annotated[str | None, typer.Option("--items", metavar="PATH", help="A table of item attributes.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="COLUMN", help="The column's name; guessed by default.")
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", metavar="COLUMN", help="The column's name; guessed by default.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="The column's name; guessed by default.")
    ] = None,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Draft a scenario from a log: include/scenarios/NAME.yaml, in which every guess is marked with its reason."""
    enter(root, verbose, None)
    from mtl_tasks.onboarding.draft import Chosen, write_draft

    path = write_draft(name, events, items, Chosen(user, item, time))
    typer.echo(f"{path}: written; correct its guesses, then: {PROGRAM} check {name}")


@app.command()
def check(
    scenario: ScenarioName,
    as_of: AsOfText = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1000, help="Maximum number of rows of the log to read.")
    ] = 1_000_000,
    store: StoreUri = ".store",
    settings: Settings = None,
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Read a scenario and a part of its log, and report everything that would stop a run; exit code 1 if anything does.

    Without --as-of the day after the newest event is taken, or today if the log has later events.
    """
    overrides = enter(root, verbose, settings)
    with stdout_kept_clean():
        from mtl_tasks.onboarding.check import inspect
        from mtl_tasks.scenario import load_scenario
        from mtl_tasks.store.artifacts import Store

        asked = load_scenario(scenario, overrides)
        day = None if as_of is None else parse_as_of(as_of).timestamp
        found = inspect(asked, day, ".", sample, os.environ, Store(store, store_key()), today().timestamp)
    if as_json:
        print_json(found.to_json())
    else:
        from mtl_tasks.cli.check_tables import print_inspection

        print_inspection(found, asked, console())
    if not found.ready:
        raise typer.Exit(1)


@app.command(name="simulate")
def simulate_log(
    users: Annotated[int, typer.Option("--users", metavar="N", help="Number of users.")],
    items: Annotated[int, typer.Option("--items", metavar="M", help="Number of items.")],
    days: Annotated[int, typer.Option("--days", metavar="D", help="Number of days, starting on 2024-01-01.")],
    events: Annotated[
        int, typer.Option("--events", metavar="E", help="Total number of exposures; exact over whole weeks.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="An empty folder, or a new one.")],
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="The same seed gives the same files.")] = 1,
    correlation: Annotated[
        float,
        typer.Option("--correlation", help="Correlation of what drives purchases and what drives ratings, -1 to 1."),
    ] = 0.5,
    noise: Annotated[float, typer.Option("--noise", help="Scale of the randomness in what users do.")] = 1.0,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Simulate a shop: write its log, and the predictions of a perfect model beside it."""
    enter(root, verbose, None)
    from mtl_tasks.simulation import Settings, describe, simulate

    simulate(Settings(users, items, days, events, seed, correlation, noise), out)
    typer.echo(describe(out))


# `--help` lists the commands in this order, those of a first run first.
app.command()(tune_commands.tune)
app.command()(compression_commands.compress)
app.command()(export_commands.export)
app.command()(estimate_commands.estimate)
app.command()(erasure_commands.forget)
app.add_typer(registry_commands.app, name="registry")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; user errors become one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(given or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except MtlError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)  # only errors of usage have one
        command = PROGRAM if context is None else context.command_path
        return _refuse(f"{error.format_message()} (see {command} --help)")
    return code if isinstance(code, int) else 0


def _refuse(message: str) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


def _chosen(scenario: str, as_of: str | None, run: str | None, store: str) -> tuple[Store, PastRun]:
    """Find a finished run by its registry record; the current content of the scenario's file does not matter."""
    from mtl_tasks.pipeline.past_runs import choose_run, stored_scenarios
    from mtl_tasks.scenario import load_scenario
    from mtl_tasks.store.artifacts import Store

    opened = Store(store, store_key())
    if scenario not in stored_scenarios(opened):
        load_scenario(scenario)  # a misspelled name would otherwise be a scenario without runs
    day = None if as_of is None else parse_as_of(as_of).iso
    found, of_day = choose_run(opened, scenario, day, run)
    if of_day > 1:
        which = "the newest" if run is None else "the one asked for"
        typer.echo(
            f"note: {of_day} runs of {scenario} are as of {found.entry.as_of}; this is {which}, "
            f"{found.entry.run_key[:12]} ({PROGRAM} registry list {scenario} shows all, --run chooses one)",
            err=True,
        )
    return opened, found
