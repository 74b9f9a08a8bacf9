"""The finished run that a compressed run learns from and is compared with."""

from __future__ import annotations

from typing import Final

from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry, RunRecord, Snapshot

# What decides which rows there are and what their features are: there is nothing to distill on other ones.
SAME: Final = ("source", "tasks", "windows", "factors", "features", "refit", "seed")


def find_teacher(scenario: Scenario, as_of: str, store: Store) -> RunRecord | None:
    """Return the registry record of a compressed run's teacher; None if the run compresses none.

    Raises
    ------
    ConfigError
        If there is no such run, it is not promoted, of another day, itself compressed, or has other rows or features.
    """
    key = scenario.compression.teacher
    if key is None:
        return None
    snapshot = Registry(store, scenario.name).read()
    try:
        entry = snapshot.get(key)
    except ArtifactError as error:
        raise ConfigError(f"compression.teacher: {error}") from error
    where = f"compression.teacher: run {key[:12]} as of {entry.as_of}"
    if entry.as_of != as_of:
        raise ConfigError(f"{where}: this run is as of {as_of}: name a run of its day, whose test window it shares")
    check_teacher(entry, snapshot)
    theirs = parse_scenario(entry.scenario_document, where=where)
    for name in SAME:
        if getattr(theirs, name) != getattr(scenario, name):
            raise ConfigError(f"{where}: its {name} differs from this run's: compress it with the settings it was run")
    return entry


def check_teacher(entry: RunRecord, snapshot: Snapshot) -> None:
    """Raise if a run may not be compressed.

    Rules against the champion compare a compressed run with its teacher. A teacher that is not promoted would let a
    worse model pass them, and a chain of teachers would add up the margins.

    Raises
    ------
    ConfigError
        Gives the reason.
    """
    where, standing = f"run {entry.run_key[:12]} as of {entry.as_of}", snapshot.standing_of(entry)
    if entry not in snapshot.standing:
        raise ConfigError(
            f"{where}: its status is {standing!r}, and only a promoted run is compressed: name another one "
            f"({PROGRAM} registry list {entry.scenario_document['name']}), or promote it first"
        )
    teacher = entry.scenario_document.get("compression", {}).get("teacher")
    if teacher is not None:
        raise ConfigError(f"{where}: is a compressed run itself: compress its teacher, run {teacher[:12]}")
