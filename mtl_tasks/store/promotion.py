"""Manual actions on finished runs: promote one, roll one back, verify stored artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mtl_tasks.core.errors import ArtifactError, GateError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.core.stages import BULK
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.champions import listed_days, tables_fault
from mtl_tasks.store.registry import AWAITING, Action, Decision, Registry, RunRecord, Snapshot


def verify_runs(entries: Iterable[RunRecord], store: Store) -> dict[str, list[str]]:
    """Return, by run, one line for each missing or damaged artifact, per-day artifacts included.

    Artifacts shared by runs are read once. A pruned table is not a fault; a missing day that an existing table refers
    to is one.
    """
    known: dict[Ref, list[str]] = {}

    def problems(ref: Ref) -> list[str]:
        if ref not in known:
            artifact, known[ref] = _check(store, ref)
            if artifact is not None:
                known[ref] += [problem for day in listed_days(artifact) for problem in problems(day)]
        return known[ref]

    return {entry.run_key: _by_stage(entry, store, problems) for entry in entries}


def problems_of(entry: RunRecord, store: Store) -> list[str]:
    """Return one line for each missing or damaged artifact of a run, without days; pruned tables are not a fault."""
    return _by_stage(entry, store, lambda ref: _check(store, ref)[1])


def _by_stage(entry: RunRecord, store: Store, problems: Callable[[Ref], list[str]]) -> list[str]:
    refs = {stage: ref for stage, ref in entry.refs.items() if stage not in BULK or not _is_pruned(store, ref)}
    return [f"{stage}: {problem}" for stage, ref in refs.items() for problem in problems(ref)]


def _is_pruned(store: Store, ref: Ref) -> bool:
    try:
        return store.look_up(ref) is None
    except ArtifactError:  # it exists but is damaged
        return False


def _check(store: Store, ref: Ref) -> tuple[Artifact | None, list[str]]:
    """Return the artifact if it is sound, else its fault."""
    try:
        artifact = store.open(ref)
        artifact.verify()
    except ArtifactError as error:
        return None, [str(error)]
    return artifact, []


def promote(registry: Registry, store: Store, run_key: str, *, by: str, reason: str, at: str) -> Decision:
    """Promote a run to champion of its as_of, whatever its verdict.

    Raises
    ------
    GateError
        If it is already promoted, or the reason is empty.
    ArtifactError
        If there is no such run, one of its records or artifacts is damaged, or it would be today's champion and its
        tables for recommendations are missing.
    """
    snapshot = registry.read()
    entry = snapshot.get(run_key)
    if entry in snapshot.standing:
        raise GateError(f"run {entry.run_key[:12]} as of {entry.as_of} is already promoted: nothing to do")
    for record in snapshot.damaged_of(entry):
        raise ArtifactError(record.why)
    newer = [other for other in snapshot.standing if other.as_of > entry.as_of]
    _refuse_damaged(entry, store, lists=not newer)
    return _rule(registry, entry, "promote", by, reason, at)


def rollback(
    registry: Registry, store: Store, to: str | None, *, by: str, reason: str, at: str
) -> tuple[list[Decision], RunRecord]:
    """Retire today's champion, or every promoted run newer than ``to``; return the decisions and the new champion.

    Raises
    ------
    GateError
        If there is no run to fall back to, ``to`` is not an earlier promoted run, or the reason is empty.
    ArtifactError
        If artifacts of the run to fall back to, or its tables for recommendations, are missing or damaged; nothing is
        changed then.
    """
    snapshot = registry.read()
    standing = snapshot.standing
    if len(standing) < 2:
        raise GateError(
            f"{len(standing)} promoted runs: there is none to fall back to; promote another first "
            f"({PROGRAM} registry promote)"
        )
    target = standing[-2] if to is None else snapshot.get(to)
    if target not in standing[:-1]:
        raise GateError(
            f"run {target.run_key[:12]} as of {target.as_of} is not an earlier promoted run: "
            f"see {PROGRAM} registry list"
        )
    _refuse_damaged(target, store, lists=True)
    newer = standing[standing.index(target) + 1 :]
    return [_rule(registry, entry, "retire", by, reason, at) for entry in reversed(newer)], target


def record_approval(
    registry: Registry, run_key: str, *, approved: bool, by: str, reason: str, at: str
) -> tuple[Decision, Snapshot]:
    """Record the answer to the approval request of a run, if the run still awaits it.

    Returns
    -------
    Decision
        The answer. It counts if it is among the decisions of the snapshot.
    Snapshot
        The run's part of the registry afterward. If somebody else decides between the check and the write, the answer
        is recorded but does not count.
    """
    snapshot = registry.read(run_key)
    entry = snapshot.get(run_key)
    if snapshot.obstacle(entry) is not None:
        raise ArtifactError(f"the answer is not recorded: {why_undecided(entry, snapshot)}")
    answer = Decision(entry.run_key, entry.as_of, "promote" if approved else "retire", by, reason, at, answer=True)
    if snapshot.standing_of(entry) == AWAITING:
        registry.append(answer)
        snapshot = registry.read(run_key)
    return answer, snapshot


def why_undecided(entry: RunRecord, snapshot: Snapshot) -> str:
    """Return why the decision about a run is unknown."""
    damaged = [record.why for record in snapshot.damaged_of(entry)]
    about = f"run {entry.run_key[:12]} as of {entry.as_of}: {snapshot.obstacle(entry)}"
    return "; ".join([about, *damaged[:1], "clear this task once that is fixed"])


def _refuse_damaged(entry: RunRecord, store: Store, *, lists: bool) -> None:
    about = f"run {entry.run_key[:12]} as of {entry.as_of} cannot be champion"
    problems = problems_of(entry, store)
    if problems:
        raise ArtifactError(f"{about}, {len(problems)} of its artifacts are missing or damaged: {problems[0]}")
    gone = tables_fault(entry, store) if lists else None
    if gone is not None:
        raise ArtifactError(f"{about}: {gone}")


def _rule(registry: Registry, entry: RunRecord, action: Action, by: str, reason: str, at: str) -> Decision:
    if not reason.strip():
        raise GateError(f"to {action} a run, say why: --reason must not be empty")
    ruling = Decision(entry.run_key, entry.as_of, action, by, reason.strip(), at)
    registry.append(ruling)
    return ruling
