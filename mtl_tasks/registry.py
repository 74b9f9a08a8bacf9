"""Which run was promoted when: an append-only list of verdicts. The champion is computed from it, never stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from upath import UPath

from mtl_tasks.errors import ArtifactError, StoreError
from mtl_tasks.store import Ref, Store, to_json, write_durably

Json = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One verdict, for ever.

    Attributes
    ----------
    scenario_document
        The scenario as it was run: what is needed to score with the run again.
    refs
        Stage to reference of its artefact.
    """

    run_key: str
    as_of: str
    decision: str
    reasons: list[str]
    scenario_document: Json
    refs: dict[str, Ref]
    code: str

    @property
    def promoted(self) -> bool:
        """Whether the run passed an enforced gate."""
        return self.decision == "promote"

    def to_json(self) -> Json:
        """Return a JSON-able form."""
        return {
            "run_key": self.run_key,
            "as_of": self.as_of,
            "decision": self.decision,
            "reasons": self.reasons,
            "scenario": self.scenario_document,
            "refs": {name: ref.to_json() for name, ref in self.refs.items()},
            "code": self.code,
        }

    @classmethod
    def from_json(cls, document: Json) -> Entry:
        """Invert :meth:`to_json`."""
        refs = {name: Ref.from_json(ref) for name, ref in document["refs"].items()}
        return cls(
            document["run_key"],
            document["as_of"],
            document["decision"],
            document["reasons"],
            document["scenario"],
            refs,
            document["code"],
        )


class Registry:
    """The verdicts of one scenario in a store, at ``<root>/<scenario>/registry/<as_of>/<number>-<run_key>.json``.

    The number counts the entries of an as_of, so that of two verdicts on one day the later one is known.
    """

    def __init__(self, store: Store, scenario: str) -> None:
        self._folder = store.root / scenario / "registry"

    def entries(self) -> list[Entry]:
        """All entries by as_of, and within one in the order they were appended.

        Raises
        ------
        ArtifactError
            If a file there cannot be read or is not an entry as it was written.
        """
        found = []
        for path in self._paths("*"):
            try:
                found.append(_read(path.read_bytes()))
            except OSError as error:
                raise StoreError(f"{path}: the registry cannot be read ({error})") from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ArtifactError(
                    f"{path}: not a registry entry ({error}): damaged or tampered with; restore the file from a backup"
                ) from error
        return found

    def append(self, entry: Entry) -> None:
        """Write an entry once; the same entry again is a no-op.

        Raises
        ------
        ArtifactError
            If another entry stands under its name, or the store cannot be written.
        """
        there = self._paths(entry.as_of)
        name = f"{entry.run_key[:32]}.json"
        document = _written(entry)
        try:
            for path in there:
                if path.name.partition("-")[2] == name:
                    if path.read_bytes() != document:
                        raise ArtifactError(f"{path}: holds another entry; entries are never changed")
                    return
            path = self._folder / entry.as_of / f"{len(there) + 1:04d}-{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, document)
        except OSError as error:
            raise StoreError(f"{self._folder}: the registry cannot be written ({error}); no entry was made") from error

    def champion(self, as_of: str) -> Entry | None:
        """The newest promoted run whose as_of is before the given one; None when there is none yet."""
        promoted = [entry for entry in self.entries() if entry.promoted and entry.as_of < as_of]
        return promoted[-1] if promoted else None

    def get(self, run_key: str) -> Entry:
        """The entry of a run.

        Raises
        ------
        ArtifactError
            If there is none.
        """
        for entry in self.entries():
            if entry.run_key == run_key:
                return entry
        raise ArtifactError(f"{self._folder}: no entry of run {run_key[:12]}")

    def _paths(self, as_of: str) -> list[UPath]:
        if not self._folder.exists():
            return []
        return sorted(self._folder.glob(f"{as_of}/*.json"), key=lambda path: (path.parent.name, path.name))


_SEAL = "seal"


def _written(entry: Entry) -> bytes:
    """Bytes of an entry with their own hash: nothing else vouches for an entry, and it decides who is champion."""
    document = entry.to_json()
    return to_json({**document, _SEAL: hashlib.sha256(to_json(document)).hexdigest()})


def _read(data: bytes) -> Entry:
    """Invert :func:`_written`; raises unless the bytes are exactly what it wrote."""
    entry = Entry.from_json(json.loads(data))
    if _written(entry) != data:
        raise ValueError("its hash does not match")
    return entry
