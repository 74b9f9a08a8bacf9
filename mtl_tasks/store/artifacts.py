"""Artifacts that are never half-written: files in a new attempt folder, then one manifest that lists them.

The manifest is ``<root>/<scenario>/<as_of>/<stage>/<key>/manifest.json``; without it there is no artifact. Nothing
relies on renaming a folder, so a disk and an object store behave alike.
"""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pandas as pd
from upath import UPath

from mtl_tasks.core.errors import ArtifactError, answering
from mtl_tasks.store.address import checked_address
from mtl_tasks.store.codecs import REMEDY, Arrays, pack_arrays, parse_json, read_table, table_types, unpack_arrays
from mtl_tasks.store.durable_files import write_durably, write_once
from mtl_tasks.store.manifests import ManifestFile, content_sha256, refuse_malformed
from mtl_tasks.store.safe_files import (
    DOCUMENT_BYTES,
    FILE_BYTES,
    FileStatus,
    file_status,
    is_name,
    join_names,
    read_file,
    refuse_links,
    split_names,
)
from mtl_tasks.store.sealing import StoreKey, sealed, unsealed
from mtl_tasks.store.sealing import to_json as to_json

MANIFEST = "manifest.json"
_REF: Final = {"uri": str, "key": str, "sha256": str, "rows": int}
DAYS = "days"  # folder beside the as_of folders of a scenario: artifacts of a day of the log, which belong to no run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ref:
    """Reference that stages pass on: an artifact's path, relative to the store, and its hash.

    ``sha256`` covers the content: the manifest without file paths and usage. Repeating the work therefore gives an
    equal reference. ``rows`` is informational.
    """

    uri: str
    key: str
    sha256: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Ref:
        """Invert :meth:`to_json`.

        Raises
        ------
        ArtifactError
            If the document is not a reference, or its path cannot be inside a store.
        """
        if not isinstance(document, Mapping) or set(document) != set(_REF):
            raise ArtifactError(f"{document!r:.200}: not a reference to an artifact (expected {', '.join(_REF)})")
        for name, kind in _REF.items():
            if type(document[name]) is not kind:
                raise ArtifactError(
                    f"{document!r:.200}: not a reference to an artifact ({name} is not of type {kind.__name__})"
                )
        split_names(document["uri"])
        return cls(**document)


@dataclass
class Payload:
    """Output of a stage to store: file name to bytes, and a summary for the manifest."""

    files: dict[str, bytes] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: int = 0

    def add_frame(self, name: str, frame: pd.DataFrame, *, measurements: bool = False) -> None:
        """Add a table as ``name.parquet``.

        Parameters
        ----------
        measurements
            Whether its numbers rarely repeat; they are then written without a dictionary, in half the time.
        """
        numbers = [str(name) for name in frame if frame[name].dtype.kind in "fiu"] if measurements else []
        others = [str(name) for name in frame if name not in numbers]
        buffer = io.BytesIO()
        frame.to_parquet(
            buffer, index=False, compression="zstd", use_dictionary=others, use_byte_stream_split=numbers or False
        )
        self.files[f"{name}.parquet"] = buffer.getvalue()

    def add_arrays(self, name: str, arrays: Arrays) -> None:
        """Add arrays as ``name.npz`` (no Python objects)."""
        self.files[f"{name}.npz"] = pack_arrays(arrays)

    def add_json(self, name: str, document: Any) -> None:
        """Add a document as ``name.json``; NaN is refused: a metric that could not be computed is null."""
        self.files[f"{name}.json"] = to_json(document)

    def add_text(self, name: str, text: str) -> None:
        """Add a text file under its full name."""
        self.files[name] = text.encode()


def day_refs(artifact: Artifact) -> list[Ref]:
    """Return the references to per-day artifacts that a stage's artifact lists, in order."""
    return [Ref.from_json(entry) for entry in artifact.json(DAYS)]


