"""Finished runs of a scenario and their documents, read by the registry's references.

A run is found by its registry record, not by today's code or scenario file, so that the oldest run can still be read.
Nothing is written except a page that is missing or out of date.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import validate
from mtl_tasks.core.errors import ArtifactError, ConfigError, SealError, answering
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import build_document, page_uri
from mtl_tasks.pipeline.stages import report_stage
from mtl_tasks.pipeline.verdict_reasons import deciding_reason
from mtl_tasks.report.document import RunDocument
from mtl_tasks.scenario import parse_scenario, with_new_names
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Ref, Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.data import SplitSummary, StageUsage, Usage
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.measurements import TaskMeasurements
from mtl_tasks.store.registry import Decision, Registry, RunRecord, Snapshot
from mtl_tasks.store.stages import stage_position

log = logging.getLogger(__name__)

KEPT_RUNS: Final = 4096  # metrics of a run are a few kB
KEPT_SUMMARIES: Final = 1024  # of stages; a few kB each
MISSING: Final = "missing"  # states of an artifact
DAMAGED: Final = "damaged: "
HASHED_BYTES: Final = 64_000_000  # checking an artifact reads all of it: for larger ones only the sizes are compared


@dataclass(frozen=True)
class PastRun:
    """A run with a verdict.

    Attributes
    ----------
    standing
        Current status; see :meth:`mtl_tasks.store.registry.Snapshot.standing_of`.
    store
        The store that its artifacts are in.
    """

    entry: RunRecord
    rulings: tuple[Decision, ...]
    standing: str
    store: Store

    @property
    def metrics(self) -> TaskMeasurements:
        """Task to metrics of the fusion on the test window; empty if they cannot be read."""
        return self._measured[0]

    @property
    def problem(self) -> str | None:
        """Why the metrics cannot be read."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[TaskMeasurements, str | None]:
        """Read the metrics when they are first asked for: most runs of a long history are not shown."""
        try:
            if not self.entry.metrics:  # a record from before the registry had them
                return _metrics(self.store, self.entry.refs["evaluate"]), None
            where = f"registry entry {self.entry.run_key[:12]}"
            return validate(TaskMeasurements, self.entry.metrics, where), None
        except (ArtifactError, KeyError) as error:
            return {}, str(error)

    @property
    def why(self) -> str:
        """The reason for the status: the last decision, else the first failed rule, else how many rules hold."""
        if self.rulings:
            return self.rulings[-1].sentence(self.entry, self.rulings)
        return deciding_reason(self.entry.reasons)

    def to_json(self) -> dict[str, Any]:
        """Return the run's row on the model board."""
        return {
            "run_key": self.entry.run_key,
            "as_of": self.entry.as_of,
            "decision": self.entry.decision,
            "standing": self.standing,
            "why": self.why,
            "rulings": [ruling.to_json() for ruling in self.rulings],
            "metrics": {
                task: {name: measured.to_json() for name, measured in metrics.items()}
                for task, metrics in self.metrics.items()
            },
            "problem": self.problem,
        }


@dataclass(frozen=True)
class ChampionPeriod:
    """The day from which a run was the newest promoted one."""

    as_of: str
    run_key: str


@dataclass(frozen=True)
class History:
    """The runs of a scenario, oldest as_of first.

    Attributes
    ----------
    champions
        Oldest first. Runs retired since are left out: the champion of a time is computed, not stored.
    problems
        One sentence for each damaged record of the registry.
    """

    scenario: str
    runs: list[PastRun]
    champions: list[ChampionPeriod]
    problems: tuple[str, ...] = ()

    @property
    def champion(self) -> PastRun | None:
        """Today's champion."""
        if not self.champions:
            return None
        return next(run for run in self.runs if run.entry.run_key == self.champions[-1].run_key)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        champion = self.champion
        return {
            "scenario": self.scenario,
            "champion": None if champion is None else champion.entry.run_key,
            "champions": [asdict(period) for period in self.champions],
            "runs": [run.to_json() for run in self.runs],
            "problems": list(self.problems),
        }


def stored_scenarios(store: Store) -> list[str]:
    """Return the names of the scenarios that have a verdict in the store.

    Raises
    ------
    StoreError
        If the store is unreachable.
    """
    with answering(f"{store.root}: the store cannot be read"):
        if not store.root.exists():
            return []
        return sorted(folder.name for folder in store.root.iterdir() if (folder / "registry").is_dir())


