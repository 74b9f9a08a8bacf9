"""Sample users, and suggestions for typed text; the data of the last runs is cached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.pipeline.past_runs import read_run
from mtl_tasks.pipeline.suggestions import Suggestions, read_suggestions
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.documents.data import SampleUsers
from mtl_tasks.store.documents.reading import read_part

KEPT: Final = 2  # runs; the ids and titles of a hundred thousand users and items take about 50 MB
EXAMPLES: Final = 3


@dataclass(frozen=True)
class Example:
    """A user of the run's sample, and an item that was recommended to the user last."""

    user: str
    words: str


def suggestions_of(store: Store, scenario: str, run_key: str) -> Suggestions:
    """Return the users and items of a run.

    Raises
    ------
    ArtifactError, DataError
        As :func:`mtl_tasks.pipeline.suggestions.read_suggestions`.
    """
    entry = read_run(store, scenario, run_key).entry
    lists = find_lists(store, entry)
    return _read(store, scenario, run_key, None if lists is None else lists.ref)


@lru_cache(maxsize=KEPT)
def _read(store: Store, scenario: str, run_key: str, lists: Ref | None) -> Suggestions:
    entry = read_run(store, scenario, run_key).entry
    return read_suggestions(store, entry, None if lists is None else store.open(lists))


def examples_of(store: Store, scenario: str, run_key: str) -> list[Example]:
    """Return the users of the run's sample; none if it has no recommendations, or they cannot be read."""
    try:
        lists = find_lists(store, read_run(store, scenario, run_key).entry)
        sample = () if lists is None else read_part(lists, "sample", SampleUsers)
    except ArtifactError:  # the answer to a question says so
        return []
    return [Example(str(person.user_id), "; ".join(person.history[:2])) for person in sample[:EXAMPLES]]
