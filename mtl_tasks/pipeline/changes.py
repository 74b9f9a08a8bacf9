"""Changes from one run to another: days of the log, code, libraries and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.artifact_states import ArtifactState, list_artifacts
from mtl_tasks.report.document import ChampionFacts, Change
from mtl_tasks.scenario import with_new_names
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_document, read_part
from mtl_tasks.store.documents.data import Resolution, ValidationReport
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.registry import Registry, RunRecord

_SHOWN: Final = 12  # characters of a hash
READ_STAGES: Final = ("resolve", "validate", "gate")  # whose artifacts of both runs are read


@dataclass(frozen=True)
class SettingRow:
    """A setting that differs, None where a run lacks it; nested keys are joined by dots."""

    setting: str
    first: Any
    second: Any


def setting_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[SettingRow]:
    """Yield the settings that differ between two scenario documents, by name."""
    mine, other = dict(flattened(first)), dict(flattened(second))
    for name in sorted({*mine, *other}):
        if mine.get(name) != other.get(name):
            yield SettingRow(name, mine.get(name), other.get(name))


def settings_of(entry: RunRecord) -> dict[str, Any]:
    """Return a run's scenario document with the names that this release uses."""
    return with_new_names(entry.scenario_document, f"run {entry.run_key[:_SHOWN]}")[0]


def champion_facts(store: Store, entry: RunRecord, champion_key: str | None) -> ChampionFacts | None:
    """Return the champion that a run was compared with, and all that changed since; None without a champion."""
    if champion_key is None:
        return None
    try:
        champion = Registry(store, entry.scenario_document["name"]).read(champion_key).get(champion_key)
    except ArtifactError as error:
        return ChampionFacts(champion_key, "", problem=str(error))
    return ChampionFacts(champion_key, champion.as_of, tuple(changes(store, champion, entry)))


def changes(store: Store, first: RunRecord, second: RunRecord) -> Iterator[Change]:
    """Yield all that differs between two runs; what is not in the store any more is left out."""
    for (name, before), after in zip(log_facts(store, first).items(), log_facts(store, second).values(), strict=True):
        if before is not None and after is not None and before != after:
            yield Change("data", name, before, after)
    if first.code != second.code:
        yield Change("code", "hash of the code", first.code[:_SHOWN], second.code[:_SHOWN])
    theirs, ours = library_versions(store, first), library_versions(store, second)
    for name in sorted({*theirs, *ours}) if theirs and ours else ():
        if theirs.get(name) != ours.get(name):
            yield Change("library", name, theirs.get(name), ours.get(name))
    for row in setting_rows(settings_of(first), settings_of(second)):
        yield Change("setting", row.setting, row.first, row.second)


def champion_states(store: Store, entry: RunRecord) -> tuple[ArtifactState, ...] | str:
    """Return the states of the champion's artifacts that :func:`champion_facts` reads, or why they are not known."""
    try:
        champion_key = read_document(store.open(entry.refs["gate"]), "verdict", Verdict).champion
        if champion_key is None:
            return ()
        champion = Registry(store, entry.scenario_document["name"]).read(champion_key).get(champion_key)
    except ArtifactError as error:
        return str(error)
    return tuple(list_artifacts(store, champion, READ_STAGES))


def flattened(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a document with their keys, nested ones joined by dots."""
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def log_facts(store: Store, entry: RunRecord) -> dict[str, Any]:
    """Return the extent of the log that a run read, None where it is unknown."""
    known: dict[str, Any] = dict.fromkeys(("as of", "first day", "last day", "rows kept", "source files"))
    known["as of"] = entry.as_of
    try:
        report = read_part(store.open(entry.refs["validate"]), "validation", ValidationReport)
        known |= {"first day": report.first_day, "last day": report.last_day, "rows kept": report.rows_kept}
        known["source files"] = len(read_part(store.open(entry.refs["resolve"]), "resolve", Resolution).sources)
    except (ArtifactError, KeyError):  # pruned or damaged; the list of artifacts reports it
        pass
    return known


def library_versions(store: Store, entry: RunRecord) -> dict[str, str]:
    """Return the libraries of a run with their versions; empty if they are not in the store any more."""
    try:
        found: dict[str, str] = store.open(entry.refs["gate"]).manifest["libraries"]
    except (ArtifactError, KeyError):
        return {}
    return found
