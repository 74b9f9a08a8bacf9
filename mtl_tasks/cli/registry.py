"""The commands `mtl registry …`: list, check, promote and roll back runs."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mtl_tasks.cli.options import AsJson, Root, ScenarioName, StoreUri, console, enter, now, print_json, store_key
from mtl_tasks.cli.servers import follow_registry
from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.pipeline.verdict_reasons import deciding_reason

if TYPE_CHECKING:  # imported inside the commands, so that `--help` is fast
    from mtl_tasks.store.artifacts import Store
    from mtl_tasks.store.registry import Decision, Registry, RunRecord, Snapshot

app = typer.Typer(
    help="List, check, promote and roll back the runs of a scenario. The registry is append-only.",
    no_args_is_help=True,
)

SHOWN_PROBLEMS: Final = 3

RunKey = Annotated[str, typer.Argument(metavar="RUN", help="The key of a run, or its first digits.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the run and shown everywhere.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; by default the user of this shell.")]


@app.command(name="list")
def list_runs(
    scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")
) -> None:
    """Show every run with a verdict, the newest as_of last, and the quarantined records."""
    registry, _ = _open(scenario, store, root)
    snapshot = registry.read()
    champion = snapshot.standing[-1] if snapshot.standing else None
    rows = [_row(entry, snapshot, champion) for entry in snapshot.entries]
    if as_json:
        print_json(rows)
        return
    columns = ("as_of", "run", "standing", "why")
    _print_rows(columns, [(r["as_of"], r["run_key"][:12], r["standing"], r["why"]) for r in rows])
    for record in snapshot.quarantined:
        typer.echo(record.sentence)
    _print_warnings(snapshot)


@app.command()
def show(
    scenario: ScenarioName, run: RunKey, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")
) -> None:
    """Show one run: its verdict with the reasons, later decisions, and its artifacts."""
    registry, _ = _open(scenario, store, root)
    snapshot = registry.read()
    entry = snapshot.get(run)
    row = _row(entry, snapshot, snapshot.standing[-1] if snapshot.standing else None)
    if as_json:
        print_json({**row, "entry": entry.to_json(), "warnings": snapshot.warnings()})
        return
    _print_run(entry, row)
    _print_warnings(snapshot)


@app.command()
def champion(
    scenario: ScenarioName,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="YYYY-MM-DD", help="The champion that a run of this day was compared with."),
    ] = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
) -> None:
    """Show today's champion, or that of a day in the past."""
    from mtl_tasks.core.days import AsOf

    registry, _ = _open(scenario, store, root)
    snapshot = registry.read()
    day = None if as_of is None else AsOf.parse(as_of).iso
    entry = snapshot.champion(day)
    if entry is None:
        when = "yet" if day is None else f"before {day}"
        raise ArtifactError(f"{scenario}: no run was promoted {when}: see {PROGRAM} registry list {scenario}")
    row = _row(entry, snapshot, snapshot.champion())
    if as_json:
        print_json({**row, "warnings": snapshot.warnings()})
        return
    _print_run(entry, row)
    _print_warnings(snapshot)


