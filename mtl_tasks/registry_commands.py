"""The commands `mtl registry …`: which runs there are, which is champion, what people may change."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mtl_tasks.errors import ArtifactError
from mtl_tasks.program import PROGRAM
from mtl_tasks.terminal import AsJson, Root, ScenarioName, StoreUri, console, enter, now, print_json

if TYPE_CHECKING:  # imported inside the commands, so that `--help` is quick
    from mtl_tasks.registry import Entry, Registry, Ruling
    from mtl_tasks.store import Store

app = typer.Typer(
    help="List, check, promote and roll back the runs of a scenario. The registry is only ever added to.",
    no_args_is_help=True,
)

SHOWN_PROBLEMS: Final = 3

RunKey = Annotated[str, typer.Argument(metavar="RUN", help="The key of a run, or enough of its beginning.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the run and shown everywhere.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; by default the user of this shell.")]


@app.command(name="list")
def list_runs(
    scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")
) -> None:
    """Show every run that was judged, the newest as_of last."""
    registry, _ = _open(scenario, store, root)
    champion = registry.champion()
    rows = [_row(entry, registry.rulings(entry.run_key), champion) for entry in registry.entries()]
    if as_json:
        print_json(rows)
        return
    columns = ("as_of", "run", "standing", "why")
    _print_rows(columns, [(r["as_of"], r["run_key"][:12], r["standing"], r["why"]) for r in rows])


@app.command()
def show(
    scenario: ScenarioName, run: RunKey, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")
) -> None:
    """Show one run: its verdict with the reasons, what was ruled since, and its artefacts."""
    registry, _ = _open(scenario, store, root)
    entry = registry.get(run)
    row = _row(entry, registry.rulings(entry.run_key), registry.champion())
    if as_json:
        print_json({**row, "entry": entry.to_json()})
        return
    _print_run(entry, row)


@app.command()
def champion(
    scenario: ScenarioName,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="YYYY-MM-DD", help="The champion that a run of this day met.")
    ] = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
) -> None:
    """Show today's champion, or that of a day in the past."""
    registry, _ = _open(scenario, store, root)
    entry = registry.champion(as_of)
    if entry is None:
        when = "yet" if as_of is None else f"before {as_of}"
        raise ArtifactError(f"{scenario}: no run was promoted {when}: see {PROGRAM} registry list {scenario}")
    row = _row(entry, registry.rulings(entry.run_key), registry.champion())
    if as_json:
        print_json(row)
        return
    _print_run(entry, row)


