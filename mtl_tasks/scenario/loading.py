"""Scenario files: reading one, changing keys of it, and saying what is wrong with it."""

from __future__ import annotations

import functools
import logging
import os
import re
import reprlib
import stat
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from mtl_tasks.core.errors import ConfigError, nearest
from mtl_tasks.scenario.base import NAME, Model
from mtl_tasks.scenario.document import MOST_BYTES, OutOfBoundsError, read_yaml
from mtl_tasks.scenario.publish import Publish
from mtl_tasks.scenario.scenario import SCENARIO_FOLDER, Scenario

log = logging.getLogger(__name__)

RENAMED: Final[tuple[tuple[str, str, str | None], ...]] = (  # section, former key, key; None: it has no effect now
    ("boosting", "transfer", "warm_start"),
    ("validation", "max_unjoined", "max_unattributed"),
    ("recommend", "shortlist_factor", None),
)
MOST_FAULTS: Final = 10  # of one document, in a message
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def scenario_names(folder: Path = SCENARIO_FOLDER) -> list[str]:
    """Names of the scenario files in a folder; a hidden file is an editor's."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith(".") and not path.is_dir())


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
        If the file is missing, is not YAML, a key or value is wrong, or another scenario of the folder delivers to the
        same place; the message names the key and the remedy.
    """
    if re.fullmatch(NAME, name) is None:
        raise ConfigError(
            f"scenario {_SHORT.repr(name)}: a name is a lowercase letter, then up to 39 lowercase letters, digits and "
            f"_; the file in {folder} has that name"
        )
    path = folder / f"{name}.yaml"
    if not os.path.lexists(path):
        known = scenario_names(folder)
        hint = nearest(name, known)
        raise ConfigError(f"scenario {name!r}: no file {path}{hint} (known: {', '.join(known) or 'none'})")
    document, former = with_new_names(_read_document(path), str(path))
    _warn_of_former_names(former, str(path))
    document = _override(document, overrides or {})
    scenario = parse_scenario({"name": name, **document}, where=str(path))
    if scenario.name != name:  # two files of one name would write to the same place in the store
        raise ConfigError(f"{path}: name: is {scenario.name!r} but must be the file's, {name!r}")
    _refuse_shared_places(scenario, path)
    return scenario


def _refuse_shared_places(scenario: Scenario, path: Path) -> None:
    """Refuse a target to which another scenario of the folder delivers: each delivery would replace the other's."""
    places = scenario.publish.places
    for name in scenario_names(path.parent) if places else ():
        if name == scenario.name:
            continue
        others = _read_targets(path.with_name(f"{name}.yaml")).places
        for key, place in places.items():
            if others.get(key) == place:
                raise ConfigError(
                    f"{path}: publish.{key}: scenarios {scenario.name!r} and {name!r} both deliver to {place[-1]!r}, "
                    f"and would replace each other's recommendations: give one of them another `{key.split('.')[1]}`"
                )


def _read_targets(path: Path) -> Publish:
    """Return the targets of another scenario; none if its file is faulty, since loading that one says so."""
    try:
        if b"publish" not in _read_file(path):  # parsing takes much longer, and most scenarios have no targets
            return Publish()
        return Publish.model_validate(_read_document(path).get("publish", {}))
    except (ConfigError, ValidationError):
        return Publish()


def parse_scenario(document: dict[str, Any], where: str) -> Scenario:
    """Check a scenario document; ``where`` is named in errors.

    Former names of keys are accepted, as stored runs have them.
    """
    document, _ = with_new_names(document, where)
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise ConfigError(f"{where}: {'; '.join(map(_explain, faults[:MOST_FAULTS]))}{more}") from error


def with_settings(scenario: Scenario, overrides: dict[str, Any]) -> Scenario:
    """Return a scenario with some keys changed, checked like a file; see :func:`load_scenario`.

    Raises
    ------
    ConfigError
        If a key or value is wrong.
    """
    return parse_scenario(_override(scenario.model_dump(mode="json"), overrides), where=scenario.file)


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value`` of the command line; the value is read as YAML.

    >>> parse_setting("windows.train=28")
    ('windows.train', 28)
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {_SHORT.repr(text)}: expected key=value, for example --set windows.train=28")
    try:
        return key, read_yaml(value)
    except OutOfBoundsError as error:
        raise ConfigError(f"--set {_SHORT.repr(key)}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {_SHORT.repr(text)}: the value is not YAML") from error


