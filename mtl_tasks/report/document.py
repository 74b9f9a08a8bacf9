"""The document of a finished run, gathered from its artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mtl_tasks.scenario import Scenario

FUSION = "fusion"
FLOOR = "popularity"

Json = dict[str, Any]


@dataclass(frozen=True)
class RunDocument:
    """A finished run, in the JSON forms that its stages publish.

    Attributes
    ----------
    scenario
        The scenario as it was run, overrides applied.
    as_of
        ``YYYY-MM-DD``; the run knows nothing at or after it.
    resolve, validation, split, fusion, evaluation, verdict
        The documents of the stages with these names.
    drift
        ``champion``: the result of :func:`mtl_tasks.evaluation.drift.compare` for the champion's and this run's test
        rows, with ``as_of`` and ``problem``; null without a champion. ``since_train``: the same from the run's own
        train rows. Null for a run made before distributions were recorded.
    describe
        Member name to its description; see :meth:`Member.describe`.
    explain
        Member name to the features that move its predictions on the test window, by task; see :meth:`Member.explain`.
    sample
        Sample users: recent interactions and recommendations.
    stages
        ``{name, seconds, cpu_seconds, peak_rss_mb, reused, key}`` in the order they ran; peak_rss_mb in MiB.
    overrides
        Settings changed by ``--set``, so that the report can print the command.
    standing
        Current status, from the verdict and later decisions; see
        :meth:`mtl_tasks.store.registry.Snapshot.standing_of`.
    rulings
        Decisions on the run after its verdict, one sentence each, oldest first.
    report
        Location of the HTML page; empty while the page is being rendered.
    """

    scenario: Scenario
    as_of: str
    run_key: str
    resolve: Json
    validation: Json
    split: Json
    describe: dict[str, Json]
    fusion: dict[str, Json]
    evaluation: Json
    verdict: Json
    sample: list[Json]
    stages: list[Json]
    drift: Json | None = None
    explain: dict[str, Json] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    overrides: Json = field(default_factory=dict)
    standing: str = ""
    rulings: list[str] = field(default_factory=list)
    report: str = ""

    @property
    def outcome(self) -> str:
        """The run's status; for a dry run, or without one, the status that the verdict alone would give."""
        by_verdict = "promoted" if self.verdict["decision"] == "promote" else "rejected"
        return by_verdict if self.standing in ("", "dry run") else self.standing

    @property
    def accepted(self) -> bool:
        """Whether the outcome is a promotion."""
        return self.outcome in ("promoted", "approved", "forced")

    def to_json(self) -> Json:
        """Return the document that ``--json`` prints: the verdict and plain metric values, without intervals."""
        return {
            "scenario": self.scenario.name,
            "as_of": self.as_of,
            "run_key": self.run_key,
            "verdict": {"decision": self.verdict["decision"], "reasons": list(self.verdict["reasons"])},
            "standing": self.standing,
            "rulings": list(self.rulings),
            "drift": self.drift,
            "tasks": {name: self._task(name) for name in self.evaluation["tasks"]},
            "ranking": self._ranking(),
            "stages": [{key: stage[key] for key in _STAGE_KEYS} for stage in self.stages],
            "report": self.report,
        }

    def models(self, task: str) -> dict[str, Json]:
        """Return the task's metrics by model: every member, then the fusion."""
        evaluation = self.evaluation["tasks"][task]
        return {**evaluation["members"], FUSION: evaluation["fusion"]}

    def weights(self, task: str) -> dict[str, float]:
        """Return the weight of every member in the task's fusion; a single member weighs 1."""
        fusion = self.fusion[task]
        given: dict[str, float] = fusion.get("weights") or {}
        if not given and fusion["method"] == "single":
            given = {fusion["member"]: 1.0}
        return {member: given.get(member, 0.0) for member in self.evaluation["tasks"][task]["members"]} if given else {}

    def taken(self, task: str) -> str:
        """Return the candidate of ``blend_loss`` that the task's fusion chose: a method, or ``single:MEMBER``."""
        fusion = self.fusion[task]
        return f"single:{fusion['member']}" if fusion["method"] == "single" else str(fusion["method"])

    def _task(self, name: str) -> Json:
        evaluation, fusion = self.evaluation["tasks"][name], self.fusion[name]
        return {
            "members": {member: _values(metrics) for member, metrics in evaluation["members"].items()},
            "fusion": {
                "method": fusion["method"],
                "weights": self.weights(name),
                "metrics": _values(evaluation["fusion"]),
            },
        }

    def _ranking(self) -> Json:
        ranking = self.evaluation["ranking"]
        lists = {name: _values(metrics) for name, metrics in ranking["lists"].items()}
        counts = ("k", "users", "unreachable", "candidate_recall", "candidates_per_user", "shortlist")
        return {**{name: ranking.get(name) for name in counts}, "lists": lists}


_STAGE_KEYS = ("name", "seconds", "cpu_seconds", "peak_rss_mb", "reused", "key")


def _values(metrics: Json) -> dict[str, float | None]:
    return {name: metric["value"] for name, metric in metrics.items()}
