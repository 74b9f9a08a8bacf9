"""Erasing a person from a scenario's store, and the records of it, which do not name the person.

Nothing that can be read refers to something that is gone at any time, and a second call completes a first one that was
cut off: tables that only make a run are removed and made again from the log, lists are replaced by lists without the
person's rows, and the log's own parts, from which everything else is found, go last.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ArtifactError, ConfigError, MtlError, SealError, StoreError
from mtl_tasks.pipeline.holdings import Holding, Holdings, Person, find_holdings, snapshot_without, user_columns
from mtl_tasks.pipeline.past_runs import read_run, shown_document
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Payload, Store, to_json, write_durably, write_once
from mtl_tasks.store.pruning import Removable, remove
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import sealed

Json = dict[str, Any]
FOLDER: Final = "erasures"
log = logging.getLogger(__name__)

_LISTS: Final = "recommendations"
_SAMPLE: Final = "sample"
_REMEDY: Final = "restore the file from a backup"


@dataclass(frozen=True)
class Erasure:
    """What is to be erased, and what only people can do.

    Attributes
    ----------
    holdings
        What the store holds of the person.
    user_columns
        What the log's column of users is called in snapshots.
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
            The scenario of today; None if there is no such file any more.

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
        """Record who asked, when and why, what is going to be erased, and which models learned from the person.

        Returns
        -------
        str
            The name of the record.

        Raises
        ------
        ConfigError
            If there is no reason, or reason or name quote the id, which the record would keep.
        """
        if not reason.strip():
            raise ConfigError("--reason: is needed with --delete: say why, without naming the person")
        for option, text in (("--reason", reason), ("--by", by)):
            if self.person.quoted_in(text):
                raise ConfigError(f"{option}: quotes the user's id, and the record would keep it: leave it out")
        name = f"{at.replace('-', '').replace(':', '').replace('+0000', 'Z')}-{uuid.uuid4().hex[:8]}"
        document = {
            "by": by,
            "at": at,
            "reason": reason.strip(),
            "files": self.holdings.counts(),
            "learned": [_named(entry) for entry in self.holdings.learned],
            "may_have_learned": [_named(entry) for entry in self.holdings.may_have_learned],
            "champion": self.champion,
        }
        _write_record(self.store, self.scenario, f"{name}-asked", document)
        return name

    def carry_out(self) -> list[str]:
        """Erase, and return what could not be made again, a sentence each.

        Raises
        ------
        StoreError
            If the store cannot be written; the same command again goes on.
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
            self._rewrite_snapshot(kept.place)
        _remove(by_kind.pop("log", []))
        return notes

    def end(self, name: str, at: str) -> None:
        """Record that an erasure that was begun is complete."""
        _write_record(self.store, self.scenario, f"{name}-done", {"at": at})

    def _replace_lists(self, listed: Holding) -> list[str]:
        """Write lists without the person under a key of their own, then remove the old ones."""
        notes = []
        try:
            old = self.store.find(listed.place)
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
        payload.add_json(_SAMPLE, [one for one in old.json(_SAMPLE) if not self.person.is_id(one["user_id"])])
        about = {name: hashlib.sha256(data).hexdigest() for name, data in payload.files.items()}
        key = hashlib.sha256(to_json({"instead_of": old.ref.key, "files": about})).hexdigest()
        facts = {name: old.manifest[name] for name in old.manifest if name not in ("key", "rows", "files", "summary")}
        # The newest lists of a run are its lists: these are as old as those in whose place they are.
        made_at = {"made_at": (old.folder / MANIFEST).stat().st_mtime} | facts["usage"]
        folder = self.store.folder(self.scenario, old.manifest["as_of"], "recommend", key)
        self.store.publish(folder, key, payload, {**facts, "usage": made_at})

    def _replace_pages(self, pages: list[Holding]) -> list[str]:
        """Render pages from what is there now, while the tables are, then remove the old ones."""
        notes, gates = [], set()
        for page in pages:
            try:
                artifact = self.store.find(page.place)
                gates |= set() if artifact is None else {artifact.manifest["inputs"]["gate"]}
            except (StoreError, SealError):
                raise
            except ArtifactError as error:
                log.warning("a page is removed, not made again: %s", error)
        for entry in Registry(self.store, self.scenario).entries():
            if entry.refs["gate"].key in gates:
                try:
                    shown_document(self.store, read_run(self.store, self.scenario, entry.run_key))
                except (StoreError, SealError):
                    raise
                except MtlError as error:
                    notes.append(f"the page of run {entry.run_key[:12]} is removed, not made again: {error}")
        _remove(pages)
        return notes

    def _rewrite_snapshot(self, path: UPath) -> None:
        try:
            kept = snapshot_without(path.read_bytes(), self.person, self.user_columns)
            if kept is None:
                path.unlink()
            else:
                write_durably(path, kept)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error}); run the same command again") from error


def past_erasures(store: Store, scenario: str) -> list[Json]:
    """Return the records of erasures, the oldest first, each with ``done``: when it was complete, null if never.

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
        raise ArtifactError(f"{folder}: holds what is no record of an erasure ({error}); {_REMEDY}") from error
    found = []
    for name, document in documents.items():
        if name.endswith("-asked.json"):
            done = documents.get(name.replace("-asked", "-done"), {}).get("at")
            found.append({**{key: value for key, value in document.items() if key != "seal"}, "done": done})
    return found


def _write_record(store: Store, scenario: str, name: str, document: Json) -> None:
    path = store.inside(scenario, FOLDER) / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_once(path, sealed(document, store.key))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error}); nothing was recorded") from error


def _remove(holdings: list[Holding]) -> None:
    remove([Removable(one.place, one.bytes) for one in holdings])


def _named(entry: RunRecord) -> Json:
    return {"run_key": entry.run_key, "as_of": entry.as_of}
