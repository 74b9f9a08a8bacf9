"""One run of one scenario: what a stage is, how its key is made, and how it is run, reused and recorded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits
from upath import UPath

from mtl_tasks.core.errors import ArtifactError, quoting_rows
from mtl_tasks.core.process import release_free_memory
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Artifact, Payload, Ref, Store, to_json

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "pandas", "scipy", "scikit-learn", "pyarrow", "implicit", "lightgbm", "great-expectations")
# What to do where work that was done again has come out otherwise.
OTHER_RESULT = (
    "these were deleted and made again, and work on a GPU or on another CPU is not bit-reproducible: restore them from "
    "a backup, or run with --force (Force in the form), which makes a run of its own beside this one"
)
# Changing how a result is shown, or what people do about runs that are done, does not change the result.
PRESENTATION = (
    "__main__.py",
    "cli",
    "onboarding",
    "report",
    "pipeline/comparison.py",
    "pipeline/erasure.py",
    "pipeline/explore.py",
    "pipeline/holdings.py",
    "pipeline/past_runs.py",
    "recommend/explain.py",
    "features/descriptions.py",
    "store/promotion.py",
    "store/pruning.py",
    "store/resealing.py",
)


@dataclass(frozen=True)
class Run:
    """A scenario at an instant, writing to a store.

    Attributes
    ----------
    as_of
        UTC midnight: the run knows nothing at or after it.
    force
        Token of a forced run, null for any other. It is part of every key, so that a forced run reuses only what
        carries its own token, and writes beside what other runs have made.
    """

    scenario: Scenario
    as_of: pd.Timestamp
    store: Store
    force: str | None = None

    @property
    def as_of_name(self) -> str:
        """The as_of date, as paths and reports show it."""
        return f"{self.as_of:%Y-%m-%d}"

    @property
    def as_of_day(self) -> int:
        """UTC days since 1970-01-01."""
        return int(self.as_of.value // 86_400_000_000_000)

    def in_key(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of a key with the token of a forced run; those of any other run are as they were."""
        return {**parts} if self.force is None else {**parts, "forced": self.force}


@dataclass(frozen=True)
class Inputs:
    """What a stage may read: artifacts by stage name, and its own configuration as it stands in its key."""

    artifacts: Mapping[str, Artifact]
    config: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, stage: str) -> Artifact:
        return self.artifacts[stage]

    def matching(self, prefix: str) -> dict[str, Artifact]:
        """Artifacts whose name starts with ``prefix:``, by the rest of the name."""
        return {name[len(prefix) + 1 :]: a for name, a in self.artifacts.items() if name.startswith(f"{prefix}:")}


@dataclass(frozen=True)
class Stage:
    """A step of the run.

    Attributes
    ----------
    name
        ``factors``, or ``member:als`` for one of several alike.
    needs
        Names of the stages it reads.
    config
        The part of the scenario that its result depends on; it goes into the key.
    body
        The work; pure but for reading its inputs.
    whole
        Whether what an artifact refers to beside its own files is there; if not, it is made again.
    """

    name: str
    needs: tuple[str, ...]
    config: Callable[[Run], dict[str, Any]]
    body: Callable[[Run, Inputs], Payload]
    presentation: bool = False
    whole: Callable[[Store, Artifact], bool] = field(default=lambda store, artifact: True)


@dataclass(frozen=True)
class StageResult:
    """What running a stage gave, for people and for the next stage."""

    stage: str
    ref: Ref
    reused: bool
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    summary: dict[str, Any] = field(repr=False)


