"""A table of items or users, read attribute by attribute, so that each says what is wrong with it."""

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

_ROWS: Final = 1_000_000  # of the table, that are described
_SINGLE: Final = ("title", "valid_from")
_KINDS: Final = ("numeric", "categorical", "multi", "times")
_READERS: Final = {"items": read_items, "users": read_users}


def describe_table(table: AttributeTable, side: Side, root: str | Path) -> Iterator[tuple[str, Profile]]:
    """Yield the scenario's key and what was found for each column that it names and the table has."""
    text = is_csv(table.path)
    raw = read_sample(locate(root, table.path), table.path, text, _ROWS).table
    named = [("id", table.id)]
    named += [(key, getattr(table, key)) for key in _SINGLE if getattr(table, key, None) is not None]
    for kind in _KINDS:
        named += [(f"{kind}.{name}", column) for name, column in getattr(table, kind).items()]
    for key, column in named:
        if raw.column_names.count(column) == 1:
            yield f"source.{side}.{key}", profile(column, raw.column(column), text)


def table_faults(scenario: Scenario, side: Side, root: str | Path, ids: pd.Series) -> list[str]:
    """Return what is wrong with the table; ``ids`` are those of the log."""
    table: AttributeTable = getattr(scenario.source, side)
    files = list_tables(scenario, root)
    faults: dict[str, None] = {}  # a wrong id is wrong with every attribute, and said once
    for update in _single_attributes(table):
        source = scenario.source.model_copy(update={side: table.model_copy(update=update)})
        try:
            _READERS[side](scenario.model_copy(update={"source": source}), files, root, ids)
        except MtlError as error:
            faults[str(error)] = None
    return list(faults)


def _single_attributes(table: AttributeTable) -> Iterator[dict[str, Any]]:
    """What to change so that there is one attribute only: none, then each in turn."""
    none: dict[str, Any] = {kind: {} for kind in _KINDS}
    title = table.title if isinstance(table, ItemTable) else None
    if title is not None:
        yield {**none, "title": title}
        none["title"] = None
    yield none
    for kind in _KINDS:
        for name, column in getattr(table, kind).items():
            yield {**none, kind: {name: column}}
