"""Documents, pages and recommendations of finished runs, read by the references in the registry.

Nothing is written except a page that is missing or out of date.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import validate
from mtl_tasks.core.errors import ArtifactError, SealError, answering
from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import build_document, page_uri
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.pipeline.stages import report_stage
from mtl_tasks.report.document import RunDocument
from mtl_tasks.scenario import parse_scenario, with_new_names
from mtl_tasks.store.artifacts import MANIFEST, Artifact, Ref, Store
from mtl_tasks.store.documents.data import ShardedUsage, SplitSummary, StageUsage, Usage
from mtl_tasks.store.registry import RunRecord
from mtl_tasks.store.run_costs import stage_usages, usage_of

log = logging.getLogger(__name__)

KEPT_SUMMARIES: Final = 1024  # of stages; a few kB each


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
    for stage in entry.stages:
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
    overrides = overrides_of(store, entry)
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


def overrides_of(store: Store, entry: RunRecord) -> dict[str, Any]:
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
    if "gate" not in entry.refs:
        return
    folder = store.inside(entry.scenario_name, entry.as_of, stage)
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
        if artifact is not None and artifact.inputs.get("gate") == entry.refs["gate"].key:
            yield artifact


def find_lists(store: Store, entry: RunRecord) -> Artifact | None:
    """Return the newest recommendations of a run; None without any.

    Each version of the code makes its own. The manifest holds the time; for older artifacts the file's time counts.
    """
    return _newest(store, entry, "recommend")


def later_refs(store: Store, entry: RunRecord) -> tuple[Ref, ...]:
    """Return the artifacts that were made from a run's verdict, to which its registry record has no reference."""
    return tuple(made.ref for stage in ("publish", "recommend", "report") for made in _made_of(store, entry, stage))


def find_page(store: Store, entry: RunRecord) -> Artifact | None:
    """Return the newest report of a run; None without any."""
    return _newest(store, entry, "report")


def run_usages(store: Store, entry: RunRecord) -> dict[str, ShardedUsage]:
    """Return the usage of each stage of a run, also of those that its registry record does not refer to."""
    later = {stage: _newest(store, entry, stage) for stage in ("publish", "recommend", "report")}
    found = {stage: usage_of(artifact) for stage, artifact in later.items() if artifact is not None}
    return {**stage_usages(store, entry), **found}


def _newest(store: Store, entry: RunRecord, stage: str) -> Artifact | None:
    return max(_made_of(store, entry, stage), key=lambda made: (made_at(made), made.ref.key), default=None)


def made_at(artifact: Artifact) -> float:
    """Return the time of making in seconds since 1970."""
    noted = artifact.manifest["usage"].get("made_at")
    if noted is None:
        with answering(f"{artifact.folder}: cannot be read"):
            noted = (artifact.folder / MANIFEST).stat().st_mtime
    return float(noted)


def _result(stage: str, artifact: Artifact) -> StageResult:
    usage = validate(Usage, artifact.manifest["usage"], f"{artifact.folder}: usage")
    return StageResult(stage, artifact.ref, True, usage.seconds, usage.cpu_seconds, usage.peak_rss_mb, artifact.summary)


def _usage_row(stage: str, artifact: Artifact) -> StageUsage:
    document = {"name": stage, **artifact.manifest["usage"], "reused": False, "key": artifact.ref.key}
    return validate(StageUsage, document, f"{artifact.folder}: usage")