def read_history(store: Store, scenario: str) -> History:
    """Return all runs of a scenario, including those with unreadable metrics or records.

    Raises
    ------
    StoreError
        If the store is unreachable.
    """
    registry = Registry(store, scenario)
    snapshot = _snapshot(store, scenario, registry.version())
    if snapshot.damaged:  # a restored file has the name of the damaged one
        _snapshot.cache_clear()
    runs = [PastRun(run.entry, run.rulings, snapshot.standing_of(run.entry), store) for run in snapshot.runs.values()]
    newest = {entry.as_of: entry.run_key for entry in snapshot.standing}
    champions = [ChampionPeriod(as_of, run_key) for as_of, run_key in newest.items()]
    return History(scenario, runs, champions, tuple(snapshot.warnings()))


@lru_cache(maxsize=32)
def _snapshot(store: Store, scenario: str, version: tuple[str, ...]) -> Snapshot:
    """Return the registry's snapshot, cached by the names of its records, which never change."""
    return Registry(store, scenario).read() if version else Snapshot(())


@lru_cache(maxsize=KEPT_RUNS)
def _metrics(store: Store, ref: Ref) -> TaskMeasurements:
    return read_document(store.open(ref), "evaluation", Evaluation).metrics


def read_run(store: Store, scenario: str, run_key: str) -> PastRun:
    """Return one run by its key; only its own records are read.

    Raises
    ------
    ArtifactError
        If there is none, or its verdict is damaged.
    """
    snapshot = Registry(store, scenario).read(run_key)
    for run in snapshot.runs.values():
        return PastRun(run.entry, run.rulings, snapshot.standing_of(run.entry), store)
    for record in snapshot.damaged:
        raise ArtifactError(record.why)
    raise ArtifactError(f"{scenario}: no run {run_key[:12]!r} in the registry: choose one from the list")


def choose_run(store: Store, scenario: str, as_of: str | None, run_key: str | None) -> tuple[PastRun, int]:
    """Return the run with a key, or else the newest one of a day, and the number of runs of its day.

    Parameters
    ----------
    as_of
        ``YYYY-MM-DD``; optional if there is a key.
    run_key
        The key, or a unique prefix.

    Raises
    ------
    ConfigError
        If both are missing, or the run of the key is of another day.
    ArtifactError
        If there is no such run.
    """
    registry = Registry(store, scenario)
    named = None if run_key is None else registry.get(run_key)
    if named is None and as_of is None:
        raise ConfigError("as_of is missing: give a date, for example --as-of 2013-08-25, or a run with --run")
    if named is not None and as_of not in (None, named.as_of):
        raise ConfigError(f"--run {run_key}: is as of {named.as_of}, not {as_of}: leave --as-of out")
    day = as_of if named is None else named.as_of
    of_day = [entry for entry in registry.entries() if entry.as_of == day]
    if not of_day:
        raise ArtifactError(
            f"{scenario} as of {day}: no run in {store.root}: run it first ({PROGRAM} run), or name another "
            "place with --store"
        )
    return read_run(store, scenario, (named or of_day[-1]).run_key), len(of_day)


@dataclass(frozen=True)
class RunCard:
    """The facts shown beside a run's metrics.

    Attributes
    ----------
    devices
        By stage.
    windows
        First and last day by name, in time order; empty once the run's tables were pruned.
    approved
        In words, the decision that promoted it, or that its own verdict did.
    """

    devices: dict[str, str]
    windows: dict[str, tuple[str, str]]
    approved: str


def read_card(store: Store, run: PastRun) -> RunCard:
    """Return the facts shown beside a run's metrics."""
    promoted = [ruling for ruling in run.rulings if ruling.action == "promote"]
    by_verdict = "passed the gate, no approval was asked for"
    summaries = _summaries(store, run.entry)
    split = validate(SplitSummary, dict(summaries.get("split", {})), f"run {run.entry.run_key[:12]}: split")
    days = {name: (part.first, part.last) for name, part in split.windows.items()}
    return RunCard(
        devices={stage: str(summary["device"]) for stage, summary in summaries.items() if "device" in summary},
        windows=dict(sorted(days.items(), key=lambda window: window[1])),
        approved=promoted[-1].sentence(run.entry, run.rulings) if promoted else by_verdict,
    )


