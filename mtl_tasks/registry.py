"""Which run was promoted when: an append-only list of verdicts and of what people ruled on them later.

The champion is computed from it, never stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from upath import UPath

from mtl_tasks.errors import ArtifactError, StoreError
from mtl_tasks.safe_files import refuse_links
from mtl_tasks.sealing import sealed, to_json
from mtl_tasks.store import Ref, Store, write_durably

Json = dict[str, Any]
Action = Literal["promote", "retire"]
PROMOTE: Final = "promote"
AWAITS_APPROVAL: Final = "awaits_approval"
_REMEDY: Final = "restore the file from a backup"


@dataclass(frozen=True)
class Entry:
    """One verdict, for ever.

    Attributes
    ----------
    decision
        ``promote``, ``reject``, ``awaits_approval`` (passed, and somebody has yet to approve), or ``dry_run:`` and
        what the gate would have decided.
    scenario_document
        The scenario as it was run: what is needed to score with the run again.
    refs
        Stage to reference of its artefact, of all stages that led to the verdict.
    metrics
        Task to metric to ``{value, low, high, …}`` of the fusion on the test window, as ``evaluate`` measured them: a
        thousand runs can be looked over without opening an artefact of each.
    """

    run_key: str
    as_of: str
    decision: str
    reasons: list[str]
    scenario_document: Json
    refs: dict[str, Ref]
    code: str
    metrics: Json = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """Whether the run passed an enforced gate."""
        return self.decision == PROMOTE

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
            "metrics": self.metrics,
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
            document.get("metrics", {}),  # entries of before these were kept have none
        )


@dataclass(frozen=True)
class Ruling:
    """What a person, or the lack of an answer, decided about a run after its verdict; the latest one counts.

    Attributes
    ----------
    action
        ``promote`` makes the run a champion whatever its verdict was, ``retire`` takes it out for good.
    by, reason, at
        Who, why, and when (ISO 8601).
    """

    run_key: str
    as_of: str
    action: Action
    by: str
    reason: str
    at: str

    def to_json(self) -> Json:
        """Return a JSON-able form."""
        return asdict(self)

    def sentence(self, entry: Entry, rulings: Sequence[Ruling]) -> str:
        """The ruling in words, given the run's entry and all that was ruled on it, oldest first."""
        before = rulings[: rulings.index(self)]
        verb = {"promote": "promoted by force", "retire": "retired"}[self.action]
        if entry.decision == AWAITS_APPROVAL and not before:  # the first is the answer
            verb = {"promote": "approved", "retire": "not approved"}[self.action]
        elif self.action == PROMOTE and (entry.promoted or any(ruling.action == PROMOTE for ruling in before)):
            verb = "promoted again"
        return f"{verb} by {self.by} at {self.at}: {self.reason}"


Record = Entry | Ruling


def standing_of(entry: Entry, rulings: Sequence[Ruling]) -> str:
    """What a run is now, in a word or two: ``promoted``, ``forced``, ``awaits approval``, ``retired``, and so on."""
    if not rulings:
        plain = {PROMOTE: "promoted", "reject": "rejected", AWAITS_APPROVAL: "awaits approval"}
        return plain.get(entry.decision, "dry run")
    asked = entry.decision == AWAITS_APPROVAL
    if rulings[-1].action == PROMOTE:
        passed = "approved" if asked and rulings[0].action == PROMOTE else "forced"
        return "promoted" if entry.promoted else passed
    return "not approved" if asked and len(rulings) == 1 else "retired"


def standing_runs(records: list[Record]) -> list[Entry]:
    """See :meth:`Registry.standing`."""
    entries: dict[tuple[str, str], Entry] = {}
    promoted: dict[tuple[str, str], Entry] = {}
    for record in records:
        run = record.as_of, record.run_key
        if isinstance(record, Entry):
            if entries.setdefault(run, record) is record and record.promoted:
                promoted[run] = record
            continue
        promoted.pop(run, None)
        if record.action == PROMOTE:
            promoted[run] = entries[run]
    return list(promoted.values())


