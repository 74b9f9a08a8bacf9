"""Manifests of artifacts: their form, and the hash of the content that they describe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mtl_tasks.store.safe_files import FILE_BYTES, is_name
from mtl_tasks.store.sealing import to_json

_PATH: Final = re.compile(r"attempt-[0-9a-f]{12}/(.+)")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestFile:
    """A file of an artifact: its path in the artifact's folder, its size in bytes, and its hash."""

    path: str
    size: int
    sha256: str


def refuse_malformed(manifest: dict[str, Any], uri: str) -> None:
    """Raise ValueError unless a document is the manifest of the artifact at ``uri``."""
    key, rows, files = manifest.get("key"), manifest.get("rows"), manifest.get("files")
    if not (isinstance(key, str) and type(rows) is int and isinstance(files, dict) and "summary" in manifest):
        raise ValueError("has no key, rows, files or summary")
    if key[:32] != uri.rpartition("/")[2]:
        raise ValueError(f"belongs to key {key[:32]:.32}, not to this folder")
    for name, entry in files.items():
        if not isinstance(entry, dict) or not _is_file_entry(name, entry):
            raise ValueError(f"its entry of file {name!r:.100} has an invalid path, size or sha256")


def _is_file_entry(name: str, entry: dict[str, Any]) -> bool:
    path, size, sha256 = entry.get("path"), entry.get("size"), entry.get("sha256")
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    hashed = isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None
    placed = found is not None and found[1] == name and is_name(name)
    return placed and hashed and type(size) is int and 0 <= size <= FILE_BYTES


def content_sha256(manifest: Mapping[str, Any]) -> str:
    """Return the hash of an artifact's content: its manifest without file paths and usage."""
    files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    content = {name: value for name, value in manifest.items() if name != "usage"} | {"files": files}
    return hashlib.sha256(to_json(content)).hexdigest()