def _summaries(store: Store, entry: RunRecord) -> dict[str, Mapping[str, Any]]:
    """Return the summaries of a run's stages, without those of unreadable artifacts."""
    summaries: dict[str, Mapping[str, Any]] = {}
    for stage, ref in entry.refs.items():
        try:
            summaries[stage] = _summary(store, ref)
        except ArtifactError:  # the list of artifacts reports it
            continue
    return summaries


@lru_cache(maxsize=KEPT_SUMMARIES)
def _summary(store: Store, ref: Ref) -> Mapping[str, Any]:
    """Return a summary, cached by the artifact's hash; a failed read is not cached."""
    return store.open(ref).summary


def rebuild_run(store: Store, entry: RunRecord) -> Run:
    """Return the run of a registry record, with its own scenario and force token.

    Raises
    ------
    ConfigError
        If the scenario has keys that this code no longer knows.
    ArtifactError
        If its verdict is missing or damaged.
    """
    scenario = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
    force = store.open(entry.refs["gate"]).manifest.get("forced")
    return Run(scenario, AsOf.parse(entry.as_of), store, force)


def earlier_results(
    entry: RunRecord, store: Store, needed: Collection[str] | None = None, wanted: Collection[str] = ()
) -> dict[str, StageResult]:
    """Return the results of a run's stages as if they had been reused now.

    Parameters
    ----------
    needed
        Names of the stages; by default all.
    wanted
        Further stages; missing or damaged ones are left out.

    Raises
    ------
    ArtifactError
        If a needed one is missing or damaged.
    """
    found = {}
    for stage in _stages_of(entry):
        if needed is not None and stage not in needed and stage not in wanted:
            continue
        try:
            found[stage] = _result(stage, store.open(entry.refs[stage]))
        except ArtifactError as error:
            if needed is None or stage in needed:
                raise
            log.warning("%s of run %s is left out: %s", stage, entry.run_key[:12], error)
    return found


def past_document(store: Store, run: PastRun) -> RunDocument:
    """Return the document of a past run.

    Raises
    ------
    ArtifactError, ConfigError
        If an artifact is missing or damaged, or this code can no longer parse the scenario.
    """
    entry = run.entry
    results = earlier_results(entry, store)
    for artifact in _made_of(store, entry, "publish"):
        if artifact.summary["run_key"] == entry.run_key:  # runs that differ only in prose share a verdict
            results["publish"] = _result("publish", artifact)
    lists = find_lists(store, entry)
    if lists is not None:
        results["recommend"] = _result("recommend", lists)
    overrides = _overrides(store, entry)
    document = build_document(rebuild_run(store, entry), results, overrides, (entry, run.rulings, run.standing))
    gate = store.open(entry.refs["gate"]).manifest
    usage = tuple(_usage_row(name, store.open(result.ref)) for name, result in results.items())
    return replace(document, stages=usage, libraries=gate["libraries"])


def shown_document(store: Store, run: PastRun) -> RunDocument:
    """Return the document of a past run with its page, rendered again after later decisions or newer code.

    Raises
    ------
    ArtifactError, ConfigError
        As :func:`past_document`.
    """
    document, rebuilt = past_document(store, run), rebuild_run(store, run.entry)
    lists = find_lists(store, run.entry)
    refs = {"gate": run.entry.refs["gate"]} | ({} if lists is None else {"recommend": lists.ref})
    page = store.open(run_stage(report_stage(document), rebuilt, refs).ref)
    stages = [*document.stages, _usage_row("report", page)]
    # The costs are those of the original run; only the page was made now.
    reused = tuple(stage.model_copy(update={"reused": True}) for stage in stages)
    return replace(document, stages=reused, report=page_uri(rebuilt, page.ref))


def _overrides(store: Store, entry: RunRecord) -> dict[str, Any]:
    """Return the settings that the caller had changed, as kept with the run's own page; empty if that is gone."""
    where = f"run {entry.run_key[:12]}"
    own = with_new_names(entry.scenario_document, where)[0] | {"rulings": None}
    for page in _made_of(store, entry, "report"):
        if with_new_names(page.manifest["config"], where)[0] | {"rulings": None} == own:
            overrides: dict[str, Any] = page.summary.get("overrides", {})
            return overrides
    return {}


