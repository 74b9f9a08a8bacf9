"""Append-only registry of verdicts and of later decisions about them.

The champion is computed from it, never stored. An unreadable record excludes its own run and no other.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from upath import UPath

from mtl_tasks.core.errors import ArtifactError, GateError, SealError, StoreError, answering
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.durable_files import write_durably
from mtl_tasks.store.records import (
    AWAITING,
    AWAITS_APPROVAL,
    KEY_LENGTH,
    PROMOTE,
    SCHEMA,
    UNREADABLE,
    Action,
    Damaged,
    Decision,
    Quarantined,
    RecordName,
    RegistryEvent,
    RunId,
    RunRecord,
    SchemaError,
    read_record,
    record_name,
    run_id,
    standing_of,
)
from mtl_tasks.store.safe_files import DOCUMENT_BYTES, read_file, refuse_links
from mtl_tasks.store.sealing import sealed

__all__ = [
    "AWAITING",
    "AWAITS_APPROVAL",
    "PROMOTE",
    "Action",
    "Damaged",
    "Decision",
    "Quarantined",
    "Registry",
    "RegistryEvent",
    "RunRecord",
    "Snapshot",
    "standing_of",
]

_REMEDY: Final = "restore the file from a backup"
QUARANTINE: Final = "quarantine"  # folder beside the records of an as_of
QUARANTINED: Final = "record quarantined"  # status of a run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decided:
    """A run's verdict and the decisions about it.

    Attributes
    ----------
    rulings
        Decisions that count, oldest first.
    late
        Answers to the approval request that came after a decision; they do not count.
    last
        Number and file name of the record that decided last.
    """

    entry: RunRecord
    rulings: tuple[Decision, ...]
    late: tuple[Decision, ...]
    last: tuple[int, str]

    @property
    def promoted(self) -> bool:
        """Whether the run is promoted and not retired."""
        return self.rulings[-1].action == PROMOTE if self.rulings else self.entry.promoted


@dataclass(frozen=True)
class Snapshot:
    """The content of a registry when it was read, so that many queries cost one read.

    Attributes
    ----------
    placed
        File name and record, by as_of, then in the order they were appended.
    """

    placed: tuple[tuple[str, RegistryEvent], ...]
    damaged: tuple[Damaged, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()

    @cached_property
    def runs(self) -> dict[RunId, Decided]:
        """Runs with a verdict, in verdict order; a record that concurrent writers left twice counts once."""
        found: dict[RunId, Decided] = {}
        for name, record in self.placed:
            if isinstance(record, RunRecord):
                found.setdefault(run_id(record), Decided(record, (), (), _order(name)))
        for name, record in self.placed:
            run = found.get(run_id(record))
            if run is None or isinstance(record, RunRecord) or record in (*run.rulings, *run.late):
                continue
            found[run_id(record)] = _ruled(run, record, name)
        return found

    @property
    def entries(self) -> list[RunRecord]:
        """The records of the verdicts."""
        return [run.entry for run in self.runs.values()]

    def rulings(self, run_key: str) -> list[Decision]:
        """Return the decisions about a run that count, oldest first."""
        return [ruling for run in self.runs.values() if run.entry.run_key == run_key for ruling in run.rulings]

    def late_answers(self, run_key: str) -> list[Decision]:
        """Return the answers to the approval request that came after a decision."""
        return [ruling for run in self.runs.values() if run.entry.run_key == run_key for ruling in run.late]

    @cached_property
    def standing(self) -> list[RunRecord]:
        """Runs that are promoted, not retired, and have sound records, oldest as_of first."""
        promoted = [run for run in self.runs.values() if run.promoted and self.obstacle(run.entry) is None]
        return [run.entry for run in sorted(promoted, key=lambda run: (run.entry.as_of, run.last))]

    def standing_of(self, entry: RunRecord) -> str:
        """Return the status of a run, or ``record damaged`` or ``record quarantined``: no such run is champion."""
        return self.obstacle(entry) or standing_of(entry, self.rulings(entry.run_key))

    def obstacle(self, entry: RunRecord) -> str | None:
        """Return why a run cannot be champion whatever its sound records say; None if nothing prevents it."""
        if self.damaged_of(entry):
            return "record damaged"
        if any(record.run == run_id(entry) and self._is_open(record) for record in self.quarantined):
            return QUARANTINED
        return None

    def damaged_of(self, entry: RunRecord) -> list[Damaged]:
        """Return a run's damaged records; one whose name does not say its run counts for all runs of its as_of."""
        same_day = [record for record in self.damaged if record.as_of == entry.as_of]
        return [record for record in same_day if record.run in (None, run_id(entry))]

    def champion(self, as_of: str | None = None) -> RunRecord | None:
        """Return the newest promoted run before an as_of, or of all (today's champion); None if there is none.

        Raises
        ------
        ArtifactError
            If there is none, but a damaged record may be one.
        """
        promoted = [entry for entry in self.standing if as_of is None or entry.as_of < as_of]
        if promoted:
            return promoted[-1]
        for record in self.damaged:
            if as_of is None or record.as_of < as_of:
                raise ArtifactError(f"no champion is known, and none before it to fall back to: {record.why}")
        return None

    def newer_damage(self, champion: RunRecord, before: str | None = None) -> list[Damaged]:
        """Return the damaged records that may belong to a newer champion than this one."""
        return [
            record
            for record in self.damaged
            if record.as_of >= champion.as_of and (before is None or record.as_of < before)
        ]

    def get(self, run_key: str) -> RunRecord:
        """Return a run's record.

        Parameters
        ----------
        run_key
            The full key, or a prefix that no other run shares.

        Raises
        ------
        ArtifactError
            If there is none or more than one, or it is damaged.
        """
        found = [entry for entry in self.entries if entry.run_key.startswith(run_key)] if run_key else []
        if len(found) == 1:
            return found[0]
        if found:
            raise ArtifactError(f"{len(found)} runs start with {run_key!r}: give more digits of the key")
        for record in (*self.damaged, *self.quarantined):
            if run_key and record.run is not None and record.run[1].startswith(run_key[:KEY_LENGTH]):
                raise ArtifactError(record.why)
        raise ArtifactError(f"no entry of run {run_key[:12]} in the registry: see registry list")

    def warnings(self) -> list[str]:
        """Return one sentence for each damaged record, for everyone who reads the registry."""
        return [f"{record.short}; the run is not taken as champion: {record.why}" for record in self.damaged]

    def lacks_verdict(self, record: Quarantined) -> bool:
        """Whether a run's verdict was quarantined and the run was not recorded again."""
        parsed = RecordName.parse(record.name)
        return (parsed is None or parsed.action is None) and record.run not in self.runs

    def _is_open(self, record: Quarantined) -> bool:
        """Whether a quarantined decision may still matter, as nobody has decided since."""
        parsed = RecordName.parse(record.name)
        if parsed is None or parsed.action is None:
            return False
        decisions = ((name, kept) for name, kept in self.placed if isinstance(kept, Decision) and not kept.answer)
        later = [name for name, kept in decisions if run_id(kept) == record.run]
        return not any(name == record.name or _order(name)[0] > parsed.number for name in later)


