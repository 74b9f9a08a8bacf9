"""Runs and stages: the definition of a stage, its key, and how it is run, reused and recorded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import resource
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass
from threadpoolctl import threadpool_limits
from upath import UPath

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import faults_in
from mtl_tasks.core.errors import ArtifactError, quoting_rows
from mtl_tasks.core.process import bulk_scorer, release_free_memory
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Artifact, Payload, Ref, Store, to_json
from mtl_tasks.store.documents.origin import Origin

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "pandas", "scipy", "scikit-learn", "pyarrow", "implicit", "lightgbm", "great-expectations")
JAX: Final = ("jax", "jaxlib")  # optional: versions of these belong only to stages that train with them
# The remedy if the same work, done again, gave another result.
OTHER_RESULT = (
    "these were deleted and made again, and work on a GPU or on another CPU is not bit-reproducible: restore them from "
    "a backup, or run with --force (Force in the form), which makes a run of its own beside this one"
)
# Changing how a result is shown, or what users do about finished runs, does not change the result.
PRESENTATION = (
    "__main__.py",
    "cli",
    "compression",
    "data/readiness.py",
    "export",
    "integrations",
    "notebook",
    "onboarding",
    "report",
    "pipeline/approval_form.py",
    "pipeline/artifact_states.py",
    "pipeline/changes.py",
    "pipeline/comparison.py",
    "pipeline/compress.py",
    "pipeline/data_docs.py",
    "pipeline/delivery.py",
    "pipeline/erasure.py",
    "pipeline/estimate.py",
    "pipeline/explore.py",
    "pipeline/export.py",
    "pipeline/holdings.py",
    "pipeline/lineage.py",
    "pipeline/past_documents.py",
    "pipeline/past_runs.py",
    "pipeline/measures.py",
    "pipeline/notices.py",
    "pipeline/origin.py",
    "pipeline/placement.py",
    "pipeline/shared_rows.py",
    "pipeline/suggestions.py",
    "pipeline/tracking.py",
    "pipeline/tuning",
    "pipeline/verdict_reasons.py",
    "recommend/explain.py",
    "scenario/notify.py",
    "scenario/pods.py",
    "scenario/tracking.py",
    "store/promotion.py",
    "store/pruning.py",
    "store/resealing.py",
    "store/run_costs.py",
    "tuning",
)


@dataclass(frozen=True)
class Run:
    """A scenario as of a day, writing to a store.

    Attributes
    ----------
    as_of
        The run knows nothing at or after it.
    force
        Token of a forced run, None for any other. It is part of every key, so that a forced run reuses only artifacts
        with its own token, and writes beside those of other runs.
    origin
        Who or what started it, noted in the usage of the artifacts that it makes; None if that is not known.
    """

    scenario: Scenario
    as_of: AsOf
    store: Store
    force: str | None = None
    origin: Origin | None = field(default=None, compare=False)

    def in_key(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of a key, with the token added if the run is forced."""
        return {**parts} if self.force is None else {**parts, "forced": self.force}


