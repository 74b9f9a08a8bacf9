"""Reading of typed documents from artifacts."""

from __future__ import annotations

from typing import TypeVar

from mtl_tasks.core.documents import StoredDocument, validate
from mtl_tasks.store.artifacts import Artifact

D = TypeVar("D", bound=StoredDocument)
T = TypeVar("T")


def read_document(artifact: Artifact, name: str, kind: type[D]) -> D:
    """Return the document ``name.json`` of an artifact.

    Raises
    ------
    ArtifactError
        If it is missing or damaged, or has another version or form.
    """
    return kind.parse(artifact.json(name), f"{artifact.folder}/{name}.json")


def read_part(artifact: Artifact, name: str, kind: type[T]) -> T:
    """Return the document ``name.json``, which has no version, as an object of ``kind``.

    Raises
    ------
    ArtifactError
        If it is missing or damaged, or has another form.
    """
    return validate(kind, artifact.json(name), f"{artifact.folder}/{name}.json")