@app.command()
def costs(scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")) -> None:
    """Show what the newest runs took, by stage: the median of the time, the maximum of the memory."""
    from mtl_tasks.pipeline.past_documents import run_usages
    from mtl_tasks.store.run_costs import read_costs

    _, opened = _open(scenario, store, root)
    found = read_costs(opened, scenario, run_usages)
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
    """Promote a run that the gate rejected or that awaits approval; its artifacts are checked first."""
    from mtl_tasks.store import promotion

    registry, opened = _open(scenario, store, root)
    ruling = promotion.promote(registry, opened, run, **_attribution(by, reason))
    _print_rulings(registry, [ruling])
    follow_registry(scenario, opened, [ruling.run_key])


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
    from mtl_tasks.store import promotion

    registry, opened = _open(scenario, store, root)
    rulings, _ = promotion.rollback(registry, opened, to, **_attribution(by, reason))
    _print_rulings(registry, rulings)
    follow_registry(scenario, opened, [ruling.run_key for ruling in rulings])


@app.command()
def verify(scenario: ScenarioName, store: StoreUri = ".store", as_json: AsJson = False, root: Root = Path(".")) -> None:
    """Check the hash of every artifact of every run, days included; exit code 2 if any is damaged."""
    from mtl_tasks.store.promotion import verify_runs

    registry, opened = _open(scenario, store, root)
    snapshot = registry.read()
    found = verify_runs(snapshot.entries, opened)
    if as_json:
        print_json(found)
    else:
        rows = [(key[:12], _in_short(problems) or "sound") for key, problems in found.items()]
        _print_rows(("run", "artifacts"), rows)
    damaged = sum(bool(problems) for problems in found.values())
    if damaged:
        raise ArtifactError(
            f"{scenario}: {damaged} of {len(found)} runs are damaged: restore the folders named above from a backup, "
            "or delete them and run those dates again; where the results then differ, run with --force, which makes "
            "runs of their own beside, and roll a damaged champion back"
        )
    for record in snapshot.damaged:
        raise ArtifactError(f"{len(snapshot.damaged)} records of the registry are damaged: {record.why}")


@app.command()
def quarantine(
    scenario: ScenarioName,
    record: Annotated[
        str, typer.Argument(metavar="ENTRY", help="The damaged record, as the warning names it: AS_OF/FILE.")
    ],
    reason: Reason,
    by: By = None,
    store: StoreUri = ".store",
    root: Root = Path("."),
) -> None:
    """Set a damaged record of the registry aside; its bytes are kept, with who did it, when and why."""
    from mtl_tasks.store.registry import QUARANTINED

    registry, opened = _open(scenario, store, root)
    moved = registry.quarantine(record, **_attribution(by, reason))
    typer.echo(moved.sentence)
    snapshot = registry.read()
    waiting = [entry for entry in snapshot.entries if snapshot.standing_of(entry) == QUARANTINED]
    for entry in waiting:
        typer.echo(
            f"run {entry.run_key[:12]} as of {entry.as_of} is not taken as champion until somebody decides: "
            "registry promote"
        )
    _print_champion(snapshot)
    follow_registry(scenario, opened, [entry.run_key for entry in waiting])


def _attribution(by: str | None, reason: str) -> dict[str, str]:
    """Return who decides, by default the user of this shell, why, and when."""
    return {"by": by or getpass.getuser(), "reason": reason, "at": now().isoformat(timespec="seconds")}


def _in_short(problems: list[str]) -> str:
    """Join the first problems only: a run may refer to hundreds of days."""
    more = len(problems) - SHOWN_PROBLEMS
    return "; ".join([*problems[:SHOWN_PROBLEMS], *([f"and {more:,} more (--json names all)"] * (more > 0))])


@app.command()
def prune(
    scenario: ScenarioName,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=1, max=10_000, help="Artifacts made or reused within this many days stay.")
    ],
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove them; without this option they are only listed.")
    ] = False,
    store: StoreUri = ".store",
    root: Root = Path("."),
) -> None:
    """List, and with --delete remove, the artifacts that no run of the registry needs.

    Artifacts that an active run has made or reused count as recent.

    A run that reuses one while it is being removed fails; start it again then.
    """
    from mtl_tasks.store.pruning import find_removable, remove

    _, opened = _open(scenario, store, root)
    older_than = now() - timedelta(days=keep_days)
    found = find_removable(opened, scenario, older_than.timestamp())
    size = sum(entry.bytes for entry in found) / 1e6
    if delete:
        remove(found)
        typer.echo(f"{scenario}: removed {len(found):,} artifacts, {size:,.1f} MB")
        return
    for entry in found:
        typer.echo(f"{entry.bytes / 1e6:10,.1f} MB  {entry.folder}")
    typer.echo(f"{scenario}: {len(found):,} artifacts, {size:,.1f} MB, are not needed; --delete removes them")