@dataclass(frozen=True)
class Inputs:
    """Inputs of a stage: artifacts by stage name, and the stage's configuration as in its key."""

    artifacts: Mapping[str, Artifact]
    config: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, stage: str) -> Artifact:
        return self.artifacts[stage]

    def matching(self, prefix: str) -> dict[str, Artifact]:
        """Return the artifacts whose name starts with ``prefix:``, by the rest of the name."""
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
        Returns what its result depends on beside its inputs, such as sections of the scenario; part of the key.
    body
        The work; pure except for reading its inputs.
    presentation
        Whether it only shows results; its key then includes the code that does so.
    whole
        Whether the artifacts that an artifact refers to are in the store; if not, it is made again.
    optional
        Those of ``needs`` that a run of an earlier release may lack.
    """

    name: str
    needs: tuple[str, ...]
    config: Callable[[Run], dict[str, Any]]
    body: Callable[[Run, Inputs], Payload]
    presentation: bool = False
    whole: Callable[[Store, Artifact], bool] = field(default=lambda store, artifact: True)
    optional: tuple[str, ...] = ()

    def inputs_among(self, given: Collection[str]) -> list[str]:
        """Return the names of the stages to read, without optional ones that are not given."""
        return [name for name in self.needs if name in given or name not in self.optional]


def _as_ref(value: Any) -> Ref:
    return value if isinstance(value, Ref) else Ref.from_json(value)


StoredRef = Annotated[Ref, BeforeValidator(_as_ref)]  # a reference as a field of a document


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StageResult:
    """Result of a stage, for display and for the next stage.

    Attributes
    ----------
    peak_rss_mb
        MiB.
    summary
        The summary of the artifact. It is not part of the JSON form, which is therefore always small; a result that was
        read from JSON has none.
    """

    stage: str
    ref: StoredRef
    reused: StrictBool
    seconds: StrictFloat
    cpu_seconds: StrictFloat
    peak_rss_mb: StrictFloat
    summary: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form without the summary."""
        document: dict[str, Any] = _STAGE_RESULT.dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, document: Any) -> StageResult:
        """Invert :meth:`to_json`.

        Raises
        ------
        ArtifactError
            If the document is not the result of a stage.
        """
        try:
            return _STAGE_RESULT.validate_python(document)
        except ValidationError as error:
            raise ArtifactError(
                f"{document!r:.200}: not the result of a stage ({faults_in(error)}); clear the task that returned it"
            ) from error
        except ArtifactError as error:  # of its reference
            raise ArtifactError(
                f"result of stage {document.get('stage')!r:.50}: {error}; clear the task that returned it"
            ) from error


_STAGE_RESULT: Final = TypeAdapter(StageResult)


