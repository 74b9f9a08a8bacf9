"""YAML from users, read within bounds: no text can hang, exhaust or crash the process that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

# Far from what a scenario needs, and read in a second.
MOST_BYTES: Final = 256 * 1024
MOST_LEVELS: Final = 20
MOST_VALUES: Final = 20_000  # every alias written out
LONGEST_VALUE: Final = 20_000  # characters
MOST_BITS: Final = 63
_MERGE: Final = "tag:yaml.org,2002:merge"


class OutOfBoundsError(yaml.MarkedYAMLError):
    """YAML, but more or other than is read.

    Attributes
    ----------
    line
        Where it begins, counted from 1.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem=problem)
        self.line = line


@dataclass
class _Open:
    """A collection whose end is not reached yet: its anchor, the values read before it, and the levels below it."""

    anchor: str | None
    before: int
    levels: int = 0


class _Loader(yaml.SafeLoader):
    """Checks the events before anything is made of them, and refuses duplicate keys in a section.

    Of two equal keys, YAML's loader takes the last without a word.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[_Open] = []
        self._values = 0
        self._anchored: dict[str, tuple[int, int]] = {}  # values and levels

    def get_event(self) -> Any:
        """Read an event and count its values and levels."""
        event = super().get_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _out_of_bounds(f"the tag {tag!r} is not read: write a plain value, text in quotes", event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self._anchored:
                self._add(event, *self._anchored[event.anchor])
            elif any(part.anchor == event.anchor for part in self._open):
                raise _out_of_bounds(f"the alias {event.anchor!r} refers to itself", event)
        elif isinstance(event, yaml.ScalarEvent):
            self._add(event, 1, 0)
            _check_text(event)
            if event.anchor:
                self._anchored[event.anchor] = (1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append(_Open(event.anchor, self._values))
            self._add(event, 1, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        return event

    def _add(self, event: Any, values: int, levels: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise _out_of_bounds(f"more than {MOST_VALUES:,} values, every alias written out", event)
        if len(self._open) + levels > MOST_LEVELS:
            raise _out_of_bounds(f"sections within each other on more than {MOST_LEVELS} levels", event)
        if self._open:
            self._open[-1].levels = max(self._open[-1].levels, levels)

    def _close(self) -> None:
        part = self._open.pop()
        if part.anchor:
            self._anchored[part.anchor] = (self._values - part.before, part.levels + 1)
        if self._open:
            self._open[-1].levels = max(self._open[-1].levels, part.levels + 1)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a repeated key as written, before the keys of other sections are merged into the mapping."""
        node = super().compose_mapping_node(anchor)
        met = set[tuple[str, str]]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in met:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is duplicated in its section", problem_mark=key.start_mark
                )
            met.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Name the place of an impossible number or date, such as February 30."""
        try:
            made = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise _out_of_bounds(f"{_shortened(node.value)} cannot be read: if it is text, quote it", node) from error
        if isinstance(made, int) and made.bit_length() > MOST_BITS:
            raise _out_of_bounds(f"{_shortened(node.value)} has over {MOST_BITS} bits: if it is text, quote it", node)
        return made


def read_yaml(text: str) -> Any:
    """Return what a YAML document holds.

    Raises
    ------
    OutOfBoundsError
        If it is too large, too deep, recursive, or has a tag, or a value that cannot be represented.
    yaml.YAMLError
        If it is not YAML, or a key is duplicated in a section.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - it is a safe one


def _check_text(event: yaml.ScalarEvent) -> None:
    if len(event.value) > LONGEST_VALUE:
        raise _out_of_bounds(f"a value of {len(event.value):,} characters, at most {LONGEST_VALUE:,} are read", event)
    if any("\ud800" <= character <= "\udfff" for character in event.value):
        raise _out_of_bounds("a character that is half of a pair and cannot be written as UTF-8", event)


def _out_of_bounds(problem: str, part: Any) -> OutOfBoundsError:
    return OutOfBoundsError(problem, part.start_mark.line + 1)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
