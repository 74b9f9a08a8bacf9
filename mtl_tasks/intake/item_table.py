"""The item table of a scenario, read attribute by attribute, so that each says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mtl_tasks.errors import MtlError
from mtl_tasks.events import read_items
from mtl_tasks.intake.profile import Profile, profile
from mtl_tasks.intake.sample import is_csv, read_sample
from mtl_tasks.scenario import ItemTable, Scenario
from mtl_tasks.sources import list_items, locate

_ROWS: Final = 1_000_000  # of the table, that are described
_KINDS: Final = ("numeric", "multi")


def describe_items(table: ItemTable, root: str | Path) -> Iterator[tuple[str, Profile]]:
    """Yield the scenario's key and what was found for each column that it names and the table has."""
    raw = read_sample(locate(root, table.path), table.path, is_csv(table.path), _ROWS).table
    named = [("source.items.id", table.id), *([] if table.title is None else [("source.items.title", table.title)])]
    for kind in _KINDS:
        named += [(f"source.items.{kind}.{name}", column) for name, column in getattr(table, kind).items()]
    for key, column in named:
        if raw.column_names.count(column) == 1:
            yield key, profile(column, raw.column(column))


def item_faults(scenario: Scenario, root: str | Path, ids: pd.Series) -> list[str]:
    """Return what is wrong with the table; ``ids`` are the log's item ids."""
    table = scenario.source.items
    assert table is not None
    files = list_items(scenario, root)
    faults: dict[str, None] = {}  # a wrong id is wrong with every attribute, and said once
    for update in _single_attributes(table):
        source = scenario.source.model_copy(update={"items": table.model_copy(update=update)})
        try:
            read_items(scenario.model_copy(update={"source": source}), files, root, ids)
        except MtlError as error:
            faults[str(error)] = None
    return list(faults)


def _single_attributes(table: ItemTable) -> list[dict[str, Any]]:
    """What to change so that there is one attribute only: none, then each in turn."""
    none: dict[str, Any] = {"title": None, **{kind: {} for kind in _KINDS}}
    title = [] if table.title is None else [{**none, "title": table.title}]
    attributes = [{**none, kind: {name: column}} for kind in _KINDS for name, column in getattr(table, kind).items()]
    return [none, *title, *attributes]
