"""Scenario files: reading one, changing keys of it, and saying what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from mtl_tasks.errors import ConfigError, nearest
from mtl_tasks.scenario.base import Model
from mtl_tasks.scenario.scenario import SCENARIO_FOLDER, Scenario

_MERGE: Final = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a section: of the two, YAML's loader takes the last and says nothing."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Looked at as it is written, before the keys of other sections are merged into it."""
        node = super().compose_mapping_node(anchor)
        met = set[tuple[str, str]]()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE and name in met:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice in its section", problem_mark=key.start_mark
                )
            met.add(name)
        return node


def scenario_names(folder: Path = SCENARIO_FOLDER) -> list[str]:
    """Names of the scenario files in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_scenario(name: str, overrides: dict[str, Any] | None = None, folder: Path = SCENARIO_FOLDER) -> Scenario:
    """Read, override and check a scenario.

    Parameters
    ----------
    name
        File name without ``.yaml``.
    overrides
        Dotted key to value, for example ``{"windows.train": 28}``; checked like the file itself.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or a key or value is wrong; the message names the key and the remedy.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = scenario_names(folder)
        hint = nearest(name, known)
        raise ConfigError(f"scenario {name!r}: no file {path}{hint} (known: {', '.join(known) or 'none'})")
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a safe one
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, found {type(document).__name__}")
    for key, value in (overrides or {}).items():
        _set(document, key, value)
    scenario = parse_scenario({"name": name, **document}, where=str(path))
    if scenario.name != name:  # two files of one name would write to the same place in the store
        raise ConfigError(f"{path}: name: is {scenario.name!r} but must be the file's, {name!r}")
    return scenario


def parse_scenario(document: dict[str, Any], where: str) -> Scenario:
    """Check a scenario document; ``where`` is named in errors."""
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(_explain(e) for e in error.errors())}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value`` of the command line; the value is read as YAML.

    >>> parse_setting("windows.train=28")
    ('windows.train', 28)
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {text!r}: expected key=value, for example --set windows.train=28")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML") from error


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        child = document.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent!r} is not a section")
        document = child
    document[leaf] = value


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(top level)"
    if error["type"] == "extra_forbidden":
        *parents, leaf = error["loc"]
        return f"unknown key {key!r}{nearest(str(leaf), _known_keys(tuple(parents)))}"
    value = error.get("input")
    shown = "" if isinstance(value, dict) or value is None else f" (got {value!r})"
    return f"{key}: {' '.join(error['msg'].removeprefix('Value error, ').split())}{shown}"


def _known_keys(parents: tuple[Any, ...]) -> list[str]:
    """Keys of the section at ``parents``, found by walking the models' annotations."""
    model: Any = Scenario
    for part in parents:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, Model) else None
        if field is None:
            continue  # a task's name or a rule's index: its model was reached one step earlier
        model = _inner_model(field.annotation)
    return list(model.model_fields) if model is not None else []


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