class Artifact:
    """A published artifact; every read is checked against the manifest before parsing."""

    def __init__(self, store: Store, uri: str, manifest: dict[str, Any]) -> None:
        self.folder = store.root / uri
        self.manifest = manifest
        self.ref = Ref(uri, manifest["key"], content_sha256(manifest), manifest["rows"])
        self._root = store.root

    @property
    def summary(self) -> dict[str, Any]:
        """The stage's own summary in the manifest."""
        summary: dict[str, Any] = self.manifest["summary"]
        return summary

    @property
    def files(self) -> dict[str, ManifestFile]:
        """The files by name, as the manifest has them."""
        return {
            name: ManifestFile(entry["path"], entry["size"], entry["sha256"])
            for name, entry in self.manifest["files"].items()
        }

    @property
    def inputs(self) -> dict[str, str]:
        """Keys of the artifacts that it was made from, by stage."""
        inputs: dict[str, str] = self.manifest["inputs"]
        return inputs

    @property
    def names(self) -> list[str]:
        """Names of the files, sorted."""
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        ArtifactError
            If the file is unknown, missing, or differs in size or sha256 from the manifest.
        """
        file = self.files.get(name)
        if file is None:
            raise ArtifactError(f"{self.folder}: no file {name!r} in the manifest (has {', '.join(self.names)})")
        with _reading(self.folder / file.path) as path:
            data = read_file(self._root, f"{self.ref.uri}/{file.path}", file.size)
        if data is None or len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise _damaged(path)
        return data

    def frame(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the table ``name.parquet``."""
        return read_table(self.read(f"{name}.parquet"), columns, f"{self.folder}/{name}.parquet")

    def column_names(self, name: str) -> list[str]:
        """Return the column names of the table ``name.parquet``."""
        return list(self.column_types(name))

    def column_types(self, name: str) -> dict[str, str]:
        """Return the columns of the table ``name.parquet`` with the names of their types."""
        return table_types(self.read(f"{name}.parquet"), f"{self.folder}/{name}.parquet")

    def arrays(self, name: str, expected: Mapping[str, tuple[str, int]]) -> Arrays:
        """Return the arrays of ``name.npz``; see :func:`mtl_tasks.store.codecs.unpack_arrays`."""
        return unpack_arrays(self.read(f"{name}.npz"), expected, f"{self.folder}/{name}.npz")

    def json(self, name: str) -> Any:
        """Return the document ``name.json``."""
        return parse_json(self.read(f"{name}.json"), f"{self.folder}/{name}.json")

    def verify(self) -> None:
        """Check every file; raises like :meth:`read`."""
        for name in self.names:
            self.read(name)

    def verify_sizes(self) -> None:
        """Check that every file exists with its size, where readers check the content later.

        Raises
        ------
        ArtifactError
            If a file is missing or has another size.
        """
        for file, status in self._statuses():
            if status.size != file.size:
                raise _damaged(self.folder / file.path)

    def stamp(self) -> tuple[tuple[str, int, float], ...]:
        """Return path, size and time of each file; while these are unchanged, the content most likely is too.

        Raises
        ------
        ArtifactError
            If a file is missing.
        """
        return tuple((file.path, status.size, status.changed) for file, status in self._statuses())

    def _statuses(self) -> Iterator[tuple[ManifestFile, FileStatus]]:
        for file in self.files.values():
            with _reading(self.folder / file.path):
                status = file_status(self._root, f"{self.ref.uri}/{file.path}")
            yield file, status


@contextmanager
def _reading(path: UPath) -> Iterator[UPath]:
    """Name the file in the error if a file of a manifest cannot be read."""
    try:
        with answering(f"{path}: named by its manifest but cannot be read", but=FileNotFoundError):
            yield path
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: named by its manifest but missing; {REMEDY}") from error


def _damaged(path: UPath) -> ArtifactError:
    return ArtifactError(
        f"{path}: does not match its manifest (sha256 or size differs): damaged or tampered with; {REMEDY}"
    )


_USED: Final = "used"


