"""What people may do about runs that are done: promote one, roll one back, check what is stored of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from mtl_tasks.errors import ArtifactError, GateError
from mtl_tasks.program import PROGRAM
from mtl_tasks.registry import Action, Entry, Registry, Ruling
from mtl_tasks.store import DAYS, Artifact, Ref, Store, day_refs

BULK: Final = ("validate", "split", "features")  # tables that only making the run and its lists needs


def lasting_refs(entry: Entry) -> dict[str, Ref]:
    """What a run needs as long as its entry stands, to be scored with or to be looked at; tables are not among it."""
    return {stage: ref for stage, ref in entry.refs.items() if stage not in BULK}


def verify_runs(entries: Iterable[Entry], store: Store) -> dict[str, list[str]]:
    """Return by run one line for each artefact, its own or of a day, that is missing or damaged.

    What several runs refer to is read once. Tables that were pruned are neither missing nor damaged; a day that tables
    refer to which are there is.
    """
    known: dict[Ref, list[str]] = {}

    def problems(ref: Ref) -> list[str]:
        if ref not in known:
            artifact, known[ref] = _check(store, ref)
            if artifact is not None:
                known[ref] += [problem for day in listed_days(artifact) for problem in problems(day)]
        return known[ref]

    return {entry.run_key: _by_stage(entry, store, problems) for entry in entries}


def problems_of(entry: Entry, store: Store) -> list[str]:
    """Return one line for each artefact of a run's own that is missing or damaged; pruned tables are neither."""
    return _by_stage(entry, store, lambda ref: _check(store, ref)[1])


def listed_days(artifact: Artifact) -> list[Ref]:
    """Return where the days are that an artefact refers to, if it is of a stage and a time that does so."""
    return day_refs(artifact) if f"{DAYS}.json" in artifact.names else []


def _by_stage(entry: Entry, store: Store, problems: Callable[[Ref], list[str]]) -> list[str]:
    refs = {stage: ref for stage, ref in entry.refs.items() if stage not in BULK or not _is_pruned(store, ref)}
    return [f"{stage}: {problem}" for stage, ref in refs.items() for problem in problems(ref)]


def _is_pruned(store: Store, ref: Ref) -> bool:
    try:
        return store.find(store.root / ref.uri) is None
    except ArtifactError:  # it is there, and damaged
        return False


def _check(store: Store, ref: Ref) -> tuple[Artifact | None, list[str]]:
    """An artefact if it is sound, else what is wrong with it."""
    try:
        artifact = store.open(ref)
        artifact.verify()
    except ArtifactError as error:
        return None, [str(error)]
    return artifact, []


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
    _refuse_damaged(entry, store)
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
            f"{len(standing)} promoted runs: there is none to fall back to; promote another first "
            f"({PROGRAM} registry promote)"
        )
    target = standing[-2] if to is None else registry.get(to)
    if target not in standing[:-1]:
        raise GateError(
            f"run {target.run_key[:12]} as of {target.as_of} is not an earlier promoted run: "
            f"see {PROGRAM} registry list"
        )
    _refuse_damaged(target, store)
    newer = standing[standing.index(target) + 1 :]
    return [_rule(registry, entry, "retire", by, reason, at) for entry in reversed(newer)], target


def settle(registry: Registry, run_key: str, *, approved: bool, by: str, reason: str, at: str) -> Ruling:
    """Record the answer to the question whether a run that passed the gate may be promoted."""
    return _rule(registry, registry.get(run_key), "promote" if approved else "retire", by, reason, at)


def _refuse_damaged(entry: Entry, store: Store) -> None:
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