@app.command()
def seal(scenario: ScenarioName, store: StoreUri = ".store", root: Root = Path(".")) -> None:
    """Seal what a scenario has in the store with the key in MTL_STORE_KEY, once that key is new.

    Without MTL_STORE_KEY_OLD, what was written without a key is taken at its word: check it first (`registry verify`).

    With it, only what is sealed with that key or the new one.

    No run may be at work meanwhile. Cut off, run it again.
    """
    from mtl_tasks.store.resealing import reseal
    from mtl_tasks.store.sealing import KEY_VARIABLE, OLD_KEY_VARIABLE, key_from

    _, opened = _open(scenario, store, root)
    if opened.key is None:
        raise ConfigError(f"{KEY_VARIABLE} is not set: set it to the new key, made with `openssl rand -hex 32`")
    done = reseal(opened, scenario, key_from(os.environ, OLD_KEY_VARIABLE))
    typer.echo(f"{scenario}: sealed {done.sealed:,} documents with key {opened.key.id}, {done.before:,} had its seal")
    if done.problems:
        every = done.sealed + done.before + len(done.problems)
        raise ArtifactError(
            f"{scenario}: {len(done.problems)} of {every:,} documents were not sealed: {_in_short(done.problems)}; "
            "restore them from a backup or delete their folders, then run this again"
        )


def _open(scenario: str, store: str, root: Path) -> tuple[Registry, Store]:
    enter(root, verbose=False, settings=None)
    from mtl_tasks.scenario import load_scenario
    from mtl_tasks.store.artifacts import Store
    from mtl_tasks.store.registry import Registry

    load_scenario(scenario)  # a misspelled name would otherwise be an empty registry
    opened = Store(store, store_key())
    return Registry(opened, scenario), opened


def _print_warnings(snapshot: Snapshot) -> None:
    """Print warnings of damaged records beside the result, since the log has them on stderr."""
    for warning in snapshot.warnings():
        typer.echo(f"warning: {warning}")


def _row(entry: RunRecord, snapshot: Snapshot, champion: RunRecord | None) -> dict[str, Any]:
    standing, rulings = snapshot.standing_of(entry), snapshot.rulings(entry.run_key)
    late = snapshot.late_answers(entry.run_key)
    is_champion = entry == champion
    return {
        "as_of": entry.as_of,
        "run_key": entry.run_key,
        "decision": entry.decision,
        "standing": f"{standing}, champion" if is_champion else standing,
        "champion": is_champion,
        "rulings": [ruling.sentence(entry, rulings) for ruling in rulings],
        "ignored": [f"an answer that came too late: {answer.action} by {answer.by} at {answer.at}" for answer in late],
        "problem": "; ".join(record.why for record in snapshot.damaged_of(entry)) or None,
        "why": rulings[-1].sentence(entry, rulings) if rulings else deciding_reason(entry.reasons),
    }


def _print_run(entry: RunRecord, row: dict[str, Any]) -> None:
    typer.echo(f"run {entry.run_key} as of {entry.as_of}: {row['standing']}")
    for sentence in [*row["rulings"], *row["ignored"], *entry.reasons]:
        typer.echo(f"  {sentence}")
    _print_rows(("stage", "artifact"), [(stage, entry.refs[stage].uri) for stage in entry.stages])


def _print_rows(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.text import Text

    from mtl_tasks.report.terminal_tables import plain_table

    if not rows:
        return
    table = plain_table()
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def _print_rulings(registry: Registry, rulings: list[Decision]) -> None:
    snapshot = registry.read()
    for ruling in rulings:
        said = ruling.sentence(snapshot.get(ruling.run_key), snapshot.rulings(ruling.run_key))
        typer.echo(f"run {ruling.run_key[:12]} as of {ruling.as_of}: {said}")
    _print_champion(snapshot)


def _print_champion(snapshot: Snapshot) -> None:
    for champion in snapshot.standing[-1:]:
        typer.echo(f"today's champion: run {champion.run_key[:12]} as of {champion.as_of}")
