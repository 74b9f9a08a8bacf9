"""The proposed change of a scenario file: settings replaced in its text, with comments and layout kept."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import yaml

from mtl_tasks.scenario import Setting
from mtl_tasks.scenario.document import read_yaml


def proposed_diff(text: str, settings: Mapping[str, Setting], path: str) -> str | None:
    """Return a unified diff, fit for ``git apply``, that sets keys in a scenario file.

    Parameters
    ----------
    text
        The file's text.
    settings
        Dotted key to value.
    path
        The file's path from the project's folder, for the head of the diff.

    Returns
    -------
    str or None
        None if the file is written so that a key cannot be changed alone, for example with an alias.
    """
    changed, expected = text, read_yaml(text)
    for key, value in settings.items():
        changed = _with_value(changed, key.split("."), value)
        expected = _with_key(expected, key.split("."), value)
    try:
        if read_yaml(changed) != expected:
            return None
    except yaml.YAMLError:  # an anchor was overwritten
        return None
    before, after = (part.splitlines(keepends=True) for part in (text, changed))
    return "".join(_ended(line) for line in difflib.unified_diff(before, after, f"a/{path}", f"b/{path}"))


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _with_key(document: Mapping[str, Any], path: list[str], value: Setting) -> dict[str, Any]:
    """Return a document with one key set; sections that an alias shares with the path stay as they are."""
    first, *rest = path
    return {**document, first: _with_key(document.get(first, {}), rest, value) if rest else value}


def _with_value(text: str, path: list[str], value: Setting) -> str:
    """Replace the value at a path, or add the key to the innermost section of the path that is there."""
    section: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, name in enumerate(path):
        found = next((node for key, node in section.value if key.value == name), None)
        if found is None:
            return _inserted(text, section, path[depth:], value, top=depth == 0)
        if depth == len(path) - 1:
            return text[: found.start_mark.index] + _scalar(value) + text[found.end_mark.index :]
        if not isinstance(found, yaml.MappingNode):
            return text
        section = found
    return text


def _inserted(text: str, section: yaml.MappingNode, path: list[str], value: Setting, *, top: bool) -> str:
    if section.flow_style:
        last = section.value[-1][1].end_mark.index if section.value else section.start_mark.index + 1
        nested = "".join(f"{name}: {{" for name in path[:-1]) + f"{path[-1]}: {_scalar(value)}" + "}" * (len(path) - 1)
        return f"{text[:last]}{', ' if section.value else ''}{nested}{text[last:]}"
    indent = section.value[0][0].start_mark.column
    lines = [f"{' ' * (indent + 2 * depth)}{name}:" for depth, name in enumerate(path)]
    added = "\n".join(lines) + f" {_scalar(value)}\n"
    if top:
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}\n{added}"
    at = text.find("\n", _last_leaf(section).end_mark.index) + 1
    return f"{text[:at]}{added}{text[at:]}" if at else f"{text}\n{added}"


def _last_leaf(node: yaml.MappingNode) -> yaml.Node:
    """Return the last node of a section that ends on the line of its text; a block section ends at the next key."""
    last = node.value[-1][1]
    return _last_leaf(last) if isinstance(last, yaml.MappingNode) and not last.flow_style and last.value else last


def _scalar(value: Setting) -> str:
    """Return a value as YAML: unlike ``repr``, it writes 1e-05 so that it is read as a number."""
    return str(yaml.safe_dump(value)).removesuffix("\n").removesuffix("\n...")
