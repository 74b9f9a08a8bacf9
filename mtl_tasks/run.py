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

from mtl_tasks.allocator import release_free_memory
from mtl_tasks.errors import quoting_rows
from mtl_tasks.scenario import Scenario
from mtl_tasks.store import Artifact, Payload, Ref, Store, to_json

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "pandas", "scipy", "scikit-learn", "pyarrow", "implicit", "lightgbm", "great-expectations")
# Changing how a result is shown, or what people do about runs that are done, does not change the result.
PRESENTATION = (
    "__main__.py",
    "cli.py",
    "registry_commands.py",
    "terminal.py",
    "promotion.py",
    "history.py",
    "exploration.py",
    "comparison.py",
    "pruning.py",
    "summary.py",
    "report",
    "intake",
    "explain.py",
    "features/words.py",
)


@dataclass(frozen=True)
class Run:
    """A scenario at an instant, writing to a store."""

    scenario: Scenario
    as_of: pd.Timestamp  # UTC midnight: the run knows nothing at or after it
    store: Store
    force: bool = False

    @property
    def as_of_name(self) -> str:
        """The as_of date, as paths and reports show it."""
        return f"{self.as_of:%Y-%m-%d}"

    @property
    def as_of_day(self) -> int:
        """UTC days since 1970-01-01."""
        return int(self.as_of.value // 86_400_000_000_000)


@dataclass(frozen=True)
class Inputs:
    """What a stage may read: artefacts by stage name, and its own configuration as it stands in its key."""

    artifacts: Mapping[str, Artifact]
    config: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, stage: str) -> Artifact:
        return self.artifacts[stage]

    def matching(self, prefix: str) -> dict[str, Artifact]:
        """Artefacts whose name starts with ``prefix:``, by the rest of the name."""
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
        Whether what an artefact refers to beside its own files is there; if not, it is made again.
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
    """Return the stage's artefact, made now unless one with the same key exists and verifies.

    Raises
    ------
    MtlError
        Whatever the body, an input or the store has to say; nothing is then published.
    """
    with quoting_rows(run.scenario.validation.quote_rows):
        return _reused_or_made(stage, run, refs)


def _reused_or_made(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult:
    parts = _key_parts(stage, run, refs)
    if not run.force:
        found = _find(stage, run, parts)
        if found is not None:
            if not stage.presentation:  # what only shows results may be asked of a store that cannot be written
                run.store.reuse(found.ref)
            log.info("%s: reused %s", stage.name, found.ref.uri)
            return found
    folder, key = _place(stage, run, parts)
    inputs = Inputs({name: run.store.open(refs[name]) for name in stage.needs}, parts["config"])
    with measured() as usage, threadpool_limits(1, "blas"):
        payload = stage.body(run, inputs)
    made = run.store.publish(folder, key, payload, {**parts, "usage": usage})
    log.info("%s: %.1f s, published %s", stage.name, usage["seconds"], folder)
    return _result(stage, made, reused=False, seconds=usage["seconds"])


def find_stage(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult | None:
    """Return the stage's artefact if it was made before and verifies, None if it was not made.

    Raises
    ------
    ArtifactError
        If it was made and is damaged.
    """
    return _find(stage, run, _key_parts(stage, run, refs))


def _find(stage: Stage, run: Run, parts: dict[str, Any]) -> StageResult | None:
    started = time.monotonic()
    folder, _ = _place(stage, run, parts)
    found = run.store.find(folder)
    if found is None or not stage.whole(run.store, found):
        return None
    found.verify()
    return _result(stage, found, reused=True, seconds=time.monotonic() - started)


def _place(stage: Stage, run: Run, parts: dict[str, Any]) -> tuple[UPath, str]:
    """Folder and key of an artefact."""
    key = hashlib.sha256(to_json(parts)).hexdigest()
    return run.store.folder(run.scenario.name, run.as_of_name, stage.name.replace(":", "-"), key), key


def _key_parts(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> dict[str, Any]:
    """All that an artefact depends on; the hash of this is its key."""
    return {
        "scenario": run.scenario.name,
        "stage": stage.name,
        "as_of": run.as_of_name,
        "config": stage.config(run),
        "inputs": {name: refs[name].key for name in stage.needs},
        "code": code_version(stage.presentation),
        "libraries": library_versions(),
    }


@cache
def code_version(presentation: bool = False) -> str:
    """Hash of the library's source; ``presentation`` includes the modules that only show results."""
    root = Path(__file__).parent
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
    """Fill a dict with the block's wall seconds, CPU seconds (user + system) and peak resident memory in MiB."""
    usage: dict[str, float] = {}
    release_free_memory()  # what stages before it have left is no part of this one's peak
    _reset_peak()
    wall, cpu = time.monotonic(), time.process_time()
    yield usage
    usage["seconds"] = round(time.monotonic() - wall, 3)
    usage["cpu_seconds"] = round(time.process_time() - cpu, 3)
    usage["peak_rss_mb"] = round(_peak_mb(), 1)


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
