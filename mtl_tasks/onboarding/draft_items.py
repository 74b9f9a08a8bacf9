"""The section ``source.items`` of a draft."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.data.files import locate
from mtl_tasks.onboarding.column_roles import AGGREGATE_WORDS, Column, look_at
from mtl_tasks.onboarding.draft_log import ROWS
from mtl_tasks.onboarding.sample import is_csv, read_sample
from mtl_tasks.onboarding.yaml_text import keys, quoted
from mtl_tasks.scenario.source import RESERVED

_NUMBERED: Final = ("integer", "number", "flag")
_WORDS: Final = 200  # most distinct values of a categorical attribute
_COVERED: Final = 0.99  # share of the log's items in a table from which a missing item is a fault
_SEPARATORS: Final = ("|", ";", ",")
_JOINED: Final = 0.05  # least share of texts with a separator in a multi-valued column
_PROSE: Final = 4  # average words of a free text
_LONGEST_VALUE: Final = 30  # average length of a value in characters; longer is prose


def item_lines(path: str, item: Column) -> list[str]:
    """Return the section `items` for a table of item attributes; its id column is the one with the log's item ids."""
    sample = read_sample(locate(".", path), f"--items {path}", is_csv(path), ROWS)
    columns = look_at(sample.table, not is_csv(path))
    ids = {str(value) for value in pc.unique(item.values).to_pylist()}
    shared = {column.name: _overlap(ids, column) for column in columns}
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
    if sample.whole and shared[best.name] < _COVERED:
        lines.append("    missing: allow # guess: the other items have no attributes; quarantine would drop their rows")
    if title is not None:
        lines.append(f"    title: {quoted(title.name)} # guess: by its name; shown in reports and lists")
    if title is not None and _is_prose(title):
        lines += _proposed([title], [])
    return [*lines, *_attributes([column for column in rest if column is not title])]


def _overlap(ids: set[str], column: Column) -> float:
    """Return the share of ids that a column holds."""
    if column.kind not in ("integer", "text", "number"):
        return 0.0
    return len(ids & {str(value) for value in pc.unique(column.values).to_pylist()}) / max(len(ids), 1)


def _attributes(columns: list[Column]) -> list[str]:
    separators = {column.name: _separator(column) for column in columns}
    separator = next((found for found in separators.values() if found), "|")
    totals = [c for c in columns if c.kind in ("integer", "number") and c.named(AGGREGATE_WORDS)]
    prose = [c for c in columns if separators[c.name] is None and _is_prose(c)]
    vectors = [c for c in columns if _holds_vectors(c)]
    several = [c for c in columns if separators[c.name] == separator or (_is_list(c) and c not in vectors)]
    kinds = {
        "numeric": (
            [c for c in columns if c.kind in _NUMBERED and c not in totals],
            "numbers; remove those that are ids",
        ),
        "categorical": (
            [c for c in columns if c.kind == "text" and c not in [*several, *prose] and c.found.distinct <= _WORDS],
            f"texts with at most {_WORDS} values",
        ),
        "multi": (several, f"lists, or texts that join several values by {separator}"),
        "times": ([c for c in columns if c.kind == "time"], "times, which become an age in days"),
    }
    named = keys([column.name for found, _ in kinds.values() for column in found], RESERVED)
    lines = [f"    separator: {quoted(separator)}"] if separator != "|" else []
    for kind, (found, why) in kinds.items():
        if found:
            lines += [f"    {kind}: # guess: {why}", *(f"      {named[c.name]}: {quoted(c.name)}" for c in found)]
    if totals:
        lines.append(
            f"    # left out, as counts and means of all time know what happens in the test window: {_names(totals)}"
        )
    used = {column.name for found, _ in kinds.values() for column in found}
    lines += _proposed(prose, vectors)
    left = [column for column in columns if column.name not in used and column not in [*totals, *vectors, *prose]]
    return [*lines, *([f"    # not used: {_names(left)}"] if left else [])]


def _proposed(prose: list[Column], vectors: list[Column]) -> list[str]:
    """Return comments that propose the keys of free text and of given vectors."""
    texts = ", ".join(quoted(column.name) for column in prose)
    lines = [f"    # text: [{texts}] # guess: free text, whose words can become features"] if prose else []
    if vectors:
        first = quoted(vectors[0].name)
        lines.append(f"    # vectors: {first} # guess: lists of fractions, such as embeddings of a language model")
    return lines


def _names(columns: list[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _is_prose(column: Column) -> bool:
    """Whether a column holds texts of several words on average, most of them different."""
    if column.kind != "text" or column.found.distinct <= len(column.values) / 2:
        return False
    words = pc.add(pc.count_substring_regex(column.values.cast(pa.large_string()), r"\S\s+\S"), 1)
    return float(pc.mean(words).as_py()) >= _PROSE


def _is_list(column: Column) -> bool:
    kind = column.values.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _holds_vectors(column: Column) -> bool:
    return _is_list(column) and pa.types.is_floating(column.values.type.value_type)


def _separator(column: Column) -> str | None:
    """Return the separator of several values in a column's texts; None if each holds one value."""
    if column.kind != "text":
        return None
    texts = column.values.cast(pa.large_string())
    for sign in _SEPARATORS:
        share = float(pc.mean(pc.match_substring(texts, sign).cast(pa.int8())).as_py())
        if share < _JOINED:
            continue
        parts = pc.utf8_trim_whitespace(pc.list_flatten(pc.split_pattern(texts, sign)))
        short = float(pc.mean(pc.utf8_length(parts)).as_py()) <= _LONGEST_VALUE
        again = int(pc.count_distinct(parts).as_py()) <= len(texts) / 2
        if sign == "|" or (short and again):  # prose contains commas and semicolons too
            return sign
    return None