class Registry:
    """The verdicts of one scenario in a store, at ``<root>/<scenario>/registry/<as_of>/<number>-<run_key>.json``.

    Rulings lie beside them, their action after the key. The number counts the records of an as_of, so that of two on
    one day the later one is known.
    """

    def __init__(self, store: Store, scenario: str) -> None:
        self._store, self._scenario = store, scenario
        self._folder = store.inside(scenario, "registry")

    def records(self, run_key: str | None = None) -> list[Record]:
        """Everything, or all about one run, by as_of, and within one in the order it was appended.

        Parameters
        ----------
        run_key
            The whole key of the run.

        Raises
        ------
        ArtifactError
            If a file there cannot be read, is not a record as it was written, or lies where another one belongs.
        """
        found = []
        for path in self._paths("*", "*" if run_key is None else f"*-{run_key[:32]}*"):
            try:
                found.append(self._read(path))
            except OSError as error:
                raise StoreError(f"{path}: the registry cannot be read ({error})") from error
        return [record for record in found if run_key in (None, record.run_key)]

    def version(self) -> tuple[str, ...]:
        """Names of all records: since none is ever changed, equal names mean equal records.

        Raises
        ------
        StoreError
            If the store does not answer.
        """
        try:
            return tuple(f"{path.parent.name}/{path.name}" for path in self._paths("*"))
        except OSError as error:
            raise StoreError(f"{self._folder}: the registry cannot be read ({error})") from error

    def entries(self) -> list[Entry]:
        """The verdicts, in the order of :meth:`records`; two writers at once may have left one twice."""
        found: dict[tuple[str, str], Entry] = {}
        for record in self.records():
            if isinstance(record, Entry):
                found.setdefault((record.as_of, record.run_key), record)
        return list(found.values())

    def rulings(self, run_key: str) -> list[Ruling]:
        """What was ruled on a run, oldest first."""
        return [record for record in self.records() if isinstance(record, Ruling) and record.run_key == run_key]

    def append(self, record: Record) -> None:
        """Write a record once; the same record again is a no-op.

        Raises
        ------
        ArtifactError
            If another entry stands under its name, or the store cannot be written.
        """
        there = self._paths(record.as_of)
        name, document = _name(record), sealed(record.to_json(), self._store.key)
        try:
            for path in there:
                if path.name.partition("-")[2] == name:
                    if to_json(self._read(path).to_json()) != to_json(record.to_json()):
                        raise ArtifactError(f"{path}: holds another entry; entries are never changed")
                    return
            path = self._folder / record.as_of / f"{len(there) + 1:04d}-{name}"
            refuse_links(self._store.root, self._store.uri_of(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, document)
        except OSError as error:
            raise StoreError(f"{self._folder}: the registry cannot be written ({error}); no entry was made") from error

    def standing(self) -> list[Entry]:
        """The runs that are promoted and not retired, the oldest as_of first; rulings have been applied."""
        return standing_runs(self.records())

    def champion(self, as_of: str | None = None) -> Entry | None:
        """The newest standing run whose as_of is before the given one, or of all (today's); None if there is none."""
        promoted = [entry for entry in self.standing() if as_of is None or entry.as_of < as_of]
        return promoted[-1] if promoted else None

    def get(self, run_key: str) -> Entry:
        """The entry of a run.

        Parameters
        ----------
        run_key
            The whole key, or as much of its beginning as no other run shares.

        Raises
        ------
        ArtifactError
            If there is none, or more than one.
        """
        found = [entry for entry in self.entries() if entry.run_key.startswith(run_key)] if run_key else []
        if len(found) == 1:
            return found[0]
        if found:
            raise ArtifactError(f"{self._folder}: {len(found)} runs start with {run_key!r}: give more of the key")
        raise ArtifactError(f"{self._folder}: no entry of run {run_key[:12]}")

    def _read(self, path: UPath) -> Record:
        uri = self._store.uri_of(path)
        try:
            document = self._store.read_document(uri, _REMEDY)
            record = _record(document, self._scenario)
            if f"{record.as_of}/{path.name.partition('-')[0]}-{_name(record)}" != f"{path.parent.name}/{path.name}":
                raise ValueError(f"belongs to run {record.run_key[:12]} as of {record.as_of}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path}: not a registry entry ({error}): damaged or tampered with; {_REMEDY}"
            ) from error
        return record

    def _paths(self, as_of: str, name: str = "*") -> list[UPath]:
        if not self._folder.exists():
            return []
        return sorted(self._folder.glob(f"{as_of}/{name}.json"), key=lambda path: (path.parent.name, path.name))


def _name(record: Record) -> str:
    """A record's file name without its number."""
    if isinstance(record, Entry):
        return f"{record.run_key[:32]}.json"
    digest = hashlib.sha256(to_json(record.to_json())).hexdigest()
    return f"{record.run_key[:32]}-{record.action}-{digest[:8]}.json"


def _record(document: Json, scenario: str) -> Record:
    """Invert ``to_json`` of a record; raises unless it is one of the scenario."""
    if "action" in document:
        return Ruling(**document)
    if document["scenario"]["name"] != scenario:
        raise ValueError(f"is of scenario {document['scenario']['name']!r:.50}")
    try:
        return Entry.from_json(document)
    except ArtifactError as error:  # of a reference
        raise ValueError(str(error)) from error