def run_stage(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult:
    """Return the stage's artifact, made now unless one with the same key exists and verifies.

    Raises
    ------
    MtlError
        Whatever the body, an input or the store has to say; nothing is then published.
    ArtifactError
        If what was made before was made from other results of the stage's inputs, or refers to such.
    """
    with quoting_rows(run.scenario.validation.quote_rows):
        return _reused_or_made(stage, run, refs)


def _reused_or_made(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult:
    parts = _key_parts(stage, run, refs)
    found = _find(stage, run, refs, parts)
    if found is not None:
        if not stage.presentation:  # what only shows results may be asked of a store that cannot be written
            run.store.reuse(found.ref)
        log.info("%s: reused %s", stage.name, found.ref.uri)
        return found
    folder, key = _place(stage, run, parts)
    inputs = Inputs({name: run.store.open(refs[name]) for name in stage.needs}, parts["config"])
    with measured() as usage, threadpool_limits(1, "blas"):
        payload = stage.body(run, inputs)
    made = run.store.publish(folder, key, payload, {**parts, "made_from": _hashes(stage, refs), "usage": usage})
    if not stage.whole(run.store, made):
        raise ArtifactError(f"{folder}: refers to artifacts of days that are not those in the store; {OTHER_RESULT}")
    log.info("%s: %.1f s, published %s", stage.name, usage["seconds"], folder)
    return _result(stage, made, reused=False, seconds=usage["seconds"])


def find_stage(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult | None:
    """Return the stage's artifact if it was made before and verifies, None if it was not made.

    Raises
    ------
    ArtifactError
        If it was made and is damaged, or was made from other results of the stage's inputs.
    """
    return _find(stage, run, refs, _key_parts(stage, run, refs))


def _find(stage: Stage, run: Run, refs: Mapping[str, Ref], parts: dict[str, Any]) -> StageResult | None:
    started = time.monotonic()
    folder, _ = _place(stage, run, parts)
    found = run.store.find(folder)
    if found is None or not stage.whole(run.store, found):
        return None
    made_from = found.manifest["made_from"]
    changed = [name for name, sha256 in _hashes(stage, refs).items() if made_from[name] != sha256]
    if changed:
        raise ArtifactError(f"{folder}: was made from other results of {', '.join(changed)}; {OTHER_RESULT}")
    found.verify()
    return _result(stage, found, reused=True, seconds=time.monotonic() - started)


def _place(stage: Stage, run: Run, parts: dict[str, Any]) -> tuple[UPath, str]:
    """Folder and key of an artifact."""
    key = hashlib.sha256(to_json(parts)).hexdigest()
    return run.store.folder(run.scenario.name, run.as_of_name, stage.name.replace(":", "-"), key), key


def _key_parts(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> dict[str, Any]:
    """All that an artifact depends on; the hash of this is its key."""
    parts = {
        "scenario": run.scenario.name,
        "stage": stage.name,
        "as_of": run.as_of_name,
        "config": stage.config(run),
        "inputs": {name: refs[name].key for name in stage.needs},
        "code": code_version(stage.presentation),
        "libraries": library_versions(),
    }
    return run.in_key(parts)


def _hashes(stage: Stage, refs: Mapping[str, Ref]) -> dict[str, str]:
    """The content of the inputs. Keys name the work alone: on a GPU or another CPU the same work has other results."""
    return {name: refs[name].sha256 for name in stage.needs}


@cache
def code_version(presentation: bool = False) -> str:
    """Hash of the library's source; ``presentation`` includes the modules that only show results."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".html", ".css")):
        relative = path.relative_to(root)
        if presentation or not {str(part) for part in (relative, *relative.parents)} & set(PRESENTATION):
            digest.update(str(relative).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _result(stage: Stage, artifact: Artifact, *, reused: bool, seconds: float) -> StageResult:
    usage = artifact.manifest["usage"]
    cpu = 0.0 if reused else usage["cpu_seconds"]
    return StageResult(stage.name, artifact.ref, reused, round(seconds, 3), cpu, usage["peak_rss_mb"], artifact.summary)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Fill a dict with what the block took: wall seconds, CPU seconds (user + system), peak resident memory in MiB.

    And ``made_at``, when it ended, in seconds since 1970: of two results of one kind it says which is the newer.
    """
    usage: dict[str, float] = {}
    release_free_memory()  # what stages before it have left is no part of this one's peak
    _reset_peak()
    wall, cpu = time.monotonic(), time.process_time()
    yield usage
    usage["seconds"] = round(time.monotonic() - wall, 3)
    usage["cpu_seconds"] = round(time.process_time() - cpu, 3)
    usage["peak_rss_mb"] = round(_peak_mb(), 1)
    usage["made_at"] = round(time.time(), 3)


def _reset_peak() -> None:
    # Linux keeps one high-water mark a process; writing 5 resets it, so that each stage reports its own.
    try:
        with open("/proc/self/clear_refs", "w") as handle:
            handle.write("5")
    except OSError:
        log.debug("peak memory cannot be reset here: a stage's peak includes the stages before it")


def _peak_mb() -> float:
    try:
        with open("/proc/self/status") as handle:
            return next(int(line.split()[1]) for line in handle if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        unit = 1024 if os.uname().sysname == "Linux" else 1024 * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