def _made_of(store: Store, entry: RunRecord, stage: str) -> Iterator[Artifact]:
    """Yield the artifacts of a stage that were made from a run's verdict; its registry record has no references."""
    folder = store.inside(_scenario(entry), entry.as_of, stage)
    with answering(f"{folder}: cannot be read"):
        manifests = sorted(folder.glob(f"*/{MANIFEST}")) if folder.exists() else []
    for path in manifests:
        try:
            artifact = store.find(path.parent)
        except SealError:
            raise
        except ArtifactError as error:
            log.warning("%s: passed over (%s)", stage, error)
            continue
        if artifact is not None and artifact.manifest["inputs"].get("gate") == entry.refs["gate"].key:
            yield artifact


def find_lists(store: Store, entry: RunRecord) -> Artifact | None:
    """Return the newest recommendations of a run; None without any.

    Each version of the code makes its own. The manifest holds the time; for older artifacts the file's time counts.
    """
    return max(_made_of(store, entry, "recommend"), key=_made_at, default=None)


def _made_at(artifact: Artifact) -> tuple[float, str]:
    """Return the time of making in seconds since 1970, and the key to break ties."""
    made_at = artifact.manifest["usage"].get("made_at")
    if made_at is None:
        with answering(f"{artifact.folder}: cannot be read"):
            made_at = (artifact.folder / MANIFEST).stat().st_mtime
    return float(made_at), artifact.ref.key


@dataclass(frozen=True)
class ArtifactState:
    """The state of one of a run's artifacts.

    Attributes
    ----------
    state
        ``sound``; ``sizes match`` if it is too large to be read for a page; ``missing``; or ``damaged:`` and the
        reason.
    read_until
        Time of the newest event that the stage recorded; None if it recorded none.
    """

    stage: str
    key: str
    uri: str
    state: str
    files: int | None = None
    bytes: int | None = None
    read_until: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether it is damaged."""
        return self.state.startswith(DAMAGED)


def list_artifacts(store: Store, entry: RunRecord) -> list[ArtifactState]:
    """Return the state of each of a run's artifacts."""
    return [_artifact_state(store, stage, entry.refs[stage]) for stage in _stages_of(entry)]


def _artifact_state(store: Store, stage: str, ref: Ref) -> ArtifactState:
    found = ArtifactState(stage, ref.key, ref.uri, MISSING)
    try:
        if store.look_up(ref) is None:
            return found
        artifact = store.open(ref)
        size = sum(file["size"] for file in artifact.manifest["files"].values())
        found = replace(found, files=len(artifact.names), bytes=size, read_until=_read_until(artifact.summary))
        return replace(found, state=_check(store, artifact, size))
    except ArtifactError as error:
        return replace(found, state=f"{DAMAGED}{error}")


def _check(store: Store, artifact: Artifact, size: int) -> str:
    if size > HASHED_BYTES:
        artifact.verify_sizes()
        return "sizes match"
    _verify(store, artifact.ref, artifact.stamp())
    return "sound"


@lru_cache(maxsize=KEPT_RUNS)
def _verify(store: Store, ref: Ref, seen: tuple[Any, ...]) -> None:
    """Verify an artifact; again only after the sizes or times of its files have changed."""
    store.open(ref).verify()


def _read_until(summary: Mapping[str, Any]) -> str | None:
    names = ("max_event_time", "fitted_max_event_time")
    return next((str(summary[name]) for name in names if summary.get(name)), None)


def _stages_of(entry: RunRecord) -> list[str]:
    """Return the stages of a registry record in the order they ran; the record keeps them by name."""
    return sorted(entry.refs, key=stage_position)


def _result(stage: str, artifact: Artifact) -> StageResult:
    usage = validate(Usage, artifact.manifest["usage"], f"{artifact.folder}: usage")
    return StageResult(stage, artifact.ref, True, usage.seconds, 0.0, usage.peak_rss_mb, artifact.summary)


def _usage_row(stage: str, artifact: Artifact) -> StageUsage:
    document = {"name": stage, **artifact.manifest["usage"], "reused": False, "key": artifact.ref.key}
    return validate(StageUsage, document, f"{artifact.folder}: usage")


def _scenario(entry: RunRecord) -> str:
    name: str = entry.scenario_document["name"]
    return name
