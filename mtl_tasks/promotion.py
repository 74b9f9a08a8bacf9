"""What people may do about runs that are done: promote one, roll one back, check what is stored of one."""

from __future__ import annotations

from typing import Final

from mtl_tasks.errors import ArtifactError, GateError
from mtl_tasks.registry import Action, Entry, Registry, Ruling
from mtl_tasks.store import Ref, Store

BULK: Final = ("validate", "split", "features")  # tables that only making the run and its lists needs


def lasting_refs(entry: Entry) -> dict[str, Ref]:
    """What a run needs as long as its entry stands, to be scored with or to be looked at; tables are not among it."""
    return {stage: ref for stage, ref in entry.refs.items() if stage not in BULK}


def problems_of(entry: Entry, store: Store) -> list[str]:
    """Return one line for each artefact of a run that is missing or damaged; tables that were pruned are neither."""
    found = []
    for stage, ref in entry.refs.items():
        try:
            if stage in BULK and store.find(store.root / ref.uri) is None:
                continue
            store.open(ref).verify()
        except ArtifactError as error:
            found.append(f"{stage}: {error}")
    return found


def promote(registry: Registry, store: Store, run_key: str, *, by: str, reason: str, at: str) -> Ruling:
    """Make a run a champion of its time, whatever its verdict was.

    Raises
    ------
    GateError
        If it is promoted already, or there is no reason.
    ArtifactError
        If there is no such run, or what scoring with it takes is damaged.
    """
    entry = registry.get(run_key)
    if entry in registry.standing():
        raise GateError(f"run {entry.run_key[:12]} as of {entry.as_of} is promoted already: nothing to do")
    _check(entry, store)
    return _rule(registry, entry, "promote", by, reason, at)


def rollback(
    registry: Registry, store: Store, to: str | None, *, by: str, reason: str, at: str
) -> tuple[list[Ruling], Entry]:
    """Retire today's champion, or every run promoted after ``to``, and return the rulings and the champion from now on.

    Raises
    ------
    GateError
        If there is nothing to fall back to, ``to`` is not an earlier promoted run, or there is no reason.
    ArtifactError
        If what scoring with the run to fall back to takes is damaged; nothing has then been changed.
    """
    standing = registry.standing()
    if len(standing) < 2:
        raise GateError(
            f"{len(standing)} promoted runs: there is none to fall back to; promote another first (registry promote)"
        )
    target = standing[-2] if to is None else registry.get(to)
    if target not in standing[:-1]:
        raise GateError(
            f"run {target.run_key[:12]} as of {target.as_of} is not an earlier promoted run: see registry list"
        )
    _check(target, store)
    newer = standing[standing.index(target) + 1 :]
    return [_rule(registry, entry, "retire", by, reason, at) for entry in reversed(newer)], target


def settle(registry: Registry, run_key: str, *, approved: bool, by: str, reason: str, at: str) -> Ruling:
    """Record the answer to the question whether a run that passed the gate may be promoted."""
    return _rule(registry, registry.get(run_key), "promote" if approved else "retire", by, reason, at)


def _check(entry: Entry, store: Store) -> None:
    problems = problems_of(entry, store)
    if problems:
        raise ArtifactError(
            f"run {entry.run_key[:12]} as of {entry.as_of} cannot be champion, {len(problems)} of its artefacts are "
            f"missing or damaged: {problems[0]}"
        )


def _rule(registry: Registry, entry: Entry, action: Action, by: str, reason: str, at: str) -> Ruling:
    if not reason.strip():
        raise GateError(f"to {action} a run, say why: --reason must not be empty")
    ruling = Ruling(entry.run_key, entry.as_of, action, by, reason.strip(), at)
    registry.append(ruling)
    return ruling
