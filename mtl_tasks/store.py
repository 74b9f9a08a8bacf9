"""Artefacts that cannot be half-written: files in a fresh attempt folder, then one manifest that names them.

``<root>/<scenario>/<as_of>/<stage>/<key>/manifest.json``. No manifest, no artefact. Nothing relies on renaming a
folder, so a disk and an object store behave alike.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.errors import ArtifactError, StoreError
from mtl_tasks.store_address import checked_address

MANIFEST = "manifest.json"
DAYS = "days"  # beside the as_of folders of a scenario: what belongs to a day of the log rather than to a run
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Ref:
    """All that passes between stages: where an artefact is (relative to the store) and what it must hash to.

    ``sha256`` is that of the content: of all that the manifest says but where the files lie and what making them
    cost. Work that is done again therefore gives an equal reference. ``rows`` is for people.
    """

    uri: str
    key: str
    sha256: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Ref:
        """Invert :meth:`to_json`."""
        return cls(**document)


@dataclass
class Payload:
    """What a stage wants stored: file name to bytes, and a summary for the manifest."""

    files: dict[str, bytes] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: int = 0

    def add_frame(self, name: str, frame: pd.DataFrame, *, measurements: bool = False) -> None:
        """Add a table as ``name.parquet``.

        Parameters
        ----------
        measurements
            Whether its numbers seldom repeat: they are then written without a dictionary, in half the time.
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
        """Add a document as ``name.json``; NaN is refused, a metric that could not be computed is null."""
        self.files[f"{name}.json"] = to_json(document)

    def add_text(self, name: str, text: str) -> None:
        """Add a text file under its full name."""
        self.files[name] = text.encode()


def day_refs(artifact: Artifact) -> list[Ref]:
    """Return where the days are that an artefact of a stage refers to, in their order."""
    return [Ref.from_json(entry) for entry in artifact.json(DAYS)]


def to_json(document: Any) -> bytes:
    """Serialise with sorted keys, so that equal documents are equal bytes."""
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def pack_arrays(arrays: Arrays) -> bytes:
    """Write arrays as npz bytes that depend on nothing but the arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def unpack_arrays(data: bytes, expected: Mapping[str, tuple[str, int]], where: str) -> Arrays:
    """Read npz bytes, refusing any array that is not expected.

    Parameters
    ----------
    expected
        Array name to (dtype kind such as ``"f"``, number of dimensions).

    Raises
    ------
    ArtifactError
        If the bytes are not npz, hold Python objects, or hold other arrays than expected.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            if set(archive.files) != set(expected):
                raise ArtifactError(f"{where}: holds arrays {sorted(archive.files)}, expected {sorted(expected)}")
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{where}: not a file of plain arrays ({error}); {_REMEDY}") from error
    for name, (kind, dimensions) in expected.items():
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != dimensions:
            raise ArtifactError(f"{where}: array {name!r} is {array.dtype} with {array.ndim} dimensions")
    return arrays