@app.command()
def costs(scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")) -> None:
    """Show what the newest runs took, by stage: the median of the time, the maximum of the memory."""
    from mtl_tasks.costs import read_costs

    _, opened = _open(scenario, store, root)
    found = read_costs(opened, scenario)
    if as_json:
        print_json(found.to_json())
        return
    typer.echo(f"{scenario}: {found.line()}")
    if found.stages:
        _print_rows(("stage", "time (median)", "memory (peak)"), found.rows())


@app.command()
def promote(
    scenario: ScenarioName,
    run: RunKey,
    reason: Reason,
    by: By = None,
    store: StoreUri = ".store",
    root: Root = Path("."),
) -> None:
    """Promote a run that the gate did not, or that awaits approval; its artefacts are checked first."""
    from mtl_tasks import promotion

    registry, opened = _open(scenario, store, root)
    ruling = promotion.promote(
        registry, opened, run, by=by or getpass.getuser(), reason=reason, at=now().isoformat(timespec="seconds")
    )
    _tell_rulings(registry, [ruling])


@app.command()
def rollback(
    scenario: ScenarioName,
    reason: Reason,
    to: Annotated[
        str | None, typer.Option("--to", metavar="RUN", help="Fall back to this run; by default to the one before.")
    ] = None,
    by: By = None,
    store: StoreUri = ".store",
    root: Root = Path("."),
) -> None:
    """Retire today's champion; the run to fall back to is checked first."""
    from mtl_tasks import promotion

    registry, opened = _open(scenario, store, root)
    rulings, _ = promotion.rollback(
        registry, opened, to, by=by or getpass.getuser(), reason=reason, at=now().isoformat(timespec="seconds")
    )
    _tell_rulings(registry, rulings)


@app.command()
def verify(scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")) -> None:
    """Read all that runs refer to, days too, again and compare it with its hash; exit code 2 if any is damaged."""
    from mtl_tasks.promotion import verify_runs

    registry, opened = _open(scenario, store, root)
    found = verify_runs(registry.entries(), opened)
    if as_json:
        print_json(found)
    else:
        rows = [(key[:12], _in_short(problems) or "sound") for key, problems in found.items()]
        _print_rows(("run", "artefacts"), rows)
    damaged = sum(bool(problems) for problems in found.values())
    if damaged:
        raise ArtifactError(f"{scenario}: {damaged} of {len(found)} runs are damaged; make them again with --force")


def _in_short(problems: list[str]) -> str:
    """A run may refer to hundreds of days."""
    more = len(problems) - SHOWN_PROBLEMS
    return "; ".join([*problems[:SHOWN_PROBLEMS], *([f"and {more:,} more (--json names all)"] * (more > 0))])


@app.command()
def prune(
    scenario: ScenarioName,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=1, help="What is younger, or was reused since, stays in any case.")
    ],
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this it is only listed.")] = False,
    store: StoreUri = ".store",
    root: Root = Path("."),
) -> None:
    """List, and with --delete remove, the artefacts that no run of the registry needs.

    What a run at work has made or reused counts as young. One that reuses something while it is being removed fails;
    started again, it makes that anew.
    """
    from mtl_tasks.pruning import find_removable, remove

    _, opened = _open(scenario, store, root)
    older_than = now() - timedelta(days=keep_days)
    found = find_removable(opened, scenario, older_than.timestamp())
    size = sum(entry.bytes for entry in found) / 1e6
    if delete:
        remove(found)
        typer.echo(f"{scenario}: removed {len(found):,} artefacts, {size:,.1f} MB")
        return
    for entry in found:
        typer.echo(f"{entry.bytes / 1e6:10,.1f} MB  {entry.folder}")
    typer.echo(f"{scenario}: {len(found):,} artefacts, {size:,.1f} MB, are needed by nothing; --delete removes them")


def _open(scenario: str, store: str, root: Path) -> tuple[Registry, Store]:
    enter(root, verbose=False, settings=None)
    from mtl_tasks.registry import Registry
    from mtl_tasks.scenario import load_scenario
    from mtl_tasks.store import Store

    load_scenario(scenario)  # a misspelt name would otherwise be an empty registry
    opened = Store(store)
    return Registry(opened, scenario), opened


def _row(entry: Entry, rulings: list[Ruling], champion: Entry | None) -> dict[str, Any]:
    from mtl_tasks.registry import standing_of

    standing = standing_of(entry, rulings)
    is_champion = entry == champion
    return {
        "as_of": entry.as_of,
        "run_key": entry.run_key,
        "decision": entry.decision,
        "standing": f"{standing}, champion" if is_champion else standing,
        "champion": is_champion,
        "rulings": [ruling.sentence(entry, rulings) for ruling in rulings],
        "why": rulings[-1].sentence(entry, rulings) if rulings else entry.reasons[0],
    }


def _print_run(entry: Entry, row: dict[str, Any]) -> None:
    typer.echo(f"run {entry.run_key} as of {entry.as_of}: {row['standing']}")
    for sentence in [*row["rulings"], *entry.reasons]:
        typer.echo(f"  {sentence}")
    _print_rows(("stage", "artefact"), [(stage, ref.uri) for stage, ref in entry.refs.items()])


def _print_rows(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def _tell_rulings(registry: Registry, rulings: list[Ruling]) -> None:
    for ruling in rulings:
        entry = registry.get(ruling.run_key)
        said = ruling.sentence(entry, registry.rulings(ruling.run_key))
        typer.echo(f"run {ruling.run_key[:12]} as of {ruling.as_of}: {said}")
    champion = registry.champion()
    if champion is not None:
        typer.echo(f"today's champion: run {champion.run_key[:12]} as of {champion.as_of}")
