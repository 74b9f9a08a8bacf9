"""Facts about items on a day that the rules of re-ranking read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.attribute_tables import newest
from mtl_tasks.data.exclusions import excluded_ids
from mtl_tasks.features.als import Floats
from mtl_tasks.features.attribute_values import MultiValued
from mtl_tasks.features.interactions import Codes
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.reranking import SECTION, Reranking

NEVER: Final = int(np.iinfo(np.int32).max)  # first day of an item without an event


@dataclass(frozen=True)
class ItemFacts:
    """Facts about the items that can be candidates, in the order of their ids.

    Attributes
    ----------
    item_ids
        (items,), sorted.
    vectors
        float32 (items, dimensions), of length 1; zeros for an item without a vector. None without the rule.
    attributes
        The values of each attribute that has a cap, by item code.
    excluded, new
        bool (items,).
    """

    item_ids: NDArray[Any]
    vectors: Floats | None
    attributes: dict[str, MultiValued]
    excluded: NDArray[np.bool_]
    new: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        rules: Reranking,
        scenario: Scenario,
        item_ids: NDArray[Any],
        day: int,
        *,
        table: pd.DataFrame | None = None,
        vectors: Floats | None = None,
        first_days: NDArray[np.int32] | None = None,
        exclusions: pd.DataFrame | None = None,
    ) -> ItemFacts:
        """Gather what the rules need for recommendations on a day.

        Parameters
        ----------
        item_ids
            (items,) sorted ids of all items that can be candidates.
        day
            UTC days since 1970-01-01.
        table
            The item table, as :func:`~mtl_tasks.data.attribute_tables.read_items` returns it; a version counts from
            the day after it.
        vectors
            float32 (items, dimensions), for ``diversity``; a row of zeros or with a NaN is no vector.
        first_days
            int32 (items,), for ``new_items``: see :func:`first_event_days`.
        exclusions
            For ``exclude_table``: see :func:`~mtl_tasks.data.exclusions.read_exclusions`.

        Raises
        ------
        DataError
            If every item is excluded.
        ValueError
            If a rule is on, but what it needs is not given.
        """
        _refuse_missing(rules, table, vectors, first_days, exclusions)
        attributes = {} if table is None else dict(_attributes(rules, scenario, item_ids, newest_items(table, day)))
        excluded = np.zeros(len(item_ids), dtype=np.bool_)
        for rule in rules.exclude:
            excluded |= _has_any(attributes[rule.attribute], rule.values, len(item_ids))
        if rules.exclude_table is not None and exclusions is not None:
            excluded |= np.isin(item_ids, excluded_ids(exclusions, day))
        if len(item_ids) and excluded.all():
            raise DataError(
                f"{SECTION}: all {len(item_ids):,} items are excluded on {day_text(day)}, so that nothing can be "
                f"recommended: correct exclude and exclude_table in {scenario.file}"
            )
        new = np.zeros(len(item_ids), dtype=np.bool_)
        if rules.new_items is not None and first_days is not None:
            new = (first_days >= day - rules.new_items.days) & (first_days < day)
        units = _unit(vectors) if rules.diversity > 0 and vectors is not None else None
        return cls(item_ids, units, {name: attributes[name] for name in rules.at_most}, excluded, new)

    @property
    def excluded_ids(self) -> NDArray[Any]:
        """Ids of the excluded items."""
        found: NDArray[Any] = self.item_ids[self.excluded]
        return found

    def codes(self, ids: pd.Series[Any]) -> Codes:
        """Return the position of each id in ``item_ids``, int64 (n,).

        Raises
        ------
        ValueError
            If an id is not among them.
        """
        codes = self._index.get_indexer(pd.Index(ids)).astype(np.int64)
        if (codes < 0).any():
            raise ValueError(f"{int((codes < 0).sum()):,} candidates are not among the {len(self.item_ids):,} items")
        return codes

    @cached_property
    def _index(self) -> pd.Index[Any]:
        index: pd.Index[Any] = pd.Index(self.item_ids)
        return index


def first_event_days(items: Codes, days: NDArray[np.integer[Any]], size: int) -> NDArray[np.int32]:
    """Return the day of each item's first event, int32 (size,); ``NEVER`` for an item without any.

    >>> first_event_days(np.array([0, 2, 0]), np.array([7, 5, 6]), 3)
    array([         6, 2147483647,          5], dtype=int32)
    """
    first = np.full(size, NEVER, dtype=np.int32)
    np.minimum.at(first, items, days.astype(np.int32))
    return first


def newest_items(table: pd.DataFrame, day: int) -> pd.DataFrame:
    """Return the version of each item from before a day, by its id."""
    return newest(table, columns.ITEM, day).set_index(columns.ITEM)


def _refuse_missing(rules: Reranking, table: Any, vectors: Any, first_days: Any, exclusions: Any) -> None:
    needs = {
        "at_most and exclude": (bool(rules.attributes), table, "table"),
        "diversity": (rules.diversity > 0, vectors, "vectors"),
        "new_items": (rules.new_items is not None, first_days, "first_days"),
        "exclude_table": (rules.exclude_table is not None, exclusions, "exclusions"),
    }
    for rule, (on, given, name) in needs.items():
        if on and given is None:
            raise ValueError(f"{SECTION}: {rule} needs `{name}`: give it to ItemFacts.of")


def _attributes(
    rules: Reranking, scenario: Scenario, item_ids: NDArray[Any], known: pd.DataFrame
) -> Iterator[tuple[str, MultiValued]]:
    """Yield the values of the attributes that rules name, by item code."""
    several = scenario.source.items.multi if scenario.source.items is not None else {}
    for name in rules.attributes:
        texts = known[name].reindex(pd.Index(item_ids)).fillna("").reset_index(drop=True)
        yield name, MultiValued.parse(name, texts) if name in several else MultiValued.of_categories(name, texts)


def _has_any(attribute: MultiValued, values: tuple[str, ...], size: int) -> NDArray[np.bool_]:
    """Mark the items with any of the values, bool (size,)."""
    owner, value = attribute.of(np.arange(size))
    has = np.zeros(size, dtype=np.bool_)
    has[owner[np.isin(value, np.flatnonzero(attribute.labels.isin(values)))]] = True
    return has


def _unit(vectors: Floats) -> Floats:
    """Return vectors scaled to length 1, zeros where there is none."""
    with np.errstate(invalid="ignore"):
        length = np.sqrt(np.vecdot(vectors, vectors, dtype=np.float64))
    usable = np.isfinite(length) & (length > 0)
    units = np.zeros_like(vectors)
    units[usable] = vectors[usable] / length[usable, None]
    return units
