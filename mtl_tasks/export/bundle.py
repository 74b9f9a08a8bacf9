"""The files of a scoring bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.export.scoring import MANIFEST, SCHEMA
from mtl_tasks.models import Member
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.models.boosting.trees import to_bytes
from mtl_tasks.models.cascade import CascadeMember
from mtl_tasks.models.linear import LinearMember
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json

MOST_BYTES: Final = 5_000_000  # of a bundle, so that it fits into a function, an image or an app
MODULE: Final = "scoring.py"


@dataclass(frozen=True)
class Exported:
    """A member in a bundle.

    Attributes
    ----------
    form
        A key of ``FORMS`` in ``scoring.py``, which reads ``facts`` and the files.
    facts
        JSON-serializable.
    numbers, categories
        The features that it reads.
    """

    form: str
    facts: dict[str, Any]
    files: dict[str, bytes]
    numbers: list[str]
    categories: list[str]


def bundle_files(
    scenario: Scenario,
    members: Mapping[str, Member],
    fusions: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return the files of a bundle by name; members without weight in any task's fusion are not part of it.

    Parameters
    ----------
    fusions
        By task, as :meth:`mtl_tasks.store.documents.training.TaskFusion.to_json` returns them.
    about
        JSON-serializable facts for the manifest, such as the run's key.

    Raises
    ------
    ConfigError
        If a member with weight cannot be exported, or the files are larger than ``MOST_BYTES``.
    """
    made = {}
    for name, member in members.items():
        asked = [task for task in scenario.tasks if fusions[task]["weights"][name] > 0]
        if asked:
            made[name] = _exported(member, asked)
    files = {"fusion.json": to_json({task: _fusion(fusions[task]) for task in scenario.tasks})}
    for name, one in made.items():
        files |= {f"{name}.json": to_json(one.facts), **one.files}
    files[MODULE] = Path(__file__).with_name(MODULE).read_bytes()
    manifest = {
        **about,
        "schema": SCHEMA,
        "lightgbm": importlib.metadata.version("lightgbm"),
        "tasks": {
            name: {"kind": task.kind, "objective": task.objective, "limits": task.limits}
            for name, task in scenario.tasks.items()
        },
        "features": _features(made.values()),
        "members": {name: one.form for name, one in made.items()},
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    files[MANIFEST] = to_json(manifest)
    _refuse_large(sum(map(len, files.values())), scenario.name)
    return files


def _exported(member: Member, tasks: list[str]) -> Exported:
    if member.kind not in EXPORTS:
        raise ConfigError(
            f"export: the member {member.kind!r} cannot be scored outside this project, and the fusion of "
            f"{', '.join(tasks)} weighs it: export a run without it, such as a compressed one ({PROGRAM} compress)"
        )
    return EXPORTS[member.kind](member, tasks)


def _trees(member: Member, tasks: list[str]) -> Exported:
    """Take the whole models: the sums of shared trees are theirs up to the last bits."""
    assert isinstance(member, BoostedMember)
    files, models, encoder = dict[str, bytes](), dict[str, list[str]](), member.learned.encoder
    for task in tasks:
        boosters = member.learned.trees[task].boosters
        models[task] = [f"{member.kind}.{task}.{number}.lightgbm.txt" for number in range(len(boosters))]
        files |= {name: to_bytes(booster) for name, booster in zip(models[task], boosters, strict=True)}
    facts = {"names": encoder.names, "levels": encoder.levels, "models": models}
    numbers = [name for name in encoder.names if name not in encoder.levels]
    return Exported("trees", facts, files, numbers, list(encoder.levels))


def _cascade(member: Member, tasks: list[str]) -> Exported:
    assert isinstance(member, CascadeMember)
    order = member.needed(tasks)
    made = _trees(member, order)
    return Exported("cascade", {**made.facts, "order": order}, made.files, made.numbers, made.categories)


def _columns(member: Member, tasks: list[str]) -> Exported:
    assert isinstance(member, LinearMember)
    models = {task: member.model(task) for task in tasks}
    numbers = list(dict.fromkeys(name for model in models.values() for name in model["columns"]))
    return Exported("columns", models, {}, numbers, [])


# A further kind needs a function here, and a class in FORMS of scoring.py unless it takes one of those forms.
EXPORTS: Final[dict[str, Callable[[Member, list[str]], Exported]]] = {
    "popularity": _columns,
    "als": _columns,
    "independent": _trees,
    "cascade": _cascade,
    "shared": _trees,
    "shared_tail": _trees,
    "distilled": _trees,
}


def _fusion(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fusion of the members that it weighs."""
    kept = [name for name in document["members"] if document["weights"][name] > 0]
    return {
        "method": document["method"],
        "members": kept,
        "weights": [document["weights"][name] for name in kept],
        "thresholds": document.get("thresholds"),
        "calibration": {key: document["calibration"][key] for key in _MAP if key in document["calibration"]},
    }


_MAP: Final = ("kind", "slope", "offset", "x", "y")  # what applying a calibration reads


def _features(members: Any) -> list[dict[str, str]]:
    kinds: dict[str, str] = {}
    for member in members:
        kinds |= dict.fromkeys(member.numbers, "number") | dict.fromkeys(member.categories, "category")
    return [{"name": name, "kind": kind} for name, kind in kinds.items()]


def _refuse_large(size: int, scenario: str) -> None:
    if size > MOST_BYTES:
        raise ConfigError(
            f"export: the bundle of {scenario} would have {size:,} bytes, more than {MOST_BYTES:,}: compress the run "
            f"first ({PROGRAM} compress), and export the compressed one"
        )
