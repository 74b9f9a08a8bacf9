"""Removal of artifacts that nothing needs. The registry itself is never touched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from upath import UPath

from mtl_tasks.core.errors import ArtifactError, answering
from mtl_tasks.core.stages import ALWAYS_KEPT, DAILY
from mtl_tasks.store.artifacts import DAYS, MANIFEST, Store
from mtl_tasks.store.champions import lasting_refs, listed_days
from mtl_tasks.store.registry import Registry, Snapshot
from mtl_tasks.store.safe_files import refuse_links

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Removable:
    """A folder that may be removed."""

    folder: UPath
    bytes: int


def find_removable(store: Store, scenario: str, older_than: float) -> list[Removable]:
    """Return the artifacts, and the leftovers of interrupted runs, that may be removed.

    Kept are: folders written or reused at or after ``older_than`` (seconds since 1970); what scoring with any run of
    the registry needs, and its verdict; everything of today's champion and of the run it would fall back to, with
    their recommendations; everything of an as_of with a quarantined verdict; all reports; and the per-day artifacts
    that kept artifacts list.

    Raises
    ------
    ArtifactError
        If a registry record is damaged, since its artifacts would be removed. Also if a folder is a symbolic link or
        behind one, since its target is not part of the store.
    StoreError
        If the store does not answer.
    """
    snapshot = Registry(store, scenario).read()
    for record in snapshot.damaged:
        raise ArtifactError(f"{scenario}: nothing is pruned while what a damaged record needs is unknown: {record.why}")
    with answering(f"{store.root / scenario}: the store cannot be read"):
        return _removable(store, scenario, snapshot, older_than)


def _removable(store: Store, scenario: str, snapshot: Snapshot, older_than: float) -> list[Removable]:
    whole = snapshot.standing[-2:]
    needed = {ref.uri for entry in snapshot.entries for ref in lasting_refs(entry).values()}
    needed |= {ref.uri for entry in whole for ref in entry.refs.values()}
    gates = {entry.refs["gate"].key for entry in whole}
    held = {record.as_of for record in snapshot.quarantined if snapshot.lacks_verdict(record)}
    found = []
    for folder in artifact_folders(store, scenario):
        kept = folder.parent.name in ALWAYS_KEPT or folder.parent.parent.name in held
        if kept or store.uri_of(folder) in needed or _made_from(store, folder, gates):
            needed |= _days_of(store, folder)
        elif (removable := _old(folder, older_than)) is not None:
            found.append(removable)
        else:
            needed |= _days_of(store, folder)
    days = (folder for folder in day_folders(store, scenario) if store.uri_of(folder) not in needed)
    return [*found, *filter(None, (_old(folder, older_than) for folder in days))]


def _old(folder: UPath, older_than: float) -> Removable | None:
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    old = all(file.st_mtime < older_than for file in files)
    return Removable(folder, sum(file.st_size for file in files)) if old else None


def _days_of(store: Store, folder: UPath) -> set[str]:
    """Return the paths of the per-day artifacts that an artifact lists."""
    artifact = store.find(folder) if folder.parent.name in DAILY else None
    return set() if artifact is None else {ref.uri for ref in listed_days(artifact)}


def remove(removable: list[Removable]) -> None:
    """Remove the folders, manifests first: a folder that a kill leaves half-removed is then no artifact.

    Raises
    ------
    StoreError
        If the store cannot be written; folders removed by then are gone.
    """
    for entry in removable:
        with answering(f"{entry.folder}: cannot be removed", "; run the same command again"):
            manifest = entry.folder / MANIFEST
            if manifest.exists():
                manifest.unlink()
            entry.folder.fs.rm(entry.folder.path, recursive=True)


def artifact_folders(store: Store, scenario: str) -> list[UPath]:
    """Return the folders ``<as_of>/<stage>/<key>``, without those beside the dates (registry, snapshots)."""
    root = store.inside(scenario)
    if not root.exists():
        return []
    days = [path for path in root.iterdir() if path.is_dir() and _DATE.fullmatch(path.name)]
    return _folders(store, (key for day in days for key in day.glob("*/*")))


def day_folders(store: Store, scenario: str) -> list[UPath]:
    """Return the folders ``days/<day>/<key>``."""
    return _folders(store, store.inside(scenario, DAYS).glob("*/*"))


def _folders(store: Store, found: Iterable[UPath]) -> list[UPath]:
    folders = sorted((path for path in found if path.is_dir()), key=str)
    for folder in folders:
        refuse_links(store.root, store.uri_of(folder))
    return folders


def _made_from(store: Store, folder: UPath, gates: set[str]) -> bool:
    """Whether a folder holds recommendations made after one of these verdicts; no record of a run refers to it."""
    if folder.parent.name != "recommend":
        return False
    artifact = store.find(folder)
    return artifact is not None and artifact.inputs["gate"] in gates
