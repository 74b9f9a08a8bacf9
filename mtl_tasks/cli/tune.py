"""The command `mtl tune`: search for better settings of a scenario, and propose a change of its file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtl_tasks.cli.options import (
    AsJson,
    Root,
    ScenarioName,
    StoreUri,
    Verbose,
    console,
    enter,
    parse_as_of,
    print_json,
    store_key,
)

if TYPE_CHECKING:  # imported inside the command, so that `--help` is fast
    import optuna
    from rich.console import Console


def tune(
    scenario: ScenarioName,
    trials: Annotated[
        int,
        typer.Option(
            "--trials",
            metavar="N",
            min=1,
            help="Total number of finished trials; the first has the scenario's own settings.",
        ),
    ],
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            "--as-of",
            metavar="YYYY-MM-DD",
            help="The study sees the blend window of a run as of this day, never its test window. Repeatable.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            envvar="MTL_TUNING_STORAGE",
            help="A database for the trials, such as postgresql+psycopg://…",
            show_default="a journal in the store",
        ),
    ] = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Search for better settings of the boosted members, and propose a change of the scenario file if they gain.

    Settings are chosen on one half of the users, in the blend window, and the gain is confirmed on the other half.

    The same command continues an interrupted study; a larger number of trials extends it.
    """
    enter(root, verbose, None)
    from rich.console import Console

    from mtl_tasks.cli.progress import StageProgress
    from mtl_tasks.scenario import load_scenario

    asked = load_scenario(scenario)  # a wrong name is reported before a wrong date
    days = [parse_as_of(day) for day in as_of] if as_of else [parse_as_of(None)]
    shown = Console(stderr=True, highlight=False)
    with contextlib.redirect_stdout(sys.stderr):
        from mtl_tasks.pipeline.tuning.prepare import prepare_study, run_trials
        from mtl_tasks.pipeline.tuning.result import conclude
        from mtl_tasks.store.artifacts import Store

        with StageProgress(shown).shown() as progress:
            opened = prepare_study(asked, days, trials, Store(store, store_key()), storage, progress)
        if opened.spec.others:
            typer.echo(
                f"note: {len(opened.spec.others)} other studies of {scenario} are in the store, of other settings, "
                f"code, days or data; this is {opened.spec.name}",
                err=True,
            )
        run_trials(opened, _TrialLines(shown, trials))
        result = conclude(opened)
    if as_json:
        print_json(result.to_stored())
        return
    from mtl_tasks.cli.tune_tables import print_result

    print_result(result, console())


class _TrialLines:
    """Prints a line for each finished trial."""

    def __init__(self, console: Console, trials: int) -> None:
        self._console, self._trials = console, trials

    def __call__(self, trial: optuna.trial.FrozenTrial, finished: int, best: float) -> None:
        from mtl_tasks.tuning.study import CPU, value_text

        self._console.print(
            f"trial {finished:>3} of {self._trials}  {value_text(trial):>8}  best {best:.5f}  "
            f"{trial.user_attrs.get(CPU, 0.0):8.1f} CPU s"
        )