@dataclass(frozen=True, init=False)
class Store:
    """A root folder (a path or an fsspec URI) that holds artifacts by scenario, as_of, stage and key.

    Attributes
    ----------
    key
        Seals manifests and registry records; None: they are sealed with a plain hash. See
        :mod:`mtl_tasks.store.sealing`.
    """

    root: UPath
    key: StoreKey | None

    def __init__(self, root: str, key: StoreKey | None = None) -> None:
        object.__setattr__(self, "root", UPath(checked_address(root)))
        object.__setattr__(self, "key", key)

    def inside(self, *names: str) -> UPath:
        """Return a folder by its path components below the root.

        Raises
        ------
        ArtifactError
            If a component is not a plain name, such as ``..``.
        """
        return self.root / join_names(*names)

    def folder(self, scenario: str, as_of: str, stage: str, key: str) -> UPath:
        """Return the folder of an artifact."""
        return self.inside(scenario, as_of, stage, key[:32])

    def uri_of(self, folder: UPath) -> str:
        """Return a folder's path below the root.

        Raises
        ------
        ArtifactError
            If it is not below the root.
        """
        root, text = str(self.root).rstrip("/"), str(folder)
        uri = text if root == "." else text.removeprefix(f"{root}/")
        if uri == text and root != ".":
            raise ArtifactError(f"{folder}: is not inside the store {self.root}")
        split_names(uri)
        return uri

    def read_document(self, path: str, remedy: str) -> dict[str, Any]:
        """Return a sealed document by its path below the root.

        Raises
        ------
        SealError
            If it is sealed without the store's key, or with another.
        ArtifactError
            If it is too large, or its path leads through a link.
        OSError
            If it is missing or cannot be read.
        ValueError
            If its bytes are not as they were written.
        """
        data = read_file(self.root, path, DOCUMENT_BYTES)
        if data is None:
            raise ArtifactError(
                f"{self.root / path}: has more than {DOCUMENT_BYTES:,} bytes, more than any document written here; "
                f"{remedy}"
            )
        return unsealed(data, self.key, str(self.root / path))

    def find(self, folder: UPath) -> Artifact | None:
        """Return the artifact in a folder, or None if it has no manifest.

        Raises
        ------
        ArtifactError
            If the manifest cannot be trusted.
        """
        uri, path = self.uri_of(folder), folder / MANIFEST
        try:
            with answering(f"{path}: cannot be read", but=FileNotFoundError):
                manifest = self.read_document(f"{uri}/{MANIFEST}", REMEDY)
            refuse_malformed(manifest, uri)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ArtifactError(f"{path}: is not a manifest: damaged or tampered with ({error}); {REMEDY}") from error
        return Artifact(self, uri, manifest)

    def look_up(self, ref: Ref) -> Artifact | None:
        """Return the artifact at a reference's path, whatever its content; raises like :meth:`find`."""
        return self.find(self.inside(*split_names(ref.uri)))

    def manifest_status(self, ref: Ref) -> FileStatus | None:
        """Return size and time of the manifest at a reference's path, None without one; raises like :meth:`find`."""
        path = self.inside(*split_names(ref.uri), MANIFEST)
        try:
            with answering(f"{path}: cannot be read", but=FileNotFoundError):
                return file_status(self.root, f"{ref.uri}/{MANIFEST}")
        except FileNotFoundError:
            return None

    def reuse(self, ref: Ref) -> None:
        """Mark an artifact as recently used, so that pruning keeps it.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        # A marker file, since an object store cannot set the time of an existing one.
        path = self.inside(*split_names(ref.uri), _USED)
        refuse_links(self.root, f"{ref.uri}/{_USED}")
        with answering(f"{path}: the store cannot be written"):
            path.write_bytes(b"")

    def open(self, ref: Ref) -> Artifact:
        """Return the artifact that a reference names.

        Raises
        ------
        ArtifactError
            If it is missing, or its content does not match the reference.
        """
        artifact = self.look_up(ref)
        if artifact is None:
            raise ArtifactError(f"{self.root / ref.uri}: no artifact here (no {MANIFEST})")
        if artifact.ref.sha256 != ref.sha256:
            raise ArtifactError(f"{self.root / ref.uri}/{MANIFEST}: does not match the reference's sha256; {REMEDY}")
        return artifact

    def publish(self, folder: UPath, key: str, payload: Payload, facts: Mapping[str, Any]) -> Artifact:
        """Write the files, then the manifest, and return the artifact that is then in the folder.

        A manifest is never replaced: if two runs do the same work at once, the first to finish wins, and the second
        continues with its artifact.

        Parameters
        ----------
        facts
            Metadata recorded beside the summary: stage, configuration, inputs, versions, and ``usage``, the only part
            that may differ when the same work is repeated.

        Raises
        ------
        ArtifactError
            If a file is too large or has an invalid name, or the path leads through a link.
        StoreError
            If the store cannot be written; readers then see nothing.
        """
        refuse_links(self.root, self.uri_of(folder))
        attempt = f"attempt-{uuid.uuid4().hex[:12]}"
        files = {
            name: {"path": f"{attempt}/{name}", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in payload.files.items()
        }
        manifest = {**facts, "key": key, "rows": payload.rows, "files": files, "summary": payload.summary}
        document = sealed(manifest, self.key)
        _refuse_unreadable(folder, {**payload.files, MANIFEST: document})
        with answering(f"{folder}: the store cannot be written", "; this artifact does not exist"):
            (folder / attempt).mkdir(parents=True, exist_ok=True)
            for name, data in payload.files.items():
                write_durably(folder / attempt / name, data)
            first = write_once(folder / MANIFEST, document)
        found = self.find(folder)
        if found is None:
            raise ArtifactError(f"{folder / MANIFEST}: was written but cannot be read back")
        # A put that is retried after a lost response finds its own manifest.
        own = any(file.path.startswith(f"{attempt}/") for file in found.files.values())
        if not first and not own:
            _give_up(folder / attempt, equal=found.ref.sha256 == content_sha256(manifest))
        return found


def _give_up(attempt: UPath, *, equal: bool) -> None:
    """Remove the files of an attempt after another run published first."""
    if not equal:
        log.warning("%s: another run made this at once, with another result: that one's is used", attempt.parent)
    try:
        attempt.fs.rm(attempt.path, recursive=True)
    except OSError as error:
        log.warning("%s: cannot be removed (%s); no artifact refers to it", attempt, error)


def _refuse_unreadable(folder: UPath, files: Mapping[str, bytes]) -> None:
    """Refuse to write files that no reader would accept."""
    for name, data in files.items():
        limit = DOCUMENT_BYTES if name.endswith(".json") else FILE_BYTES
        if not is_name(name) or len(data) > limit:
            raise ArtifactError(
                f"{folder}: file {name!r} of {len(data):,} bytes cannot be stored: names are of letters, digits and "
                f"_.=-, and no such file has more than {limit:,} bytes; read fewer or larger source files"
            )
