"""The section ``tasks`` of a draft, and the layout of the log's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.onboarding.column_roles import EXPOSURE_WORDS, Column, Guess, is_label, look_at
from mtl_tasks.onboarding.draft_log import Log
from mtl_tasks.onboarding.profile import without_blanks
from mtl_tasks.onboarding.yaml_text import keys, quoted

_TAIL: Final = 50  # times the median
_TAKEN: Final = "taken"


@dataclass(frozen=True)
class Types:
    """A log whose rows are events of several types."""

    column: Guess
    value: Column | None
    exposure: str
    others: list[str]
    why: str

    @property
    def lines(self) -> list[str]:
        """The keys of `source` that describe this layout."""
        value = [] if self.value is None else [f"    value: {quoted(self.value.name)} # guess: a number of an event"]
        return [
            f"  layout: long # guess: a row is an event, as {quoted(self.column.column.name)} {self.column.why}",
            "  long:",
            f"    type: {quoted(self.column.column.name)}",
            *value,
            f"    exposure: {quoted(self.exposure)} # guess: {self.why}; its events are the rows of the models",
            "    attribution_hours: 24 # an event counts for the exposure that it follows by at most these",
        ]


def find_types(log: Log, found: Guess | None) -> Types | None:
    """Find the event type that is the exposure, which the others may follow."""
    if found is None:
        return None
    raw = log.table.column(found.column.name)  # types are read verbatim, with the blanks around them
    named = raw.filter(without_blanks(raw, log.format == "csv").is_valid())
    counts = pc.value_counts(named.cast(pa.large_string())).to_pylist()
    types = [str(entry["values"]) for entry in sorted(counts, key=lambda entry: -entry["counts"])]
    shown = next((t for word in EXPOSURE_WORDS for t in types if word in t.lower()), None)
    why = "by its name" if shown is not None else "the most frequent; no type is named like an exposure"
    exposure = shown or types[0]
    value = next((column for column in log.left if column.kind == "number" or is_label(column)), None)
    return Types(found, value, exposure, [t for t in types if t != exposure], why)


def type_lines(log: Log, types: Types) -> list[str]:
    """Return the section `tasks` of a log of events: a task per type, a regression if its values differ."""
    lines, named = ["tasks:"], keys(types.others)
    events = pc.fill_null(log.table.column(types.column.column.name).cast(pa.string()), "")
    for name in types.others:
        of_type = log.table.filter(pc.equal(events, name))
        value = (
            None
            if types.value is None
            else next(c for c in look_at(of_type, log.format == "parquet") if c.name == types.value.name)
        )
        if value is not None and value.label_range is not None:
            lines += [f"  {named[name]}: # guess: the value of this event", *_regression(name, value)]
        else:
            lines += [f"  {named[name]}: # guess: whether this event follows", *_binary(name, "logged")]
    return lines


def label_lines(log: Log) -> list[str]:
    """Return the section `tasks` of a log with one column per label."""
    labels = [column for column in log.left if is_label(column)]
    log.used |= {column.name for column in labels}
    named = keys([column.name for column in labels], (_TAKEN,))
    lines = ["tasks:", *(line for column in labels for line in _task(column, named[column.name]))]
    if all(column.kind != "flag" for column in labels):
        why = "no column says yes or no" if labels else "no column looks like a label"
        lines += [
            f"  {_TAKEN}: # guess: {why}, so every row is a positive for recommendations; negatives are drawn",
            "    kind: binary",
            "    negatives: {how: sampled}",
        ]
    return lines


def _task(column: Column, task: str) -> list[str]:
    name = f"  {task}:"
    if column.kind != "flag":
        return [
            f"{name} # guess: a number with {column.found.distinct} values; remove it if it is known in advance",
            *_regression(column.name, column),
        ]
    ones = float(pc.mean(column.values).as_py())
    if ones == 1.0:
        return [f"{name} # guess: nothing but 1, so negatives are drawn", *_binary(column.name, "sampled")]
    return [
        f"{name} # guess: 0 or 1, {ones:.1%} of them 1; empty where it was not observed",
        *_binary(column.name, "logged"),
    ]


def _binary(label: str, how: str) -> list[str]:
    return ["    kind: binary", f"    label: {quoted(label)}", f"    negatives: {{how: {how}}}"]


def _regression(label: str, values: Column) -> list[str]:
    assert values.label_range is not None
    low, high = values.label_range
    median = float(pc.approximate_median(values.values).as_py())
    tail = float(low) >= 0 and float(high) > _TAIL * max(median, 1)
    return [
        "    kind: regression",
        *(["    scale: log # guess: the largest value is far above the middle one"] if tail else []),
        f"    label: {quoted(label)}",
        f"    range: [{low}, {high}] # guess: as found in {values.found.rows:,} rows; others are bad rows",
    ]
