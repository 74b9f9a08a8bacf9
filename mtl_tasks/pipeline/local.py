"""A run with all stages in one process, and the document of a finished run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mtl_tasks.core.days import AsOf, day_text
from mtl_tasks.core.documents import StoredDocument, validate
from mtl_tasks.evaluation.drift import read_record
from mtl_tasks.onboarding.obstacles import refuse_obstacles
from mtl_tasks.pipeline.changes import champion_facts
from mtl_tasks.pipeline.delivery import deliver_recommendations
from mtl_tasks.pipeline.engine import Run, Stage, StageResult, library_versions, run_stage
from mtl_tasks.pipeline.origin import read_origin
from mtl_tasks.pipeline.stages import build_stages, find_record, report_stage
from mtl_tasks.pipeline.stages.inputs import RANK
from mtl_tasks.pipeline.stages.judge import CURVES, VERSUS_CHAMPION
from mtl_tasks.report.document import RunDocument
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Artifact, Ref, Store
from mtl_tasks.store.documents import read_document, read_part
from mtl_tasks.store.documents.curves import Curves
from mtl_tasks.store.documents.data import (
    Resolution,
    SampleUsers,
    SplitSummary,
    StageUsage,
    ValidationReport,
)
from mtl_tasks.store.documents.drift import Drift, DriftReport
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.documents.rank import RankDocument
from mtl_tasks.store.documents.training import Fusion, MemberDescription, MemberExplanation
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.documents.versus_champion import VersusChampion
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from mtl_tasks.store.sealing import StoreKey

D = TypeVar("D", bound=StoredDocument)
OnStage = Callable[[str, StageResult | None], None]


def make_run(
    scenario_name: str,
    as_of: AsOf,
    overrides: Mapping[str, Any],
    store: str,
    *,
    force: str | None = None,
    key: StoreKey | None = None,
    origin: Origin | None = None,
) -> Run:
    """Check the arguments of a run, and return it.

    Parameters
    ----------
    as_of
        The run knows nothing at or after it.
    force
        A token that no other run has, to make everything again beside existing artifacts; see :class:`Run`.
    key
        The key that seals the store's documents.
    origin
        Who or what starts the run.

    Raises
    ------
    ConfigError
        If the scenario or an override is wrong.
    """
    from mtl_tasks.scenario.gate_rules import check_rules

    scenario = load_scenario(scenario_name, dict(overrides))
    check_rules(scenario)
    return Run(scenario, as_of, Store(store, key), force, origin)


def run_pipeline(run: Run, on_stage: OnStage, overrides: Mapping[str, Any] | None = None) -> RunDocument:
    """Run every stage, reusing existing artifacts, and return the run's document.

    Parameters
    ----------
    on_stage
        Called with a stage's name and None before it runs, and with its result after.
    overrides
        Settings that the caller changed in the scenario; shown in the report.

    Raises
    ------
    ConfigError
        If a fault that would stop a stage is known before the first one; see
        :func:`mtl_tasks.onboarding.obstacles.find_obstacles`.
    """
    refuse_obstacles(run.scenario, run.as_of.iso, run.store, devices=True)
    results: dict[str, StageResult] = {}
    for stage in build_stages(run.scenario).values():
        if stage.name == "recommend" and not is_promoted(run, results["publish"]):
            continue
        results[stage.name] = _run(stage, run, results, on_stage)
    if "recommend" in results:
        deliver_recommendations(run, results, run.scenario, os.environ)
    document = build_document(run, results, overrides or {})
    page = _run(report_stage(document), run, results, on_stage)
    results["report"] = page
    if run.scenario.tracking is not None:
        from mtl_tasks.pipeline.tracking import track_run  # it reads finished runs, which are read by this module

        track_run(run, results["gate"].ref, run.scenario)
    return replace(document, stages=_stage_rows(results), report=page_uri(run, page.ref))


def build_document(
    run: Run,
    results: Mapping[str, StageResult],
    overrides: Mapping[str, Any],
    known: tuple[RunRecord, Sequence[Decision], str] | None = None,
) -> RunDocument:
    """Build a run's document from the artifacts of its stages.

    Parameters
    ----------
    known
        The run's registry record, the decisions on it and its status; by default they are read from the registry.
    """
    artifacts = {name: run.store.open(result.ref) for name, result in results.items()}
    split = artifacts["split"]
    entry, rulings, standing = known or _entered(run, artifacts["gate"].ref)
    members = {str(kind): artifacts[f"member:{kind}"] for kind in run.scenario.members}
    verdict = read_document(artifacts["gate"], "verdict", Verdict)
    return RunDocument(
        scenario=run.scenario,
        as_of=run.as_of.iso,
        run_key=entry.run_key,
        resolve=read_part(artifacts["resolve"], "resolve", Resolution),
        windows=_window_dates(split),
        validation=read_part(artifacts["validate"], "validation", ValidationReport),
        split=validate(SplitSummary, split.summary, str(split.folder)),
        describe={kind: read_part(one, "describe", MemberDescription) for kind, one in members.items()},
        explain={kind: read_part(one, "explain", MemberExplanation) for kind, one in members.items()},
        fusion=read_part(artifacts["fuse"], "fusion", Fusion),
        evaluation=read_document(artifacts["evaluate"], "evaluation", Evaluation),
        verdict=verdict,
        drift=_drift(artifacts),
        rank=read_document(artifacts[RANK], RANK, RankDocument) if RANK in artifacts else None,
        sample=read_part(artifacts["recommend"], "sample", SampleUsers) if "recommend" in artifacts else (),
        stages=_stage_rows(results),
        libraries=library_versions(),
        overrides=dict(overrides),
        standing=standing,
        rulings=[ruling.sentence(entry, rulings) for ruling in rulings],
        curves=_kept(artifacts["evaluate"], CURVES, Curves),
        champion=champion_facts(run.store, entry, verdict.champion),
        versus_champion=_kept(artifacts["gate"], VERSUS_CHAMPION, VersusChampion),
        made_at=artifacts["gate"].manifest["usage"].get("made_at"),
        code=entry.code,
        origin=read_origin(artifacts["gate"]),
    )


def _kept(artifact: Artifact, name: str, kind: type[D]) -> D | None:
    """Return a document; None if it is empty, or missing because an earlier release made the artifact."""
    if f"{name}.json" not in artifact.names or artifact.json(name) is None:
        return None
    return read_document(artifact, name, kind)


def _entered(run: Run, gate: Ref) -> tuple[RunRecord, list[Decision], str]:
    snapshot = Registry(run.store, run.scenario.name).read()
    entry = find_record(run, gate, snapshot)
    return entry, snapshot.rulings(entry.run_key), snapshot.standing_of(entry)


def _drift(artifacts: Mapping[str, Artifact]) -> Drift | None:
    record, gate = read_record(artifacts["evaluate"]), artifacts["gate"]
    if record is None:
        return None
    champion = None if gate.json("drift") is None else read_document(gate, "drift", DriftReport)
    return Drift(champion=champion, since_train=record.since_train)


def page_uri(run: Run, ref: Ref) -> str:
    """Return the location of the report's HTML file."""
    artifact = run.store.open(ref)
    return str(artifact.folder / artifact.files["report.html"].path)


