"""Erasure of a user from a scenario's store, and its records, which do not name the user.

At no time does a readable artifact refer to one that is gone, and a second call completes one that was interrupted.
Tables that only a run needs are removed and made again from the log. Recommendations are replaced by ones without the
user's rows. The log's own parts, from which everything else is found, go last.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.documents import ArtifactDocument, StoredDocument
from mtl_tasks.core.errors import ArtifactError, ConfigError, MtlError, SealError, StoreError
from mtl_tasks.pipeline.holdings import Holding, Holdings, Person, find_holdings, snapshot_without, user_columns
from mtl_tasks.pipeline.past_documents import shown_document
from mtl_tasks.pipeline.past_runs import read_run
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Payload, Store, to_json
from mtl_tasks.store.documents import read_part
from mtl_tasks.store.documents.data import SampleUsers
from mtl_tasks.store.durable_files import write_durably, write_once
from mtl_tasks.store.pruning import Removable, remove
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import sealed

FOLDER: Final = "erasures"
log = logging.getLogger(__name__)

_LISTS: Final = "recommendations"
_SAMPLE: Final = "sample"
_ASKED: Final = "-asked.json"
_DONE: Final = "-done.json"
_REMEDY: Final = "restore the file from a backup"


class LearnedRun(ArtifactDocument):
    """A run whose models learned from the user."""

    run_key: str
    as_of: str


class ErasureRequest(StoredDocument):
    """The record of who asked for an erasure, when and why, and of what it erases.

    Attributes
    ----------
    files
        Kind of holding to number of files.
    champion
        Key of the champion of the time.
    """

    by: str
    at: str
    reason: str
    files: dict[str, int]
    learned: tuple[LearnedRun, ...]
    may_have_learned: tuple[LearnedRun, ...]
    champion: str | None


class ErasureCompletion(StoredDocument):
    """The record of the time at which an erasure was complete."""

    at: str


@dataclass(frozen=True)
class PastErasure:
    """An erasure that was asked for; ``done`` is its time of completion, None if incomplete."""

    request: ErasureRequest
    done: str | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {**self.request.to_json(), "done": self.done}


@dataclass(frozen=True)
class Erasure:
    """Plan of an erasure, and its execution.

    Attributes
    ----------
    holdings
        The user's data in the store.
    user_columns
        Names of the log's user column in snapshots.
    champion
        Key of today's champion.
    """

    store: Store
    scenario: str
    person: Person
    holdings: Holdings
    user_columns: frozenset[str]
    champion: str | None

    @classmethod
    def plan(cls, store: Store, scenario: str, user: str, document: Mapping[str, Any] | None) -> Erasure:
        """Search the store for a user.

        Parameters
        ----------
        document
            Today's scenario; None if its file no longer exists.

        Raises
        ------
        ConfigError
            If ``user`` cannot be an id of the log.
        ArtifactError
            If a record of the registry is damaged, or the store cannot be read.
        """
        if not user.strip():
            raise ConfigError("--user: is empty: give the user's id as the log has it")
        snapshot, person = Registry(store, scenario).read(), Person(user)
        for record in snapshot.damaged:
            raise ArtifactError(f"{scenario}: which models learned from the user is unknown: {record.why}")
        named = user_columns(snapshot.entries, document)
        champion = snapshot.champion()
        found = find_holdings(store, scenario, person, named)
        return cls(store, scenario, person, found, frozenset(named), None if champion is None else champion.run_key)

    def begin(self, *, by: str, reason: str, at: str) -> str:
        """Record who asked, when and why, what will be erased, and which models learned from the user.

        Returns
        -------
        str
            The name of the record.

        Raises
        ------
        ConfigError
            If there is no reason, or the reason or the name quotes the id, which the record would keep.
        """
        if not reason.strip():
            raise ConfigError("--reason: is needed with --delete: say why, without naming the person")
        for option, text in (("--reason", reason), ("--by", by)):
            if self.person.quoted_in(text):
                raise ConfigError(f"{option}: quotes the user's id, and the record would keep it: leave it out")
        name = f"{at.replace('-', '').replace(':', '').replace('+0000', 'Z')}-{uuid.uuid4().hex[:8]}"
        request = ErasureRequest(
            by=by,
            at=at,
            reason=reason.strip(),
            files=self.holdings.counts(),
            learned=_named(self.holdings.learned),
            may_have_learned=_named(self.holdings.may_have_learned),
            champion=self.champion,
        )
        _write_record(self.store, self.scenario, f"{name}-asked", request)
        return name

    def shown_in(self) -> list[str]:
        """Return the keys of the runs whose pages show the user, until these are replaced."""
        return [entry.run_key for entry in self._runs_of([one for one in self.holdings.found if one.kind == "pages"])]

    def carry_out(self) -> list[str]:
        """Erase the user, and return what could not be made again, one sentence each.

        Raises
        ------
        StoreError
            If the store cannot be written; running the same command again resumes.
        """
        notes: list[str] = []
        by_kind: dict[str, list[Holding]] = {}
        for holding in self.holdings.found:
            by_kind.setdefault(holding.kind, []).append(holding)
        for listed in by_kind.pop("lists", []):
            notes += self._replace_lists(listed)
        notes += self._replace_pages(by_kind.pop("pages", []))
        for kind in ("tables", "days"):
            _remove(by_kind.pop(kind, []))
        for kept in by_kind.pop("snapshots", []):
            self._rewrite_snapshot(kept.path)
        _remove(by_kind.pop("log", []))
        return notes

    def end(self, name: str, at: str) -> None:
        """Record that an erasure is complete."""
        _write_record(self.store, self.scenario, f"{name}-done", ErasureCompletion(at=at))

    def _replace_lists(self, listed: Holding) -> list[str]:
        """Write recommendations without the user under a key of their own, then remove the old ones."""
        notes = []
        try:
            old = self.store.find(listed.path)
            if old is not None:
                self._publish_lists(old)
        except (StoreError, SealError):
            raise
        except ArtifactError as error:
            notes.append(f"lists that were damaged are removed, not rewritten: {error}")
        _remove([listed])
        return notes

    def _publish_lists(self, old: Artifact) -> None:
        lists = old.frame(_LISTS)
        kept = lists[~self.person.among(lists[columns.USER])].reset_index(drop=True)
        payload = Payload(rows=len(kept), summary={**old.summary, "users": int(kept[columns.USER].nunique())})
        payload.add_frame(_LISTS, kept)
        sample = read_part(old, _SAMPLE, SampleUsers)
        payload.add_json(_SAMPLE, [user.to_json() for user in sample if not self.person.is_id(user.user_id)])
        about = {name: hashlib.sha256(data).hexdigest() for name, data in payload.files.items()}
        key = hashlib.sha256(to_json({"instead_of": old.ref.key, "files": about})).hexdigest()
        facts = {name: old.manifest[name] for name in old.manifest if name not in ("key", "rows", "files", "summary")}
        # A run's newest recommendations count, so these keep the age of those that they replace.
        made_at = {"made_at": (old.folder / MANIFEST).stat().st_mtime} | facts["usage"]
        folder = self.store.folder(self.scenario, old.manifest["as_of"], "recommend", key)
        self.store.publish(folder, key, payload, {**facts, "usage": made_at})

    def _replace_pages(self, pages: list[Holding]) -> list[str]:
        """Render the pages again while the tables still exist, then remove the old ones."""
        notes = []
        for entry in self._runs_of(pages):
            try:
                shown_document(self.store, read_run(self.store, self.scenario, entry.run_key))
            except (StoreError, SealError):
                raise
            except MtlError as error:
                notes.append(f"the page of run {entry.run_key[:12]} is removed, not made again: {error}")
        _remove(pages)
        return notes

    def _runs_of(self, pages: list[Holding]) -> list[RunRecord]:
        gates = set()
        for page in pages:
            try:
                artifact = self.store.find(page.path)
                gates |= set() if artifact is None else {artifact.inputs["gate"]}
            except (StoreError, SealError):
                raise
            except ArtifactError as error:
                log.warning("a page is removed, not made again: %s", error)
        return [entry for entry in Registry(self.store, self.scenario).entries() if entry.refs["gate"].key in gates]

    def _rewrite_snapshot(self, path: UPath) -> None:
        try:
            kept = snapshot_without(path.read_bytes(), self.person, self.user_columns)
            if kept is None:
                path.unlink()
            else:
                write_durably(path, kept)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error}); run the same command again") from error


def past_erasures(store: Store, scenario: str) -> list[PastErasure]:
    """Return the records of erasures, oldest first.

    Raises
    ------
    ArtifactError
        If one is damaged, or the store cannot be read.
    """
    folder = store.inside(scenario, FOLDER)
    try:
        names = sorted(path.name for path in folder.glob("*.json")) if folder.exists() else []
        documents = {name: store.read_document(store.uri_of(folder / name), _REMEDY) for name in names}
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read ({error})") from error
    except ValueError as error:
        raise ArtifactError(f"{folder}: holds a file that is not an erasure record ({error}); {_REMEDY}") from error
    requests = [name for name in documents if name.endswith(_ASKED)]
    return [_past_erasure(folder, documents, name) for name in requests]


def _past_erasure(folder: UPath, documents: Mapping[str, dict[str, Any]], name: str) -> PastErasure:
    request = ErasureRequest.parse(documents[name], str(folder / name))
    ended = name.removesuffix(_ASKED) + _DONE
    if ended not in documents:
        return PastErasure(request, None)
    return PastErasure(request, ErasureCompletion.parse(documents[ended], str(folder / ended)).at)


def _write_record(store: Store, scenario: str, name: str, document: StoredDocument) -> None:
    path = store.inside(scenario, FOLDER) / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_once(path, sealed(document.to_stored(), store.key))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error}); nothing was recorded") from error


def _remove(holdings: list[Holding]) -> None:
    remove([Removable(one.path, one.bytes) for one in holdings])


def _named(entries: Iterable[RunRecord]) -> tuple[LearnedRun, ...]:
    return tuple(LearnedRun(run_key=entry.run_key, as_of=entry.as_of) for entry in entries)
