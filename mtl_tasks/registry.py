"""Which run was promoted when: an append-only list of verdicts. The champion is computed from it, never stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mtl_tasks.errors import ArtifactError
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
    """The verdicts of one scenario in a store, at ``<root>/<scenario>/registry/<as_of>/<run_key>.json``."""

    def __init__(self, store: Store, scenario: str) -> None:
        self._folder = store.root / scenario / "registry"

    def entries(self) -> list[Entry]:
        """All entries, oldest as_of first.

        Raises
        ------
        ArtifactError
            If a file there cannot be read or is not an entry as it was written.
        """
        found = []
        for path in sorted(self._folder.glob("*/*.json"), key=str) if self._folder.exists() else []:
            try:
                found.append(_read(path.read_bytes()))
            except OSError as error:
                raise ArtifactError(f"{path}: the registry cannot be read ({error})") from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ArtifactError(
                    f"{path}: not a registry entry ({error}): damaged or tampered with; restore the file from a backup"
                ) from error
        return sorted(found, key=lambda entry: (entry.as_of, entry.run_key))

    def append(self, entry: Entry) -> None:
        """Write an entry once; the same entry again is a no-op.

        Raises
        ------
        ArtifactError
            If another entry stands under its name, or the store cannot be written.
        """
        path = self._folder / entry.as_of / f"{entry.run_key[:32]}.json"
        document = _written(entry)
        try:
            if path.exists():
                if path.read_bytes() != document:
                    raise ArtifactError(f"{path}: holds another entry; entries are never changed")
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, document)
        except OSError as error:
            raise ArtifactError(f"{path}: the registry cannot be written ({error}); nothing was published") from error

    def champion(self, as_of: str) -> Entry | None:
        """The newest promoted run whose as_of is before the given one; None when there is none yet."""
        promoted = [entry for entry in self.entries() if entry.promoted and entry.as_of < as_of]
        return promoted[-1] if promoted else None


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
