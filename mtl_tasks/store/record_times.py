"""Times at which the registry's records were written, by the clock of the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mtl_tasks.core.errors import answering
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.records import RecordName, RunId


def record_times(store: Store, scenario: str) -> dict[RunId, datetime]:
    """Return when each verdict was recorded, in UTC, by as_of and the part of the key that is in the file's name.

    The listing of the store says so, and no record is read. A store that was copied without times has those of the
    copy; one that keeps no times gives none.

    Raises
    ------
    StoreError
        If the store does not answer.
    """
    folder = store.inside(scenario, "registry")
    with answering(f"{folder}: the registry cannot be read"):
        files: dict[str, dict[str, Any]] = folder.fs.find(folder.path, detail=True) if folder.exists() else {}
    times: dict[RunId, datetime] = {}
    for path, facts in files.items():
        *_, as_of, name = path.split("/")
        record, written = RecordName.parse(name), _written(facts)
        if record is not None and record.action is None and written is not None:
            times[as_of, record.key] = min(written, times.get((as_of, record.key), written))
    return times


def _written(facts: dict[str, Any]) -> datetime | None:
    """Return the time that a file system gives for a file; each kind has a name of its own for it."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        found = facts.get(name)
        if isinstance(found, datetime):
            return found.astimezone(UTC)
        if isinstance(found, int | float):
            return datetime.fromtimestamp(found, UTC)
    return None
