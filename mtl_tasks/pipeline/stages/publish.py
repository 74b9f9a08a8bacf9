"""The stages that publish a run: `publish`, `recommend`, and the report's page."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError
from mtl_tasks.core.stages import STAGES
from mtl_tasks.pipeline.engine import OTHER_RESULT, Inputs, Run, Stage, code_version
from mtl_tasks.pipeline.executor import Shard, ShardResult, ShardWork, open_executor
from mtl_tasks.pipeline.stages.config import sections, whole_scenario
from mtl_tasks.pipeline.stages.inputs import load_memory, load_scorer, load_tables
from mtl_tasks.pipeline.stages.prepare import ROOT
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.recommend.lists import active_users, recommend_top_k, sample_users
from mtl_tasks.recommend.reranking import RerankingCounts
from mtl_tasks.scenario import Gate, parse_scenario
from mtl_tasks.store.artifacts import Payload, Ref, to_json
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.registry import AWAITS_APPROVAL, PROMOTE, Registry, RunRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.report.document import RunDocument

_USERS: Final = "active"  # table that shards are given
_LISTS: Final = "recommendations"


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


def find_record(run: Run, gate: Ref, snapshot: Snapshot) -> RunRecord:
    """Return the record of a run with a verdict.

    A release that adds keys to the scenario file changes the key of a run that an earlier release recorded. Such a run
    is found by its verdict and its scenario.

    Raises
    ------
    ArtifactError
        If there is no sound record of the run.
    """
    key, scenario = run_key(run, gate), run.scenario.model_dump()
    if all(entry.run_key != key for entry in snapshot.entries):
        for entry in snapshot.entries:
            if entry.refs.get("gate") == gate and _scenario_of(entry) == scenario:
                return entry
    return snapshot.get(key)


def _scenario_of(entry: RunRecord) -> dict[str, Any] | None:
    """Return the stored sections of a record's scenario as this release reads them; None if it cannot."""
    try:
        return parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}").model_dump()
    except ConfigError:
        return None


def recommend(run: Run, inputs: Inputs) -> Payload:
    """Make recommendations for every active user as of the run's day, in shards of users."""
    import pandas as pd

    from mtl_tasks.data.attribute_tables import newest
    from mtl_tasks.pipeline.days.log import read_events

    seen = read_events(run.store, inputs["validate"], [columns.USER, columns.DAY])
    users = pd.DataFrame({columns.USER: active_users(seen, run.scenario, run.as_of.day)})
    with open_executor(os.environ) as executor:
        shards = executor.map("recommend", UserLists(run, inputs), {_USERS: users})
    scenario, made = run.scenario, [shard.tables[_LISTS] for shard in shards if len(shard.tables[_LISTS])]
    if not made:
        raise DataError(
            f"recommend: no user was active in the {scenario.recommend.active_days} days before {run.as_of}, or all of "
            f"them have taken everything: lengthen recommend.active_days in {scenario.file}"
        )
    lists = pd.concat(made).sort_values([columns.USER, columns.RANK], ignore_index=True)
    payload = Payload(rows=len(lists), summary={"users": int(lists[columns.USER].nunique())})
    counted = [shard.document for shard in shards if shard.document.get("counts")]
    if counted:
        total = sum((RerankingCounts(**one["counts"]) for one in counted), RerankingCounts()).document()
        payload.summary["reranking"] = {**total, "excluded_items": counted[0]["excluded"]}
    payload.add_frame(_LISTS, lists)
    items = newest(load_tables(inputs).items, columns.ITEM, run.as_of.day)
    histories = read_events(run.store, inputs["validate"], [columns.USER, columns.ITEM, columns.TIME])
    payload.add_json("sample", sample_users(lists, histories, items, scenario))
    return payload


class UserLists(ShardWork):
    """Recommendations of the shard's users."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """See :class:`ShardWork`."""
        run, inputs, day, users = self.run, self.inputs, self.run.as_of.day, tables[_USERS]
        if not len(users):
            return ShardResult({_LISTS: users}, {})
        events, attributes = self.log, load_tables(inputs)
        memory = load_memory(run, run.scenario, inputs, events, attributes, day)
        exclusions = _exclusions(run, inputs, events.frame)
        scorer, ids = load_scorer(run.scenario, inputs), users[columns.USER].to_numpy()
        made = recommend_top_k(scorer, events.frame, attributes, ids, day, memory, exclusions, self.after_first)
        counts = None if made.counts is None else made.counts.document()
        return ShardResult({_LISTS: made.lists}, {"counts": counts, "excluded": made.excluded})


def recommend_config(run: Run) -> dict[str, Any]:
    """Return the settings of recommendations, and the table of exclusions with its hash."""
    from mtl_tasks.data.exclusions import exclusion_file

    own, table = sections("recommend")(run), run.scenario.recommend.reranking.exclude_table
    return own if table is None else {**own, "exclusions": asdict(exclusion_file(table, ROOT))}


def _exclusions(run: Run, inputs: Inputs, events: pd.DataFrame) -> pd.DataFrame | None:
    """Read the table of exclusions that the stage's key names; None without one."""
    from mtl_tasks.data.exclusions import read_exclusions
    from mtl_tasks.data.files import SourceFile

    table = run.scenario.recommend.reranking.exclude_table
    if table is None:
        return None
    return read_exclusions(table, run.scenario, [SourceFile(**inputs.config["exclusions"])], ROOT, events[columns.ITEM])


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

    declared = STAGES["report"]
    needs = tuple(name for name in declared.inputs if name != "recommend" or document.sample)
    return Stage("report", needs, config, body, presentation=declared.presentation)


WORK: Final = {
    "publish": Work(whole_scenario, publish),
    "recommend": Work(recommend_config, recommend),
}