@functools.cache
def _warn_once(message: str) -> None:
    """Log a warning the first time in this process: a DAG file is parsed again and again."""
    log.warning(message)


def with_new_names(document: dict[str, Any], where: str) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    """Return the document with keys that were renamed under their new names, and the (old, new) pairs found.

    A key that has no effect now is left out; its new name is None.
    """
    found: list[tuple[str, str | None]] = []
    for section, old, new in RENAMED:
        keys = document.get(section)
        if not isinstance(keys, dict) or old not in keys:
            continue
        if new is None:
            document = {**document, section: {key: value for key, value in keys.items() if key != old}}
            found.append((f"{section}.{old}", None))
            continue
        if new in keys:
            raise ConfigError(f"{where}: {section}.{old} is the former name of {section}.{new}: remove {section}.{old}")
        document = {**document, section: {new if key == old else key: value for key, value in keys.items()}}
        found.append((f"{section}.{old}", f"{section}.{new}"))
    return document, found


def _override(document: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Set keys of a document; former names of keys are accepted with a warning that names ``--set``."""
    for key, value in overrides.items():
        current, former = _current_name(key)
        if current != key and current in overrides:
            raise ConfigError(f"--set {key}: is the former name of {current}, which is also set: set {current} only")
        _set(document, current, value)
        document, within = with_new_names(document, f"--set {key}")
        _warn_of_former_names([*former, *within], f"--set {key}")
    return document


def _current_name(key: str) -> tuple[str, list[tuple[str, str | None]]]:
    """Return a dotted key under its new name, and the (old, new) pair if it or its parent was renamed."""
    for section, old, new in RENAMED:
        if new is None:
            continue
        former, current = f"{section}.{old}", f"{section}.{new}"
        if f"{key}.".startswith(f"{former}."):
            return current + key.removeprefix(former), [(former, current)]
    return key, []


def _warn_of_former_names(former: list[tuple[str, str | None]], where: str) -> None:
    """Log a warning for each (old, new) pair found in a file or a setting."""
    for old, new in former:
        if new is None:
            _warn_once(f"{where}: {old} has no effect, and is accepted until the next release: remove it")
        else:
            _warn_once(f"{where}: {old} is now {new}, and the old name is accepted until the next release: rename it")


def _read_document(path: Path) -> dict[str, Any]:
    data = _read_file(path)
    try:
        document = read_yaml(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: not YAML: byte 0x{data[error.start]:02x} on line {line} is not UTF-8: save the file as UTF-8"
        ) from error
    except OutOfBoundsError as error:
        raise ConfigError(f"{path}: line {error.line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, found {type(document).__name__}")
    return document


def _read_file(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for someone to write into it
            raise ConfigError(f"{path}: is not a file: put the scenario's text there, or remove it")
        if found.st_size > MOST_BYTES:
            raise ConfigError(
                f"{path}: has {found.st_size:,} bytes, at most {MOST_BYTES:,} are read: is it a scenario?"
            )
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        child = document.get(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent!r} is not a section")
        document[parent] = dict(child)  # an alias elsewhere may be of the same section
        document = document[parent]
    document[leaf] = value


def _explain(error: Any) -> str:
    place = [str(part) for part in error["loc"] if "[" not in str(part)]  # one in brackets is pydantic's, of a union
    key = ".".join(part if len(part) <= 80 else f"{part[:80]}…" for part in place)
    if error["type"] == "extra_forbidden":
        *parents, leaf = error["loc"]
        return f"unknown key {key!r}{nearest(str(leaf), _known_keys(tuple(parents)))}"
    key = key if key.isprintable() else repr(key)  # a message is one line, whatever a task is called
    message = " ".join(error["msg"].removeprefix("Value error, ").split())
    value = error.get("input")
    # What is written there may hold a password or a token.
    sections = (["notify"], ["publish"], ["tracking"])
    secret = place[:2] in (["source", "sql"], ["schedule", "asset"]) or place[:1] in sections
    shown = "" if isinstance(value, dict) or value is None or secret else _SHORT.repr(value)
    text = "; put text that YAML reads as a number, date or boolean in quotes" if error["type"] == "string_type" else ""
    return f"{f'{key}: ' if key else ''}{message}{f' (got {shown})' if shown else ''}{text}"


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