def _order(name: str) -> tuple[int, str]:
    """Return the sort key of a record within its as_of: number, then name.

    A store that cannot refuse the second of two writers may hold two records with one number.
    """
    parsed = RecordName.parse(name)
    return (0 if parsed is None else parsed.number), name


def _ruled(run: Decided, ruling: Decision, name: str) -> Decided:
    if ruling.answer and (run.rulings or run.entry.decision != AWAITS_APPROVAL):
        return replace(run, late=(*run.late, ruling))
    return replace(run, rulings=(*run.rulings, ruling), last=_order(name))


class Registry:
    """Registry of one scenario, at ``<root>/<scenario>/registry/<as_of>/<number>-<run_key>.json``.

    Decisions are beside the verdicts, with their action after the key. The number counts the records of an as_of, so
    that the later of two is known; a writer claims it with ``<number>.claim``.
    """

    def __init__(self, store: Store, scenario: str) -> None:
        self._store, self._scenario = store, scenario
        self._folder = store.inside(scenario, "registry")

    def read(self, run_key: str | None = None) -> Snapshot:
        """Read all records, or those of one run; damaged ones are logged and returned separately.

        Parameters
        ----------
        run_key
            The full key of the run.

        Raises
        ------
        StoreError
            If the store does not answer.
        SealError
            If no record can be read because the store is sealed with another key, or without one.
        """
        placed: list[tuple[str, RegistryEvent]] = []
        damaged, sealed_otherwise = [], None
        with answering(f"{self._folder}: the registry cannot be read"):
            listing = self._listing()
            for as_of, name in _records_in(listing):
                parsed = RecordName.parse(name)
                if run_key is not None and parsed is not None and parsed.key != run_key[:KEY_LENGTH]:
                    continue
                try:
                    placed.append((name, self._read(as_of, name)))
                except UNREADABLE as error:
                    damaged.append(Damaged(as_of, name, self._fault(as_of, name, error)))
                    sealed_otherwise = sealed_otherwise or (error if isinstance(error, SealError) else None)
            aside = [self._set_aside(as_of, name) for as_of, name in _quarantined_in(listing)]
        if sealed_otherwise is not None and not placed:  # the key is wrong, not the records
            raise sealed_otherwise
        if run_key is not None:
            placed = [(name, record) for name, record in placed if record.run_key == run_key]
            damaged = [record for record in damaged if record.run is not None or placed]
        found = Snapshot(tuple(placed), tuple(damaged), tuple(aside))
        for warning in found.warnings():
            log.warning("%s", warning)
        return found

    def version(self) -> tuple[str, ...]:
        """Return the names of all records; records never change, so equal names mean equal records.

        Raises
        ------
        StoreError
            If the store does not answer.
        """
        with answering(f"{self._folder}: the registry cannot be read"):
            return tuple(name for name in self._listing() if name.endswith(".json"))

    def records(self) -> list[RegistryEvent]:
        """Return every sound record, by as_of, then in the order they were appended."""
        return [record for _, record in self.read().placed]

    def entries(self) -> list[RunRecord]:
        """See :class:`Snapshot`, as for the methods below; for several queries, call :meth:`read` once."""
        return self.read().entries

    def rulings(self, run_key: str) -> list[Decision]:
        """Return the decisions about a run that count, oldest first."""
        return self.read(run_key).rulings(run_key)

    def standing(self) -> list[RunRecord]:
        """See :attr:`Snapshot.standing`."""
        return self.read().standing

    def champion(self, as_of: str | None = None) -> RunRecord | None:
        """See :meth:`Snapshot.champion`."""
        return self.read().champion(as_of)

    def get(self, run_key: str) -> RunRecord:
        """See :meth:`Snapshot.get`."""
        return self.read().get(run_key)

    def append(self, record: RegistryEvent) -> None:
        """Write a record once; the same record again is a no-op.

        Raises
        ------
        ArtifactError
            If another record, or a damaged one, has its name.
        StoreError
            If the store cannot be written.
        """
        name = record_name(record)
        with answering(f"{self._folder}: the registry cannot be written", "; no entry was made"):
            listing = self._listing()
            for as_of, there in _records_in(listing):
                if as_of == record.as_of and there.partition("-")[2] == name:
                    self._require_same(as_of, there, record)
                    return
            refuse_links(self._store.root, self._store.uri_of(self._folder / record.as_of))
            (self._folder / record.as_of).mkdir(parents=True, exist_ok=True)
            number = self._claim(record.as_of, name, listing)
            document = sealed({"schema": SCHEMA, **record.to_json()}, self._store.key)
            write_durably(self._folder / record.as_of / f"{number:04d}-{name}", document)

    def quarantine(self, location: str, *, by: str, reason: str, at: str) -> Quarantined:
        """Move a damaged record out of the registry; its bytes are kept beside the records, with who, why and when.

        Parameters
        ----------
        location
            ``<as_of>/<file name>``, or the file name alone.

        Raises
        ------
        GateError
            If the record is sound, or the reason is empty.
        ArtifactError
            If there is no such record.
        """
        if not reason.strip():
            raise GateError("to quarantine a record, say why: --reason must not be empty")
        damaged = self._find_damaged(location)
        path = self._folder / damaged.as_of / damaged.name
        with answering(f"{self._folder}: the registry cannot be written", "; the record was not moved"):
            data = self._bytes_of(path)
            aside = self._folder / damaged.as_of / QUARANTINE
            aside.mkdir(parents=True, exist_ok=True)
            kept = aside / f"{hashlib.sha256(data).hexdigest()[:8]}-{damaged.name}"
            note = {"schema": SCHEMA, "by": by, "reason": reason.strip(), "at": at, "why": damaged.why}
            write_durably(kept, data)
            if kept.read_bytes() != data:
                raise StoreError(f"{kept}: the copy differs from what was written; the record was not moved")
            write_durably(aside / f"{kept.name}.note", sealed(note, self._store.key))
            path.unlink()
        return Quarantined(damaged.as_of, damaged.name, damaged.why, by, reason.strip(), at)

    def _bytes_of(self, path: UPath) -> bytes:
        """Return the bytes of a damaged record, which may be anything."""
        data = read_file(self._store.root, self._store.uri_of(path), DOCUMENT_BYTES)
        if data is None:
            raise ArtifactError(f"{path}: has more than {DOCUMENT_BYTES:,} bytes and is not copied: move it by hand")
        return data

    def _find_damaged(self, location: str) -> Damaged:
        snapshot = self.read()
        found = [record for record in snapshot.damaged if location in (record.location, record.name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ArtifactError(f"{len(found)} damaged records are called {location}: write <as_of>/{location}")
        if any(location in (name, f"{record.as_of}/{name}") for name, record in snapshot.placed):
            raise GateError(
                f"{location} is sound, and only damaged records are set aside: to take a run out, use registry rollback"
            )
        known = ", ".join(record.location for record in snapshot.damaged) or "none"
        raise ArtifactError(f"no record {location!r} in the registry of {self._scenario} (damaged are: {known})")

    def _claim(self, as_of: str, name: str, listing: list[str]) -> int:
        """Claim the next number of an as_of, which no other writer then gets."""
        taken = re.compile(rf"{as_of}/(?:{QUARANTINE}/[0-9a-f]{{8}}-)?(\d+)[-.]")
        numbers = [int(found[1]) for path in listing if (found := taken.match(path)) is not None]
        for number in itertools.count(max(numbers, default=0) + 1):
            if _create(self._folder / as_of / f"{number:04d}.claim", name.encode()):
                return number
        raise AssertionError("counting does not end")

    def _read(self, as_of: str, name: str) -> RegistryEvent:
        document = self._store.read_document(self._store.uri_of(self._folder / as_of / name), _REMEDY)
        return read_record(document, self._scenario, as_of, name)

    def _require_same(self, as_of: str, name: str, record: RegistryEvent) -> None:
        try:
            there = self._read(as_of, name)
        except UNREADABLE as error:
            raise ArtifactError(self._fault(as_of, name, error)) from error
        if there != record:
            raise ArtifactError(f"{self._folder / as_of / name}: holds another entry; entries are never changed")

    def _set_aside(self, as_of: str, name: str) -> Quarantined:
        original = name.partition("-")[2]
        path = self._folder / as_of / QUARANTINE / f"{name}.note"
        try:
            note = self._store.read_document(self._store.uri_of(path), _REMEDY)
            said = [str(note[part]) for part in ("why", "by", "reason", "at")]
        except (FileNotFoundError, *UNREADABLE):
            said = [f"{path}: missing or damaged", "somebody", "the note that said why is missing or damaged", "?"]
        return Quarantined(as_of, original, f"{as_of}/{original} was set aside: {said[0]}", *said[1:])

    def _fault(self, as_of: str, name: str, error: Exception) -> str:
        fault, remedy = f"not a registry entry ({error}): damaged or tampered with", _REMEDY
        if isinstance(error, SchemaError):
            fault, remedy = str(error), "run the code that wrote it"
        aside = f"{PROGRAM} registry quarantine {self._scenario} {as_of}/{name} --reason TEXT"
        return f"{self._folder / as_of / name}: {fault}; {remedy}, or set it aside: {aside}"

    def _listing(self) -> list[str]:
        """Return the paths of all files relative to the registry folder, sorted; records are in appending order."""
        files, root = self._folder.fs, self._folder.path.rstrip("/")
        files.invalidate_cache()  # bucket clients cache listings
        if self._folder.protocol in ("", "file", "local"):
            walk = os.walk(root, onerror=_raise_unless_missing)
            found = [os.path.join(folder, name) for folder, *names in walk for name in itertools.chain(*names)]
        else:
            found = files.find(root)
        relative = [path[len(root) + 1 :].replace(os.sep, "/") for path in found]
        return sorted(relative, key=lambda path: (path.split("/")[:-1], _order(path.rsplit("/", 1)[-1])))


def _records_in(listing: list[str]) -> list[tuple[str, str]]:
    """Return as_of and name of each record."""
    parts = [path.split("/") for path in listing if path.endswith(".json")]
    return [(part[0], part[1]) for part in parts if len(part) == 2 and not part[1].startswith(".")]  # macOS's ._x.json


def _quarantined_in(listing: list[str]) -> list[tuple[str, str]]:
    parts = [path.split("/") for path in listing if path.endswith(".json")]
    return [(part[0], part[2]) for part in parts if len(part) == 3 and part[1] == QUARANTINE]


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _create(path: UPath, data: bytes) -> bool:
    """Write a file unless it exists, and return whether it was written; of concurrent writers one succeeds."""
    try:
        if path.protocol in ("", "file", "local"):
            with open(path.path, "xb") as handle:
                handle.write(data)
        else:
            path.fs.pipe_file(path.path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        path.write_bytes(data)  # a store without conditional writes: names order two records with one number
    return True
