"""Check of an item or user table, read attribute by attribute so that each reports its own faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from mtl_tasks.core.errors import MtlError
from mtl_tasks.data.attribute_tables import read_items, read_users
from mtl_tasks.data.files import list_tables, locate
from mtl_tasks.onboarding.profile import Profile, profile
from mtl_tasks.onboarding.sample import is_csv, read_sample
from mtl_tasks.scenario import AttributeTable, ItemTable, Scenario

Side = Literal["items", "users"]

_ROWS: Final = 1_000_000  # most rows of a table that are profiled
_SINGLE: Final = ("title", "vectors", "valid_from")
_KINDS: Final = ("numeric", "categorical", "multi", "times")
_READERS: Final = {"items": read_items, "users": read_users}


def describe_table(table: AttributeTable, side: Side, root: str | Path) -> Iterator[tuple[str, Profile]]:
    """Yield the scenario key and the profile of each column that the scenario names and the table has."""
    text = is_csv(table.path)
    raw = read_sample(locate(root, table.path), table.path, text, _ROWS).table
    named = [("id", table.id)]
    named += [(key, getattr(table, key)) for key in _SINGLE if getattr(table, key, None) is not None]
    named += [("text", column) for column in getattr(table, "text", ())]
    for kind in _KINDS:
        named += [(f"{kind}.{name}", column) for name, column in getattr(table, kind).items()]
    for key, column in named:
        if raw.column_names.count(column) == 1:
            yield f"source.{side}.{key}", profile(column, raw.column(column), text)


def table_faults(scenario: Scenario, side: Side, root: str | Path, ids: pd.Series) -> list[str]:
    """Return the faults of the table; ``ids`` are the log's ids."""
    table: AttributeTable = getattr(scenario.source, side)
    files = list_tables(scenario, root)
    faults: dict[str, None] = {}  # a wrong id fails with every attribute, but is reported once
    for update in _single_attributes(table):
        source = scenario.source.model_copy(update={side: table.model_copy(update=update)})
        try:
            _READERS[side](scenario.model_copy(update={"source": source}), files, root, ids)
        except MtlError as error:
            faults[str(error)] = None
    return list(faults)


def _single_attributes(table: AttributeTable) -> Iterator[dict[str, Any]]:
    """Yield updates that leave the table with no attribute or a single one, for each attribute."""
    none: dict[str, Any] = {kind: {} for kind in _KINDS}
    if isinstance(table, ItemTable):
        named = {"title": table.title, "text": table.text, "vectors": table.vectors}
        none |= {"title": None, "text": (), "vectors": None}
        yield from ({**none, key: value} for key, value in named.items() if value)
    yield none
    for kind in _KINDS:
        for name, column in getattr(table, kind).items():
            yield {**none, kind: {name: column}}
