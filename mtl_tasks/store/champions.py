"""Choice of a usable champion: the newest with intact artifacts, and the newer runs passed over for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mtl_tasks.core.errors import ArtifactError, ConfigError, SealError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.core.stages import BULK, is_scoring
from mtl_tasks.store.artifacts import DAYS, Artifact, Ref, Store, day_refs
from mtl_tasks.store.registry import RunRecord, Snapshot

log = logging.getLogger(__name__)

LISTED: Final = "validate"  # the stage of BULK that recommendations are made from


@dataclass(frozen=True)
class Choice:
    """A champion, and one sentence for each newer run that was passed over."""

    entry: RunRecord | None
    passed_over: tuple[str, ...] = ()


def choose_champion(snapshot: Snapshot, before: str | None, fault: Callable[[RunRecord], str | None]) -> Choice:
    """Return the newest champion without a fault.

    If all have one, the newest is returned: using it then fails with an error that names the fault.

    Parameters
    ----------
    before
        An as_of: the champion before it; None: today's.
    fault
        Returns the fault of a run, None if it has none.

    Raises
    ------
    ArtifactError
        If no champion is known, but a damaged record may be one.
    StoreError
        From ``fault``: an unreachable store says nothing about a run.
    """
    newest = snapshot.champion(before)
    if newest is None:
        return Choice(None)
    passed_over: list[str] = []
    for entry in reversed([entry for entry in snapshot.standing if before is None or entry.as_of < before]):
        found = fault(entry)
        if found is None:
            damaged = [record.short for record in snapshot.newer_damage(entry, before)]
            for sentence in passed_over:
                log.warning("%s; falling back to run %s as of %s", sentence, entry.run_key[:12], entry.as_of)
            return Choice(entry, (*damaged, *passed_over))
        passed_over.append(f"run {entry.run_key[:12]} as of {entry.as_of}: {found}")
    return Choice(newest)


def lasting_refs(entry: RunRecord) -> dict[str, Ref]:
    """Return the artifacts that a recorded run always needs, for scoring and for reading; tables are not among them."""
    return {stage: ref for stage, ref in entry.refs.items() if stage not in BULK}


def scoring_refs(entry: RunRecord) -> dict[str, Ref]:
    """Return the artifacts that score any rows as a run does."""
    return {stage: ref for stage, ref in entry.refs.items() if is_scoring(stage)}


def comparison_fault(entry: RunRecord, store: Store, parse: Callable[..., object], *, scored: bool) -> str | None:
    """Return the fault that keeps a candidate from being compared with a champion; the log names the file.

    Parameters
    ----------
    parse
        Parses a scenario's document, given ``where`` it is; raises ConfigError if it does not understand the document.
    scored
        Whether the champion must score rows; otherwise only its recorded evaluation is checked.
    """
    if scored:
        try:
            parse(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
        except ConfigError as error:
            return f"this code does not understand its scenario ({error})"
    record = {stage: ref for stage, ref in entry.refs.items() if stage == "evaluate"}
    return _first_fault(store, record | (scoring_refs(entry) if scored else {}))


def lists_fault(entry: RunRecord, store: Store) -> str | None:
    """Return the fault that keeps a run from making recommendations: damaged models or missing tables."""
    verdict = {stage: ref for stage, ref in entry.refs.items() if stage == "gate"}
    return _first_fault(store, scoring_refs(entry) | verdict) or tables_fault(entry, store)


def tables_fault(entry: RunRecord, store: Store) -> str | None:
    """Return which table for recommendations is missing or damaged, and how to make it again."""
    ref = entry.refs.get(LISTED)
    try:
        if ref is None:
            return None
        artifact = store.open(ref)
        artifact.verify_sizes()
        for day in listed_days(artifact):
            store.open(day)
    except SealError:
        raise
    except ArtifactError as error:
        name = entry.scenario_name
        return (
            f"the log that its recommendations are made from was pruned or is damaged ({error}): make it again first "
            f"({PROGRAM} run {name} --as-of {entry.as_of}, with the settings and the code of that run; other "
            "code makes another run of that day, which can be promoted instead)"
        )
    return None


def listed_days(artifact: Artifact) -> list[Ref]:
    """Return the references to per-day artifacts that an artifact lists, if it lists any."""
    return day_refs(artifact) if f"{DAYS}.json" in artifact.names else []


def _first_fault(store: Store, refs: dict[str, Ref]) -> str | None:
    for stage, ref in refs.items():
        try:
            store.open(ref).verify()
        except SealError:
            raise
        except ArtifactError as error:
            log.warning("%s: %s", stage, error)
            return f"its {stage} is missing or damaged"
    return None
