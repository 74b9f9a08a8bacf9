"""Users and items of a run whose id or title begins with some text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from mtl_tasks.core import columns
from mtl_tasks.core.documents import Document
from mtl_tasks.core.errors import DataError
from mtl_tasks.store.artifacts import Artifact, Store
from mtl_tasks.store.registry import RunRecord

MOST: Final = 12  # suggestions at once
READABLE_ROWS: Final = 2_000_000  # of the recommendations, and of the item table
Kind = Literal["user", "item"]


class Suggestion(Document):
    """An id of the log as text, and the title of the item; empty for a user."""

    id: str
    title: str


class _Entry(NamedTuple):
    folded: str
    id: str
    title: str


@dataclass(frozen=True)
class Suggestions:
    """Users with recommendations and items with a title, each in the order of the text that is searched."""

    users: tuple[_Entry, ...]
    items: tuple[_Entry, ...]

    def starting_with(self, kind: Kind, prefix: str) -> list[Suggestion]:
        """Return the first entries whose id or title begins with a text, ignoring upper and lower case."""
        entries, wanted = self.users if kind == "user" else self.items, prefix.casefold()
        first = bisect_left(entries, (wanted,))
        found = (entry for entry in islice(entries, first, first + 2 * MOST) if entry.folded.startswith(wanted))
        # An item is found by its id and by its title.
        made = {entry.id: Suggestion(id=entry.id, title=entry.title) for entry in found}
        return list(made.values())[:MOST]


def read_suggestions(store: Store, entry: RunRecord, lists: Artifact | None) -> Suggestions:
    """Read the users and items of a run.

    Parameters
    ----------
    lists
        The artifact of the stage `recommend`; None: no users.

    Raises
    ------
    DataError
        If there are more rows than are read for a page.
    ArtifactError
        If an artifact is missing or damaged.
    """
    validated = store.open(entry.refs["validate"])
    table = validated.frame("items", [columns.ITEM, columns.TITLE])
    _check_size(len(table) + (0 if lists is None else lists.ref.rows), entry)
    newest = table.drop_duplicates(columns.ITEM, keep="last")
    titles = zip(newest[columns.ITEM].astype(str), newest[columns.TITLE].fillna("").astype(str), strict=True)
    items = [(text, item, title) for item, title in titles for text in {item, title} if text]
    users: Any = () if lists is None else lists.frame("recommendations", [columns.USER])[columns.USER].unique()
    return Suggestions(
        _ordered((str(user), str(user), "") for user in users),
        _ordered(items),
    )


def _ordered(entries: Iterable[tuple[str, str, str]]) -> tuple[_Entry, ...]:
    return tuple(sorted(_Entry(text.casefold(), name, title) for text, name, title in entries))


def _check_size(rows: int, entry: RunRecord) -> None:
    if rows > READABLE_ROWS:
        raise DataError(
            f"the run as of {entry.as_of} has {rows:,} users and items, more than {READABLE_ROWS:,}: type an id"
        )
