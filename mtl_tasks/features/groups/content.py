"""Point-in-time similarity of an item to its user's items, by text or by given vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final, Self

import numpy as np
from scipy import sparse

from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features import content
from mtl_tasks.features.als import Floats
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.interactions import Codes, IndexedRows
from mtl_tasks.features.running_sums import Days, expand
from mtl_tasks.features.user_history import Positions, UserHistory
from mtl_tasks.scenario import Content, Scenario

Columns = dict[str, Floats]
LAST: Final = 5  # last items whose mean represents a user's current interest
_ROWS: Final = 1 << 17  # rows whose vectors are in memory at once
_CELLS: Final = 1 << 22  # likewise items of histories
_SAID: Final[dict[Content, str]] = {"text": "text", "vectors": "given vector"}


class ItemContent(FeatureGroup):
    """Dimensions of the item's text or given vector, and its cosines with the means of the user's items.

    It holds no statistics of its own: the items that a user took before a row's day are averaged when they are needed,
    as the projection differs between runs. Each item counts in the version from before that day.
    """

    any_day = True

    def __init__(self, kind: Content, inputs: GroupInputs) -> None:
        self.name = f"content.{kind}"
        self._kind, self._inputs = kind, inputs
        self._versions = inputs.item_attributes.versions

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        items = scenario.source.items
        return [
            column
            for kind in (() if items is None else items.contents)
            for column in _declared(kind, scenario.features.text.dimensions)
        ]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        items = inputs.scenario.source.items
        return [cls(kind, inputs) for kind in (() if items is None else items.contents)]

    def columns(self, rows: IndexedRows) -> Columns:
        """See :class:`FeatureGroup`; NaN where the item has no text or vector, or the user no item with one."""
        vectors = self._vectors
        names = [column.name for column in _declared(self._kind, vectors.shape[1])]
        made = {name: np.full(len(rows), np.nan, dtype=np.float32) for name in names}
        for part in np.array_split(np.arange(len(rows)), len(rows) // _ROWS + 1):
            chosen = rows.at(part)
            mine = vectors[self._versions.at(chosen.items, chosen.days)]
            known = mine.any(axis=1)
            values = [*mine.T, *self._cosines(mine, chosen)]
            for name, column in zip(names, values, strict=True):
                made[name][part] = np.where(known, column, np.float32("nan"))
        return made

    def profiles(self, users: Codes, days: Days, last: int | None = None) -> Floats:
        """Return the mean direction of the items that each user took before a day, float32 (users, dimensions).

        It has length 1, or 0 for a user without an item that has a text or vector.

        Parameters
        ----------
        last
            Number of last items to average; None for all.
        """
        starts, ends = self._past.before(users, days)
        if last is not None:
            starts = np.maximum(starts, ends - last)
        made = np.zeros((len(users), self._vectors.shape[1]), dtype=np.float32)
        for part in _bounded(ends - starts):
            owner, position = expand(starts[part], ends[part])
            row = self._versions.at(self._past.items[position], days[part][owner])
            pointers = np.concatenate([[0], np.cumsum((ends - starts)[part])])
            shape = (part.stop - part.start, len(self._vectors))
            ones = np.ones(len(row), dtype=np.float32)
            made[part] = sparse.csr_matrix((ones, row, pointers), shape=shape) @ self._vectors
        length = np.linalg.norm(made, axis=1, keepdims=True)
        return np.asarray(made / np.where(length > 0, length, 1.0), dtype=np.float32)

    def vectors_at(self, day: int) -> Floats:
        """Return the vectors of all items as known before a day, float32 (items, dimensions); zeros for none."""
        items = np.arange(len(self._inputs.events.item_ids))
        return self._vectors[self._versions.at(items, np.full(len(items), day))]

    @cached_property
    def _vectors(self) -> Floats:
        """Vectors by row of the item table, and zeros at the row that stands for no item."""
        fitted = self._inputs.factor_models[self._kind]
        table, used = self._inputs.item_attributes.table, self._versions.used
        vectors = np.zeros((len(table) + 1, fitted.vectors.shape[1]), dtype=np.float32)
        vectors[used] = content.project(table.iloc[used], self._kind, fitted)
        return vectors

    @cached_property
    def _past(self) -> UserHistory:
        positives = self._inputs.positives
        return UserHistory.of(
            positives.users, positives.items, positives.days, positives.items, len(positives.user_ids)
        )

    def _cosines(self, mine: Floats, rows: IndexedRows) -> Iterator[Floats]:
        """Yield the cosines with all items of the user, and with the last ones; NaN without any."""
        # Rows of one user and day share a profile.
        span = int(rows.days.max(initial=0)) + 1
        _, first, at = np.unique(rows.users * span + rows.days, return_index=True, return_inverse=True)
        for last in (None, LAST):
            profile = self.profiles(rows.users[first], rows.days[first], last)[at]
            cosine = np.einsum("ij,ij->i", mine, profile)
            yield np.where(profile.any(axis=1), cosine, np.float32("nan"))


def _bounded(lengths: Positions) -> Iterator[slice]:
    """Yield slices of histories whose lengths add up to about ``_CELLS`` at most."""
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // _CELLS)) + 1
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(lengths)], strict=True):
        yield slice(first, last)


def _declared(kind: Content, dimensions: int) -> list[FeatureColumn]:
    said = _SAID[kind]
    return [
        *(
            FeatureColumn(f"{kind}.item_{axis}", "content", f"dimension {axis} of the item's {said}", "item")
            for axis in range(dimensions)
        ),
        FeatureColumn(
            f"{kind}.cosine",
            "content_cosine",
            f"similarity of the item's {said} to those of the user's items (cosine)",
            "pair",
        ),
        FeatureColumn(
            f"{kind}.recent_cosine",
            "content_cosine",
            f"similarity of the item's {said} to those of the user's last items (cosine)",
            "pair",
        ),
    ]
