"""States of the artifacts of a finished run: whether each is there and sound."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.registry import RunRecord

MISSING: Final = "missing"  # states of an artifact
DAMAGED: Final = "damaged: "
HASHED_BYTES: Final = 64_000_000  # checking an artifact reads all of it: for larger ones only the sizes are compared
KEPT_CHECKS: Final = 4096  # of artifacts


@dataclass(frozen=True)
class ArtifactState:
    """The state of one of a run's artifacts.

    Attributes
    ----------
    state
        ``sound``; ``sizes match`` if it is too large to be read for a page; ``missing``; or ``damaged:`` and the
        reason.
    read_until
        Time of the newest event that the stage recorded; None if it recorded none.
    """

    stage: str
    key: str
    uri: str
    state: str
    files: int | None = None
    bytes: int | None = None
    read_until: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether it is damaged."""
        return self.state.startswith(DAMAGED)


def list_artifacts(store: Store, entry: RunRecord, stages: Collection[str] | None = None) -> list[ArtifactState]:
    """Return the state of each of a run's artifacts, or only of those of some stages."""
    shown = [stage for stage in entry.stages if stages is None or stage in stages]
    return [_artifact_state(store, stage, entry.refs[stage]) for stage in shown]


def _artifact_state(store: Store, stage: str, ref: Ref) -> ArtifactState:
    found = ArtifactState(stage, ref.key, ref.uri, MISSING)
    try:
        if store.look_up(ref) is None:
            return found
        artifact = store.open(ref)
        size = sum(file.size for file in artifact.files.values())
        found = replace(found, files=len(artifact.names), bytes=size, read_until=_read_until(artifact.summary))
        return replace(found, state=_check(store, artifact, size))
    except ArtifactError as error:
        return replace(found, state=f"{DAMAGED}{error}")


def _check(store: Store, artifact: Artifact, size: int) -> str:
    if size > HASHED_BYTES:
        artifact.verify_sizes()
        return "sizes match"
    _verify(store, artifact.ref, artifact.stamp())
    return "sound"


@lru_cache(maxsize=KEPT_CHECKS)
def _verify(store: Store, ref: Ref, seen: tuple[Any, ...]) -> None:
    """Verify an artifact; again only after the sizes or times of its files have changed."""
    store.open(ref).verify()


def _read_until(summary: Mapping[str, Any]) -> str | None:
    names = ("max_event_time", "fitted_max_event_time")
    return next((str(summary[name]) for name in names if summary.get(name)), None)