def run_stage(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult:
    """Return the stage's result, made now unless an artifact with the same key exists and verifies.

    Raises
    ------
    MtlError
        Any error of the body, an input or the store; nothing is then published.
    ArtifactError
        If the existing artifact was made from other results of the stage's inputs, or refers to days that the store
        no longer holds.
    """
    with quoting_rows(run.scenario.validation.quote_rows):
        return _reused_or_made(stage, run, refs)


def _reused_or_made(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult:
    parts = _key_parts(stage, run, refs)
    found = _find(stage, run, refs, parts)
    if found is not None:
        if not stage.presentation:  # a stage that only shows results may run on a read-only store
            run.store.reuse(found.ref)
        log.info("%s: reused %s", stage.name, found.ref.uri)
        return found
    folder, key = _location(stage, run, parts)
    inputs = Inputs({name: run.store.open(refs[name]) for name in stage.inputs_among(refs)}, parts["config"])
    with measured() as usage, threadpool_limits(1, "blas"):
        payload = stage.body(run, inputs)
    noted: dict[str, Any] = {**usage, "tree_scorer": bulk_scorer()}  # in the usage, as these change no result
    if run.origin is not None:
        noted["origin"] = run.origin.to_json()
    made = run.store.publish(folder, key, payload, {**parts, "made_from": _hashes(stage, refs), "usage": noted})
    if not stage.whole(run.store, made):
        raise ArtifactError(f"{folder}: refers to artifacts of days that are not those in the store; {OTHER_RESULT}")
    log.info("%s: %.1f s, published %s", stage.name, usage["seconds"], folder)
    return _result(stage, made, reused=False, seconds=usage["seconds"])


def find_stage(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> StageResult | None:
    """Return the stage's result if it was made before and verifies, None if it was not made.

    Raises
    ------
    ArtifactError
        If its artifact is damaged, or was made from other results of the stage's inputs.
    """
    return _find(stage, run, refs, _key_parts(stage, run, refs))


def _find(stage: Stage, run: Run, refs: Mapping[str, Ref], parts: dict[str, Any]) -> StageResult | None:
    started = time.monotonic()
    folder, _ = _location(stage, run, parts)
    found = run.store.find(folder)
    if found is None or not stage.whole(run.store, found):
        return None
    made_from = found.manifest["made_from"]
    changed = [name for name, sha256 in _hashes(stage, refs).items() if made_from[name] != sha256]
    if changed:
        raise ArtifactError(f"{folder}: was made from other results of {', '.join(changed)}; {OTHER_RESULT}")
    found.verify()
    return _result(stage, found, reused=True, seconds=time.monotonic() - started)


def _location(stage: Stage, run: Run, parts: dict[str, Any]) -> tuple[UPath, str]:
    """Return the folder and the key of an artifact."""
    key = hashlib.sha256(to_json(parts)).hexdigest()
    return run.store.folder(run.scenario.name, run.as_of.iso, stage.name.replace(":", "-"), key), key


def _key_parts(stage: Stage, run: Run, refs: Mapping[str, Ref]) -> dict[str, Any]:
    """Return everything that an artifact depends on; its hash is the key."""
    parts = {
        "scenario": run.scenario.name,
        "stage": stage.name,
        "as_of": run.as_of.iso,
        "config": stage.config(run),
        "inputs": {name: refs[name].key for name in stage.inputs_among(refs)},
        "code": code_version(stage.presentation),
        "libraries": library_versions(),
    }
    return run.in_key(parts)


def _hashes(stage: Stage, refs: Mapping[str, Ref]) -> dict[str, str]:
    """Return the inputs' content hashes: keys identify only the work, whose results differ by GPU and CPU."""
    return {name: refs[name].sha256 for name in stage.inputs_among(refs)}


@cache
def code_version(presentation: bool = False) -> str:
    """Return a hash of the package's source; ``presentation`` includes the modules that only show results."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".html", ".css", ".js")):
        relative = path.relative_to(root)
        if presentation or not {str(part) for part in (relative, *relative.parents)} & set(PRESENTATION):
            digest.update(str(relative).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@cache
def jax_versions() -> dict[str, str | None]:
    """Return the versions of JAX's packages; None for one that is not installed."""
    made: dict[str, str | None] = {}
    for name in JAX:
        try:
            made[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            made[name] = None
    return made


def _result(stage: Stage, artifact: Artifact, *, reused: bool, seconds: float) -> StageResult:
    usage = artifact.manifest["usage"]
    cpu = 0.0 if reused else usage["cpu_seconds"]
    return StageResult(stage.name, artifact.ref, reused, round(seconds, 3), cpu, usage["peak_rss_mb"], artifact.summary)


_USAGE: Final[ContextVar[dict[str, float] | None]] = ContextVar("usage", default=None)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Fill a dict with the block's wall seconds, CPU seconds (user + system) and peak resident memory in MiB.

    ``made_at``, the block's end in seconds since 1970, tells which of two results is newer. The dict also has what the
    block gave to :func:`note_usage`.
    """
    usage: dict[str, float] = {}
    release_free_memory()  # memory left by earlier stages is not part of this one's peak
    _reset_peak()
    wall, cpu = time.monotonic(), time.process_time()
    token = _USAGE.set(usage)
    try:
        yield usage
    finally:
        _USAGE.reset(token)
    usage["seconds"] = round(time.monotonic() - wall, 3)
    usage["cpu_seconds"] = round(time.process_time() - cpu, 3)
    usage["peak_rss_mb"] = round(_peak_mb(), 1)
    usage["made_at"] = round(time.time(), 3)


def note_usage(**numbers: float) -> None:
    """Add numbers to the usage of the innermost :func:`measured` block; nothing outside of one."""
    usage = _USAGE.get()
    if usage is not None:
        usage.update(numbers)


def _reset_peak() -> None:
    # Linux keeps one high-water mark per process; writing 5 resets it, so that each stage reports its own.
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