class Artifact:
    """A published artefact; every read is checked against the manifest before it is parsed."""

    def __init__(self, folder: UPath, uri: str, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.ref = Ref(uri, manifest["key"], _content_sha256(manifest), manifest["rows"])

    @property
    def summary(self) -> dict[str, Any]:
        """The stage's own summary, as it stands in the manifest."""
        summary: dict[str, Any] = self.manifest["summary"]
        return summary

    @property
    def names(self) -> list[str]:
        """Names of the files."""
        return sorted(self.manifest["files"])

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        ArtifactError
            If the file is unknown, missing, or differs in size or sha256 from the manifest.
        """
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise ArtifactError(f"{self.folder}: no file {name!r} in the manifest (has {', '.join(self.names)})")
        with _reading(self.folder / entry["path"]) as path:
            data = bytes(path.read_bytes())
        if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise _damaged(path)
        return data

    def frame(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the table ``name.parquet``."""
        return pd.read_parquet(io.BytesIO(self.read(f"{name}.parquet")), columns=columns)

    def column_names(self, name: str) -> list[str]:
        """Return the names of the columns of the table ``name.parquet``."""
        import pyarrow.parquet as pq  # takes a while to import

        names: list[str] = pq.read_schema(io.BytesIO(self.read(f"{name}.parquet"))).names
        return names

    def arrays(self, name: str, expected: Mapping[str, tuple[str, int]]) -> Arrays:
        """Return the arrays of ``name.npz``; see :func:`unpack_arrays`."""
        return unpack_arrays(self.read(f"{name}.npz"), expected, f"{self.folder}/{name}.npz")

    def json(self, name: str) -> Any:
        """Return the document ``name.json``."""
        return json.loads(self.read(f"{name}.json"))

    def verify(self) -> None:
        """Check every file; raises like :meth:`read`."""
        for name in self.names:
            self.read(name)

    def verify_sizes(self) -> None:
        """Check that every file is there, and whole by its size, for one whose readers check the rest.

        Raises
        ------
        ArtifactError
            If one is missing or of another size.
        """
        for entry in self.manifest["files"].values():
            with _reading(self.folder / entry["path"]) as path:
                size = path.stat().st_size
            if size != entry["size"]:
                raise _damaged(path)


@contextmanager
def _reading(path: UPath) -> Iterator[UPath]:
    """Say which file that a manifest names cannot be read."""
    try:
        yield path
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: named by its manifest but missing; {_REMEDY}") from error
    except OSError as error:
        raise StoreError(f"{path}: named by its manifest but cannot be read ({error})") from error


def _damaged(path: UPath) -> ArtifactError:
    return ArtifactError(
        f"{path}: does not match its manifest (sha256 or size differs): damaged or tampered with; {_REMEDY}"
    )


_REMEDY = "delete this artefact's folder and run again, or run with --force"
_USED = "used"
_SEAL = "seal"
_SEAL_LINE = re.compile(rb'\n "seal": "([0-9a-f]{64})"(,?)(?=\n)')


def sealed(document: dict[str, Any]) -> bytes:
    """Bytes of a document with their own hash, so that a changed byte shows even to a reader who has no reference."""
    return to_json({**document, _SEAL: hashlib.sha256(to_json(document)).hexdigest()})


def unsealed(data: bytes) -> dict[str, Any]:
    """Invert :func:`sealed`; raises ValueError unless the bytes are exactly what it wrote.

    The seal's line is cut out of the bytes: to write the document again takes ten times as long, and a board reads
    thousands.
    """
    line = _SEAL_LINE.match(data, max(data.find(b'\n "seal": '), 0))
    if line is None:
        raise ValueError("no seal")
    before = data[: line.start()] if line[2] else data[: line.start()].removesuffix(b",")
    body = before + data[line.end() :]
    if hashlib.sha256(body).hexdigest().encode() != line[1]:
        raise ValueError("its hash does not match")
    document: dict[str, Any] = json.loads(body)
    return document


def _content_sha256(manifest: dict[str, Any]) -> str:
    files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    content = {name: value for name, value in manifest.items() if name != "usage"} | {"files": files}
    return hashlib.sha256(to_json(content)).hexdigest()


class Store:
    """A root folder (a path or an fsspec URI) that holds artefacts by scenario, as_of, stage and key."""

    def __init__(self, root: str) -> None:
        self.root = UPath(checked_address(root))

    def folder(self, scenario: str, as_of: str, stage: str, key: str) -> UPath:
        """Where an artefact lives."""
        return self.root / scenario / as_of / stage / key[:32]

    def find(self, folder: UPath) -> Artifact | None:
        """Return the artefact in a folder, or None if it has no manifest.

        Raises
        ------
        ArtifactError
            If there is a manifest and it cannot be trusted.
        """
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error})") from error
        try:
            manifest = unsealed(data)
        except ValueError as error:
            raise ArtifactError(f"{path}: is not a manifest: damaged or tampered with; {_REMEDY}") from error
        uri = str(folder)[len(str(self.root)) :].lstrip("/")
        return Artifact(folder, uri, manifest)

    def reuse(self, ref: Ref) -> None:
        """Note that a run is about to refer to an artefact made before: to whoever prunes it is then young.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        path = self.root / ref.uri / _USED  # an object store lets nobody set the time of a file that is there
        try:
            path.write_bytes(b"")
        except OSError as error:
            raise StoreError(f"{path}: the store cannot be written ({error})") from error

    def open(self, ref: Ref) -> Artifact:
        """Return the artefact that a reference names.

        Raises
        ------
        ArtifactError
            If it is not there, or its content is not what the reference says.
        """
        artifact = self.find(self.root / ref.uri)
        if artifact is None:
            raise ArtifactError(f"{self.root / ref.uri}: no artefact here (no {MANIFEST})")
        if artifact.ref.sha256 != ref.sha256:
            raise ArtifactError(f"{self.root / ref.uri}/{MANIFEST}: does not match the reference's sha256; {_REMEDY}")
        return artifact

    def publish(self, folder: UPath, key: str, payload: Payload, facts: Mapping[str, Any]) -> Artifact:
        """Write the files, then the manifest.

        Parameters
        ----------
        facts
            What is recorded beside the summary: stage, configuration, inputs, versions, and under ``usage`` the
            times, the only part that may differ when the same work is done again.

        Raises
        ------
        ArtifactError
            If the store cannot be written; nothing is then visible to readers.
        """
        attempt = f"attempt-{uuid.uuid4().hex[:12]}"
        files = {
            name: {"path": f"{attempt}/{name}", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in payload.files.items()
        }
        manifest = {**facts, "key": key, "rows": payload.rows, "files": files, "summary": payload.summary}
        try:
            (folder / attempt).mkdir(parents=True, exist_ok=True)
            for name, data in payload.files.items():
                write_durably(folder / attempt / name, data)
            write_durably(folder / MANIFEST, sealed(manifest))
        except OSError as error:
            raise StoreError(
                f"{folder}: the store cannot be written ({error}); this artefact does not exist"
            ) from error
        found = self.find(folder)
        if found is None:
            raise ArtifactError(f"{folder / MANIFEST}: was written but cannot be read back")
        return found


def write_durably(path: UPath, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing.

    On a disk by a temporary name, fsync and replace; an object store's put is already all or nothing.
    """
    if path.protocol not in ("", "file", "local"):
        path.write_bytes(data)
        return
    final = path.path
    temporary = f"{final}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, final)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