def is_promoted(run: Run, published: StageResult) -> bool:
    """Whether the run is promoted now: a reused one may have been retired, or promoted by hand, since."""
    standing = Registry(run.store, run.scenario.name).standing()
    return published.summary["run_key"] in {entry.run_key for entry in standing}


def refs_of(results: Mapping[str, StageResult]) -> dict[str, Ref]:
    """Return the references of finished stages."""
    return {name: result.ref for name, result in results.items()}


def _run(stage: Stage, run: Run, results: Mapping[str, StageResult], on_stage: OnStage) -> StageResult:
    on_stage(stage.name, None)
    result = run_stage(stage, run, refs_of(results))
    on_stage(stage.name, result)
    return result


def _stage_rows(results: Mapping[str, StageResult]) -> tuple[StageUsage, ...]:
    return tuple(
        StageUsage(
            name=result.stage,
            seconds=result.seconds,
            cpu_seconds=result.cpu_seconds,
            peak_rss_mb=result.peak_rss_mb,
            reused=result.reused,
            key=result.ref.key,
        )
        for result in results.values()
    )


def _window_dates(split: Artifact) -> dict[str, tuple[str, str]]:
    """Return the first and last day of each window in time order, which a stored document does not keep."""
    bounds = validate(dict[str, tuple[int, int]], split.json("windows"), f"{split.folder}/windows.json")
    ordered = sorted(bounds.items(), key=lambda window: window[1])
    return {name: (day_text(first), day_text(end - 1)) for name, (first, end) in ordered}
