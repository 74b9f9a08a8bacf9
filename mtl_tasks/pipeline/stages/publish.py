"""The stages that publish a run: `publish`, `recommend`, and the report's page."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.engine import OTHER_RESULT, Inputs, Run, Stage, code_version
from mtl_tasks.pipeline.stages.config import whole_scenario
from mtl_tasks.pipeline.stages.inputs import load_events, load_memory, load_scorer, load_tables
from mtl_tasks.recommend.lists import best_lists, sample_people
from mtl_tasks.scenario import Gate
from mtl_tasks.store.artifacts import Payload, Ref, to_json
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.registry import AWAITS_APPROVAL, PROMOTE, Registry, RunRecord

if TYPE_CHECKING:
    from mtl_tasks.report.document import RunDocument


def publish(run: Run, inputs: Inputs) -> Payload:
    """Record the verdict in the registry; it promotes a run that passed an enforced gate and needs no approval."""
    verdict = read_document(inputs["gate"], "verdict", Verdict)
    evaluation = read_document(inputs["evaluate"], "evaluation", Evaluation)
    entry = RunRecord(
        run_key=run_key(run, inputs["gate"].ref),
        as_of=run.as_of.iso,
        decision=_decision(verdict.decision, run.scenario.gate),
        reasons=list(verdict.reasons),
        scenario_document=run.scenario.model_dump(mode="json"),
        refs={name: artifact.ref for name, artifact in inputs.artifacts.items()},
        code=code_version(),
        metrics={
            task: {name: measured.to_json() for name, measured in metrics.items()}
            for task, metrics in evaluation.metrics.items()
        },
    )
    registry = Registry(run.store, run.scenario.name)
    _refuse_other_results(registry, entry)
    registry.append(entry)
    payload = Payload(summary={"run_key": entry.run_key, "decision": entry.decision}, rows=1)
    payload.add_json("entry", entry.to_json())
    return payload


def _refuse_other_results(registry: Registry, entry: RunRecord) -> None:
    """Refuse a run that was recorded before with other results: nothing can replace its record."""
    for _, record in registry.read(entry.run_key).placed:
        if isinstance(record, RunRecord) and record != entry:
            changed = [stage for stage, ref in entry.refs.items() if record.refs.get(stage) != ref]
            raise ArtifactError(
                f"run {entry.run_key[:12]} as of {entry.as_of} is in the registry with other results of "
                f"{', '.join(changed)}; {OTHER_RESULT}"
            )


def _decision(verdict: str, gate: Gate) -> str:
    """Return the decision that follows from a verdict, in the terms of :class:`~mtl_tasks.store.registry.RunRecord`."""
    if gate.mode == "dry_run":
        return f"dry_run:{verdict}"
    return AWAITS_APPROVAL if verdict == PROMOTE and gate.approval == "required" else verdict


def run_key(run: Run, gate: Ref) -> str:
    """Return the key of a run: a hash of its verdict's key, which depends on all stages before it, and the scenario."""
    parts = {"gate": gate.key, "scenario": run.scenario.model_dump(mode="json")}
    return hashlib.sha256(to_json(parts)).hexdigest()


def recommend(run: Run, inputs: Inputs) -> Payload:
    """Make recommendations for every active user as of the run's day."""
    from mtl_tasks.data.attribute_tables import newest

    events, tables = load_events(run, inputs), load_tables(inputs)
    scorer = load_scorer(run.scenario, inputs)
    items = newest(tables.items, columns.ITEM, run.as_of.day)
    memory = load_memory(run, run.scenario, inputs, events, tables, run.as_of.day)
    lists, kept = best_lists(scorer, events.frame, tables, run.as_of.day, memory)
    payload = Payload(rows=len(lists), summary={"users": int(lists[columns.USER].nunique()), "shortlist": kept})
    payload.add_frame("recommendations", lists)
    payload.add_json("sample", sample_people(lists, events.frame, items, run.scenario))
    return payload


def report_stage(document: RunDocument) -> Stage:
    """Return the stage that renders the page of a finished run."""

    def body(run: Run, inputs: Inputs) -> Payload:
        from mtl_tasks.report import render_report

        payload = Payload(
            rows=1, summary={"overrides": document.overrides}
        )  # the page may be rendered again without the caller
        payload.add_text("report.html", render_report(document))
        return payload

    def config(run: Run) -> dict[str, Any]:
        return {**whole_scenario(run), "rulings": document.rulings}

    needs = ("gate", "recommend") if document.sample else ("gate",)
    return Stage("report", needs, config, body, presentation=True)
