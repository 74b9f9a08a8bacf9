"""Resealing of a scenario's documents with another key; their content does not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from upath import UPath

from mtl_tasks.core.errors import ArtifactError, SealError, answering
from mtl_tasks.store.artifacts import MANIFEST, Store
from mtl_tasks.store.durable_files import write_durably
from mtl_tasks.store.sealing import StoreKey, sealed

_REMEDY: Final = "it was not sealed"


@dataclass
class Resealed:
    """Numbers of documents sealed now and sealed before, and the problems of the rest."""

    sealed: int
    before: int
    problems: list[str]


def reseal(store: Store, scenario: str, old: StoreKey | None) -> Resealed:
    """Seal manifests, registry records and erasures of a scenario with the store's key.

    Their content does not change, nor do references to them. Repeating it is harmless.

    Parameters
    ----------
    old
        The key of their present seals; None: they have plain seals.

    Raises
    ------
    StoreError
        If the store cannot be read or written; documents sealed by then stay sealed.
    """
    before, done = Store(str(store.root), old), Resealed(0, 0, [])
    with answering(f"{store.root}: cannot be sealed", "; run the same command again"):
        for path in _documents(store, scenario):
            _seal(path, store, before, done)
    return done


def _seal(path: UPath, store: Store, before: Store, done: Resealed) -> None:
    try:
        uri = store.uri_of(path)
        if _has_seal(store, uri):
            done.before += 1
            return
        write_durably(path, sealed(before.read_document(uri, _REMEDY), store.key))
        done.sealed += 1
    except SealError:
        former = "a plain seal" if before.key is None else f"a seal of the old key {before.key.id}"
        done.problems.append(f"{path}: has neither {former} nor one of the new key")
    except (ArtifactError, ValueError) as error:
        done.problems.append(str(error) if str(path) in str(error) else f"{path}: {error}")


def _has_seal(store: Store, uri: str) -> bool:
    try:
        store.read_document(uri, _REMEDY)
    except SealError:
        return False
    return True


def _documents(store: Store, scenario: str) -> Iterator[UPath]:
    folder = store.inside(scenario)
    if folder.exists():
        yield from sorted(folder.glob("registry/*/*.json"), key=str)
        yield from sorted(folder.glob("erasures/*.json"), key=str)
        yield from sorted(folder.glob("registry/*/quarantine/*.note"), key=str)
        yield from sorted(folder.glob(f"*/*/*/{MANIFEST}"), key=str)
