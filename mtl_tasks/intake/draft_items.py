"""The section ``source.items`` of a draft."""

from __future__ import annotations

from typing import Final

import pyarrow.compute as pc

from mtl_tasks.errors import ConfigError
from mtl_tasks.intake.draft_log import ROWS
from mtl_tasks.intake.roles import Column, look_at
from mtl_tasks.intake.sample import is_csv, read_sample
from mtl_tasks.intake.yaml_text import key, quoted
from mtl_tasks.sources import locate

_NUMBERED: Final = ("integer", "number", "flag")
_WORDS: Final = 200  # most kinds that a model may learn something of


def item_lines(path: str, item: Column) -> list[str]:
    """Return the section `items` for a table of item attributes, and what the log's item ids are found in."""
    sample = read_sample(locate(".", path), f"--items {path}", is_csv(path), ROWS)
    columns = look_at(sample.table)
    ids = {str(value) for value in pc.unique(item.values).to_pylist()}
    shared = {c.name: len(ids & {str(v) for v in pc.unique(c.values).to_pylist()}) / max(len(ids), 1) for c in columns}
    best = max(columns, key=lambda column: (shared[column.name], column.found.distinct), default=None)
    if best is None or shared[best.name] == 0:
        raise ConfigError(
            f"--items {path}: no column holds an id of the log's column {item.name!r}: leave --items away"
        )
    rest = [column for column in columns if column is not best]
    title = next((c for c in rest if c.named(("title", "name", "description")) and c.kind == "text"), None)
    lines = [
        "  items:",
        f"    path: {quoted(path)}",
        f"    id: {quoted(best.name)} # guess: holds {shared[best.name]:.0%} of the item ids that were read",
    ]
    if title is not None:
        lines.append(f"    title: {quoted(title.name)} # guess: by its name; shown in reports and lists")
    return [*lines, *_attributes([column for column in rest if column is not title])]


def _attributes(columns: list[Column]) -> list[str]:
    kinds = {
        "numeric": ([c for c in columns if c.kind in _NUMBERED], "numbers; take those away that are ids"),
        "categorical": (
            [c for c in columns if c.kind == "text" and not _joined(c) and c.found.distinct <= _WORDS],
            f"texts with at most {_WORDS} values",
        ),
        "multi": ([c for c in columns if c.kind == "text" and _joined(c)], "texts that join several values by |"),
        "times": ([c for c in columns if c.kind == "time"], "times, which become an age in days"),
    }
    lines = []
    for kind, (found, why) in kinds.items():
        if found:
            lines += [f"    {kind}: # guess: {why}", *(f"      {key(c.name)}: {quoted(c.name)}" for c in found)]
    used = {column.name for found, _ in kinds.values() for column in found}
    left = [column.name for column in columns if column.name not in used]
    return [*lines, *([f"    # not used: {', '.join(left)}"] if left else [])]


def _joined(column: Column) -> bool:
    return bool(pc.any(pc.match_substring(column.values, "|")).as_py())
