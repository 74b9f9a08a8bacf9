"""The command `mtl forget`: list or erase all data of a user in the store."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mtl_tasks.cli.options import AsJson, Root, ScenarioName, StoreUri, enter, now, print_json, store_key
from mtl_tasks.cli.servers import follow_registry
from mtl_tasks.core.program import PROGRAM

if TYPE_CHECKING:  # imported inside the command, so that `--help` is fast
    from mtl_tasks.pipeline.erasure import Erasure, PastErasure
    from mtl_tasks.pipeline.holdings import Kind
    from mtl_tasks.store.artifacts import Store
    from mtl_tasks.store.registry import RunRecord

_WORDS: Final[dict[Kind, str]] = {
    "lists": "rewrite",
    "pages": "remove and render again",
    "tables": "remove",
    "days": "remove",
    "snapshots": "rewrite",
    "log": "remove",
}


def forget(
    scenario: ScenarioName,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="The user's id as in the log; without it, past erasures are listed."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Erase; without this option the files are only listed.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="The reason; it is stored, so leave the id out. Needed with --delete."
        ),
    ] = "",
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who asked; by default the user of this shell.")
    ] = None,
    store: StoreUri = ".store",
    as_json: AsJson = False,
    root: Root = Path("."),
) -> None:
    """Erase a user from the store: list, and with --delete remove or rewrite, every file that holds the id.

    The log itself, models that learned from it, logs of Airflow and backups are not reached.

    The command prints what is left to do. No run of the scenario may be at work.
    """
    enter(root, verbose=False, settings=None)
    from mtl_tasks.pipeline.erasure import Erasure, past_erasures

    opened, document = _open(scenario, store)
    if user is None:
        _print_past(past_erasures(opened, scenario), as_json)
        return
    planned = Erasure.plan(opened, scenario, user, document)
    if not planned.holdings.found:
        typer.echo(f"{scenario}: nothing in {opened.root} holds this id: check how it is written; nothing was recorded")
        return
    notes: list[str] = []
    if delete:
        name = planned.begin(by=by or getpass.getuser(), reason=reason, at=now().isoformat(timespec="seconds"))
        notes = _erase(planned, tracked=document is not None)
        planned.end(name, now().isoformat(timespec="seconds"))
    if as_json:
        print_json({**_to_json(planned), "deleted": delete, "notes": notes})
    else:
        _print_plan(planned, delete, notes)


def _erase(planned: Erasure, *, tracked: bool) -> list[str]:
    """Erase the user from the store, then replace the copies of its pages on the servers of the section `tracking`.

    Returns
    -------
    list of str
        What was not done.
    """
    shown = planned.shown_in()
    notes = planned.carry_out()
    fault = follow_registry(planned.scenario, planned.store, shown) if tracked and shown else None
    if fault is not None:
        runs = ", ".join(key[:12] for key in shown)
        notes.append(f"{fault}; until then delete report.html of these runs there: {runs}")
    return notes


def _open(scenario: str, store: str) -> tuple[Store, dict[str, Any] | None]:
    """Return the store and the current scenario document, None if its file is gone: its runs can still be erased."""
    from mtl_tasks.pipeline.past_runs import stored_scenarios
    from mtl_tasks.scenario import load_scenario, scenario_names
    from mtl_tasks.store.artifacts import Store

    opened = Store(store, store_key())
    if scenario in stored_scenarios(opened) and scenario not in scenario_names():
        return opened, None
    return opened, load_scenario(scenario).model_dump(mode="json")


def _to_json(planned: Erasure) -> dict[str, Any]:
    found = planned.holdings
    return {
        "files": found.counts(),
        "places": [{"kind": one.kind, "place": str(one.path), "files": one.files} for one in found.found],
        "log_rows": found.log_rows,
        "learned": [entry.run_key for entry in found.learned],
        "may_have_learned": [entry.run_key for entry in found.may_have_learned],
        "quoted": [ruling.run_key for ruling in found.quoted],
        "champion": planned.champion,
    }


def _print_plan(planned: Erasure, deleted: bool, notes: list[str]) -> None:
    found = planned.holdings
    for one in found.found:
        typer.echo(f"{one.files:5,} files  {_WORDS[one.kind]:<23}  {one.path}")
    files = sum(one.files for one in found.found)
    typer.echo(
        f"{planned.scenario}: {files:,} files erased or rewritten; the record is in {planned.scenario}/erasures"
        if deleted
        else f"{planned.scenario}: {files:,} files hold data of this user; --delete --reason TEXT erases them"
    )
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo("\nNot reached:")
    for line in _left(planned):
        typer.echo(f"- {line}")


def _left(planned: Erasure) -> list[str]:
    from mtl_tasks.pipeline.past_runs import stored_scenarios

    found, others = planned.holdings, [n for n in stored_scenarios(planned.store) if n != planned.scenario]
    lines = [
        f"the log: the store had {found.log_rows:,} rows of it. Erase them there, or the next run reads them again",
        *(_model(entry, "learned from this user", planned) for entry in found.learned),
        *(
            _model(entry, "may have learned from this user; its tables are gone", planned)
            for entry in found.may_have_learned
        ),
        *(
            f"the registry: a decision on run {one.run_key[:12]} of {one.at} quotes the id; records stay as they are"
            for one in found.quoted
        ),
        "the memory of the model board, until the API server is started again",
        "logs of Airflow, copies of lists, backups and old versions of a bucket's objects",
    ]
    if others:
        lines.append(f"other scenarios of this store, each with a command of its own: {', '.join(others)}")
    return lines


def _model(entry: RunRecord, what: str, planned: Erasure) -> str:
    champion = ", today's champion" if entry.run_key == planned.champion else ""
    return (
        f"the model of run {entry.run_key[:12]} as of {entry.as_of}{champion}, which {what}: train again without a "
        f"warm start, then retire it ({PROGRAM} registry rollback {planned.scenario})"
    )


def _print_past(found: list[PastErasure], as_json: bool) -> None:
    if as_json:
        print_json([one.to_json() for one in found])
        return
    for one in found:
        request = one.request
        done = f"complete at {one.done}" if one.done else "cut off: run the same command again"
        typer.echo(f"{request.at}  by {request.by}: {request.reason} ({sum(request.files.values()):,} files; {done})")
        for entry in [*request.learned, *request.may_have_learned]:
            typer.echo(f"    model of run {entry.run_key[:12]} as of {entry.as_of}")
    if not found:
        typer.echo("no erasure is recorded")
