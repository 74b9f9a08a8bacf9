"""The document of a finished run, gathered from its artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.curves import Curves
from mtl_tasks.store.documents.data import Resolution, SampleUser, SplitSummary, StageUsage, ValidationReport
from mtl_tasks.store.documents.drift import Drift
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.measurements import Measurements
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.documents.rank import RankDocument
from mtl_tasks.store.documents.training import Fusion, MemberDescription, MemberExplanation
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.documents.versus_champion import VersusChampion

T = TypeVar("T")
FUSION = "fusion"
FLOOR = "popularity"


@dataclass(frozen=True)
class Change:
    """A difference from the champion's run; ``kind`` is data, code, library or setting, None is absent."""

    kind: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ChampionFacts:
    """The champion that a run was compared with.

    Attributes
    ----------
    changes
        All that differs between its run and this one.
    problem
        Why its record cannot be read, or None.
    """

    run_key: str
    as_of: str
    changes: tuple[Change, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class RunDocument:
    """A finished run.

    Attributes
    ----------
    scenario
        The scenario as it was run, overrides applied.
    as_of
        ``YYYY-MM-DD``; the run knows nothing at or after it.
    resolve, validation, split, fusion, evaluation, verdict
        The documents of the stages with these names.
    windows
        First and last day (``YYYY-MM-DD``, both inclusive) of each window, in time order.
    drift
        None for a run made before distributions were recorded.
    rank
        The rankers and the choice among them; None for a run from before there were any.
    describe
        Member name to its description; see :meth:`mtl_tasks.models.member.Member.describe`.
    explain
        Member name to the features that move its predictions on the test window, by task; see
        :meth:`mtl_tasks.models.member.Member.explain`.
    sample
        Sample users: recent interactions and recommendations.
    stages
        Costs of the stages, in the order they ran.
    overrides
        Settings changed by ``--set``, so that the report can print the command.
    standing
        Current status, from the verdict and later decisions; see
        :meth:`mtl_tasks.store.registry.Snapshot.standing_of`.
    rulings
        Decisions on the run after its verdict, one sentence each, oldest first.
    report
        Location of the HTML page; empty while the page is being rendered.
    curves
        ROC, lift, residuals and daily metrics; None for a run made before they were kept.
    champion
        The champion and the changes since; None without a champion.
    versus_champion
        Metrics beside the champion's on the same rows; None without a champion, and for a run made before they were
        kept.
    made_at
        Time of the verdict, seconds since 1970; None for a run made before it was kept.
    code
        Hash of the code that made the run.
    origin
        Who or what started the run, and the commit of its code; None for a run made before it was kept.
    """

    scenario: Scenario
    as_of: str
    run_key: str
    resolve: Resolution
    windows: Mapping[str, tuple[str, str]]
    validation: ValidationReport
    split: SplitSummary
    describe: Mapping[str, MemberDescription]
    fusion: Fusion
    evaluation: Evaluation
    verdict: Verdict
    sample: tuple[SampleUser, ...]
    stages: tuple[StageUsage, ...]
    drift: Drift | None = None
    rank: RankDocument | None = None
    explain: Mapping[str, MemberExplanation] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    standing: str = ""
    rulings: list[str] = field(default_factory=list)
    report: str = ""
    curves: Curves | None = None
    champion: ChampionFacts | None = None
    versus_champion: VersusChampion | None = None
    made_at: float | None = None
    code: str = ""
    origin: Origin | None = None

    @property
    def outcome(self) -> str:
        """The run's status; for a dry run, or without one, the status that the verdict alone would give."""
        by_verdict = "promoted" if self.verdict.decision == "promote" else "rejected"
        return by_verdict if self.standing in ("", "dry run") else self.standing

    @property
    def accepted(self) -> bool:
        """Whether the outcome is a promotion."""
        return self.outcome in ("promoted", "approved", "forced")

    @property
    def why_no_lists(self) -> str:
        """Why there are no recommendations, without a period."""
        if self.accepted and self.standing:
            return "none were made with this run"
        return f"only promoted runs make recommendations, and this one is: {self.standing or self.outcome}"

    @property
    def figures(self) -> list[str]:
        """Names of the figures beside a recommendation's title."""
        return [name for user in self.sample[:1] for row in user.recommendations[:1] for name in row.figures]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints: the verdict and plain metric values, without intervals."""
        return {
            "scenario": self.scenario.name,
            "as_of": self.as_of,
            "run_key": self.run_key,
            "verdict": {"decision": self.verdict.decision, "reasons": list(self.verdict.reasons)},
            "standing": self.standing,
            "rulings": list(self.rulings),
            "drift": None if self.drift is None else self.drift.to_json(),
            "tasks": {name: self._task(name) for name in self.evaluation.tasks},
            "ranking": self._ranking(),
            "stages": [
                {
                    "name": stage.name,
                    "seconds": stage.seconds,
                    "cpu_seconds": stage.cpu_seconds,
                    "peak_rss_mb": stage.peak_rss_mb,
                    "reused": stage.reused,
                    "key": stage.key,
                }
                for stage in self.stages
            ],
            "report": self.report,
            **self.made_json(),
        }

    def made_json(self) -> dict[str, Any]:
        """Return the time of the verdict and the run's origin for a JSON document; what is not known is None."""
        at = None if self.made_at is None else datetime.fromtimestamp(self.made_at, UTC).isoformat(timespec="seconds")
        return {"made_at": at, "origin": None if self.origin is None else self.origin.to_json()}

    def models(self, task: str) -> dict[str, Measurements]:
        """Return the task's metrics by model: the floor, the other members, then the fusion."""
        evaluation = self.evaluation.tasks[task]
        return models_in_order({**evaluation.members, FUSION: evaluation.fusion})

    def weights(self, task: str) -> dict[str, float]:
        """Return the weight of every member in the task's fusion; a single member weighs 1."""
        fusion = self.fusion[task]
        members = self.evaluation.tasks[task].members
        return {member: fusion.weight_of(member) for member in members} if fusion.weighted else {}

    def _task(self, name: str) -> dict[str, Any]:
        evaluation = self.evaluation.tasks[name]
        return {
            "members": {member: _values(metrics) for member, metrics in evaluation.members.items()},
            "fusion": {
                "method": self.fusion[name].method,
                "weights": self.weights(name),
                "metrics": _values(evaluation.fusion),
            },
        }

    def _ranking(self) -> dict[str, Any]:
        ranking = self.evaluation.ranking
        return {
            "k": ranking.k,
            "users": ranking.users,
            "unreachable": ranking.unreachable,
            "candidate_recall": ranking.candidate_recall,
            "candidates_per_user": ranking.candidates_per_user,
            "published": ranking.published,
            "lists": {name: _values(metrics) for name, metrics in ranking.by_ranker.items()},
        }


def models_in_order(models: Mapping[str, T]) -> dict[str, T]:
    """Return models in display order: the floor, the other members by name, then the fusion.

    >>> list(models_in_order({"als": 1, "fusion": 2, "popularity": 3}))
    ['popularity', 'als', 'fusion']
    """
    return {name: models[name] for name in sorted(models, key=lambda name: (name == FUSION, name != FLOOR, name))}


def _values(metrics: Measurements) -> dict[str, float | None]:
    return {name: measured.value for name, measured in metrics.items()}
