"""Forgery by somebody who may write to a store: documents are changed and sealed again without the store's key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtl_tasks.store.artifacts import MANIFEST, Artifact
from mtl_tasks.store.sealing import sealed


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a sealed document and give it a plain seal."""
    document = json.loads(path.read_bytes())
    del document["seal"]
    change(document)
    path.write_bytes(sealed(document))


def manifest_of(artifact: Artifact) -> Path:
    """Return the path of an artifact's manifest."""
    return Path(str(artifact.folder / MANIFEST))


def path_of(artifact: Artifact, name: str) -> Path:
    """Return the path of a file of an artifact."""
    return Path(str(artifact.folder / artifact.manifest["files"][name]["path"]))


def plant(artifact: Artifact, name: str, data: bytes) -> None:
    """Replace a file, and what the manifest says of it."""
    path_of(artifact, name).write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forge(manifest_of(artifact), lambda manifest: manifest["files"][name].update(entry))
