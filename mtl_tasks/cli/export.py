"""The command `mtl export`: a finished run as a scoring bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtl_tasks.cli.options import AsJson, Root, ScenarioName, StoreUri, Verbose, enter, print_json, store_key
from mtl_tasks.cli.output import stdout_kept_clean

RunKey = Annotated[str, typer.Option("--run", metavar="RUN", help="The key of a run, or its first digits.")]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="An empty folder, or a new one.")]


def export(
    scenario: ScenarioName,
    run: RunKey,
    out: Out,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
    verbose: Verbose = False,
) -> None:
    """Write the models of a run as a folder that Python scores features with, without this project."""
    enter(root, verbose, None)
    with stdout_kept_clean():
        from mtl_tasks.pipeline.export import export_run
        from mtl_tasks.scenario import load_scenario
        from mtl_tasks.store.artifacts import Store
        from mtl_tasks.store.registry import Registry

        load_scenario(scenario)  # a misspelled name would otherwise be a scenario without runs
        opened = Store(store, store_key())
        snapshot = Registry(opened, scenario).read()
        entry = snapshot.get(run)
        status = snapshot.standing_of(entry)
        if entry not in snapshot.standing:
            typer.echo(f"warning: run {entry.run_key[:12]} as of {entry.as_of} is not promoted ({status})", err=True)
        made = export_run(opened, entry, status, out)
    if as_json:
        print_json({"folder": str(made.folder), "run_key": entry.run_key, "status": status, "files": made.sizes})
        return
    total = sum(made.sizes.values())
    typer.echo(f"{made.folder}: run {entry.run_key[:12]} as of {entry.as_of}, {len(made.sizes)} files, {total:,} bytes")
