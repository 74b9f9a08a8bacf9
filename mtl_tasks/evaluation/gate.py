"""The evaluation gate, which decides whether a candidate may be published; a rule that cannot be computed fails.

A kind of rule is a function that judges all rules of its kind on the :class:`Evidence`, and an entry in ``KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.evaluation.evaluate import FLOOR, FUSION, ScoredRows
from mtl_tasks.evaluation.lists import paired, value_column
from mtl_tasks.metrics.bootstrap import UserBootstrap, interval
from mtl_tasks.metrics.catalog import CATALOG, Prepared, compute, improvement, metrics_of, primary
from mtl_tasks.scenario import LISTS, Gate, ListRule, Margin, Rule, Scenario
from mtl_tasks.store.documents.drift import DriftReport
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.measurements import Measurement, Measurements
from mtl_tasks.store.documents.verdict import RuleResult, Verdict

Values = NDArray[np.float64]
CHAMPION: Final = "champion"


@dataclass(frozen=True)
class Champion:
    """The run to compare with.

    Attributes
    ----------
    predictions
        Its fused predictions of this run's test rows, by task.
    problem
        Why there are none, or None.
    drift
        The drift of this run's test rows from its own.
    lists_problem
        Why it cannot make recommendations for this run's test window, or None.
    passed_over
        A sentence for each newer run that could not be compared with.
    title
        ``teacher`` if this run is a smaller model of it.
    """

    run_key: str
    as_of: str
    predictions: dict[str, Values]
    problem: str | None = None
    drift: DriftReport | None = None
    lists_problem: str | None = None
    passed_over: tuple[str, ...] = ()
    title: Literal["champion", "teacher"] = "champion"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of a verdict, one per newer champion that it was not compared with."""
        met = f"compared with the champion before it, run {self.run_key[:12]} as of {self.as_of}"
        return tuple(f"warning: {sentence}; {met}" for sentence in self.passed_over)


@dataclass(frozen=True)
class Evidence:
    """Evidence that a candidate is judged by.

    Attributes
    ----------
    rows
        Task to its labeled test rows; those that the champion predicts have its predictions too.
    champion
        None if no earlier run was promoted; rules against it then do not apply.
    list_values
        Metrics of each list by ranker, of :meth:`~mtl_tasks.evaluation.lists.ListEvaluation.values`; the columns of
        ``champion`` are those of its recommendations.
    """

    scenario: Scenario
    evaluation: Evaluation
    rows: Mapping[str, ScoredRows]
    champion: Champion | None = None
    list_values: pd.DataFrame | None = None

    @property
    def gate(self) -> Gate:
        """The rules."""
        return self.scenario.gate

    def list_gain(self, metric: str, name: str, other: str) -> Measurement | None:
        """Return how much better a ranker's lists are than another's, by pair; None without either's lists."""
        values, gate = self.list_values, self.gate
        if values is None or any(value_column(ranker, metric) not in values for ranker in (name, other)):
            return None
        gain, low, high = paired(
            values,
            metric,
            name,
            other,
            confidence=gate.confidence,
            replicates=gate.replicates,
            seed=self.scenario.seed,
        )
        return Measurement(value=gain, low=low, high=high, rows=len(values))


def evaluate_rules(evidence: Evidence) -> Verdict:
    """Evaluate a candidate by every rule; one failed rule rejects it.

    If there is no champion, rules against it are skipped, and the verdict says ``first``.
    """
    gate, champion = evidence.gate, evidence.champion
    results = [result for judge in KINDS for result in judge(evidence)]
    if not results or not (gate.absolute or gate.relative):
        results.append(_nothing_to_judge(evidence.scenario))
    failed = [result.reason for result in results if not result.passed]
    passed = [result.reason for result in results if result.passed]
    first = "no earlier run was promoted, so this is the first: rules against a champion do not apply"
    warnings = champion.warnings if champion is not None else ()
    return Verdict(
        decision="reject" if failed else "promote",
        first=champion is None,
        mode=gate.mode,
        champion=champion.run_key if champion else None,
        warnings=warnings,
        rules=tuple(results),
        reasons=(*failed, *warnings, *passed, *((first,) if champion is None else ())),
    )


def judge_absolute(evidence: Evidence) -> list[RuleResult]:
    """Judge minimum and maximum values of metrics."""
    return [_absolute(rule, evidence.evaluation) for rule in evidence.gate.absolute]


def judge_floor(evidence: Evidence) -> list[RuleResult]:
    """Judge, for each task, whether the fusion beats the popularity baseline significantly."""
    if not evidence.gate.beat_floor:
        return []
    return [_beats_floor(name, task.kind, evidence) for name, task in evidence.scenario.tasks.items()]


def judge_relative(evidence: Evidence) -> list[RuleResult]:
    """Test non-inferiority against the champion; rules on slices share the error by Holm's procedure (1979)."""
    if evidence.champion is None:
        return []
    rules = [_Comparison.of(rule, evidence, evidence.champion) for rule in evidence.gate.relative]
    alpha = 1.0 - evidence.gate.confidence
    p_values = {place: one.p_value() for place, one in enumerate(rules) if one.rule.slice}
    order = sorted(p_values, key=lambda place: p_values[place])
    levels = {place: alpha / (len(order) - step) for step, place in enumerate(order)}
    results = [one.judge(1.0 - levels.get(place, alpha)) for place, one in enumerate(rules)]
    broken = False
    for place in order:
        if broken and results[place].passed:
            results[place] = _held_back(results[place])
        broken = broken or not results[place].passed
    return results


def judge_drift(evidence: Evidence) -> list[RuleResult]:
    """Judge how far labels, predictions and features shifted from the champion's test rows."""
    champion = evidence.champion
    if champion is None:
        return []
    return [_drifted(group, limit, champion) for group, limit in evidence.gate.drift.limits.items()]


def judge_lists(evidence: Evidence) -> list[RuleResult]:
    """Judge how recommendations compare with simple rankers' and with the champion's."""
    first = evidence.champion is None
    return [_on_lists(rule, evidence) for rule in evidence.gate.lists if not (first and rule.beat == CHAMPION)]


# In the order in which a verdict lists them.
KINDS: Final[tuple[Callable[[Evidence], list[RuleResult]], ...]] = (
    judge_absolute,
    judge_floor,
    judge_relative,
    judge_lists,
    judge_drift,
)


def _absolute(rule: Rule, evaluation: Evaluation) -> RuleResult:
    sign, limit = (">=", rule.min) if rule.min is not None else ("<=", rule.max)
    assert limit is not None
    where = f" on {rule.slice}" if rule.slice else ""
    name = f"{rule.task} {rule.metric}{where} {sign} {limit:g}"
    found = _look_up(rule, evaluation)
    if found is None or found.value is None:
        rows = 0 if found is None else found.rows
        why = f"{rule.metric} is not available{where} ({rows:,} rows): the gate fails closed"
        return RuleResult.fail("absolute", name, limit, why, rows=rows)
    if rule.slice and found.rows < rule.min_rows:
        passed, why = False, f"{found.rows:,} rows are fewer than the {rule.min_rows:,} that the rule asks for"
    else:
        passed = found.value >= limit if rule.min is not None else found.value <= limit
        why = f"{rule.metric} is {_with_interval(found)} on {found.rows:,} rows"
    return _result("absolute", name, limit, found, passed=passed, why=why)


def _on_lists(rule: ListRule, evidence: Evidence) -> RuleResult:
    metric, other = rule.metric, rule.beat
    limit = 0.0 - rule.margin  # not -0.0, which would be shown
    margin = f"at most {rule.margin:g} worse than" if rule.margin else "no worse than"
    champion = evidence.champion
    whose = f"the {champion.title}" if other == CHAMPION and champion is not None else other
    name = f"{LISTS} {metric} {margin} {whose}'s{', significantly' if rule.significant else ''}"
    if other == CHAMPION and champion is not None and champion.lists_problem is not None:
        why = f"the {champion.title} of {champion.as_of} cannot make recommendations: {champion.lists_problem}"
        return RuleResult.fail("lists", name, limit, why)
    found = evidence.list_gain(metric, evidence.evaluation.ranking.published, other)
    if found is None:
        why = f"there are no recommendations by {whose} to compare with: the gate fails closed"
        return RuleResult.fail("lists", name, limit, why)
    gain, low, rows = found.value, found.low, found.rows
    if gain is None or low is None:
        return RuleResult.fail("lists", name, limit, f"nothing can be compared on {rows:,} lists", rows=rows)
    passed = low > limit if rule.significant else gain >= limit
    why = f"the difference is {_with_interval(found)} on {rows:,} lists (positive is better)"
    return _result("lists", name, limit, found, passed=passed, why=why)


def _look_up(rule: Rule, evaluation: Evaluation) -> Measurement | None:
    part: Measurements = {}
    if rule.task == LISTS:
        part = {} if rule.slice else evaluation.ranking.by_ranker.get(evaluation.ranking.published, {})
    elif rule.slice is None:
        part = evaluation.tasks[rule.task].fusion
    elif rule.slice in evaluation.slices[rule.task]:
        part = evaluation.slices[rule.task][rule.slice].fusion
    return part.get(rule.metric)


def _beats_floor(task: str, kind: str, evidence: Evidence) -> RuleResult:
    rows, gate, metric = evidence.rows[task], evidence.gate, primary(kind)
    name = f"{task} {metric} beats {FLOOR}"
    count = len(rows.label)
    gain = _paired(rows, FLOOR, metric, gate, evidence.scenario.seed, gate.confidence)
    if gain is None or gain.low is None:
        why = f"the difference cannot be computed on {count:,} rows: the gate fails closed"
        return RuleResult.fail("floor", name, 0.0, why, rows=count)
    passed = gain.low > 0
    if passed:
        why = f"better by {_with_interval(gain)} on {count:,} rows"
    elif np.array_equal(rows.predictions[FUSION], rows.predictions[FLOOR]):
        why = f"the fusion is {FLOOR} itself: no member did better on the blend window"
    else:
        found = "worse than it" if gain.high is not None and gain.high < 0 else "not better beyond chance"
        why = f"{found}: the difference is {_with_interval(gain)} on {count:,} rows (positive is better)"
    return _result("floor", name, 0.0, gain, passed=passed, why=why)


@dataclass(frozen=True)
class _Comparison:
    """A rule against the champion.

    Attributes
    ----------
    rows
        The rows that the rule is about; None if there is no such slice, or the metric is not of the task's kind.
    """

    rule: Margin
    rows: ScoredRows | None
    champion: Champion
    gate: Gate
    seed: int

    @classmethod
    def of(cls, rule: Margin, evidence: Evidence, champion: Champion) -> _Comparison:
        """Select the rows of a rule."""
        scenario, part = evidence.scenario, evidence.rows.get(rule.task)
        if part is not None and rule.metric not in metrics_of(scenario.tasks[rule.task].kind):
            part = None
        if part is not None and rule.slice is not None:
            mask = part.slices.get(rule.slice)
            part = None if mask is None else part.where(mask)
        return cls(rule, part, champion, evidence.gate, scenario.seed)

    @property
    def where(self) -> str:
        """The slice in words; empty for all rows."""
        return f" on {self.rule.slice}" if self.rule.slice else ""

    @property
    def name(self) -> str:
        """The rule in words."""
        rule = self.rule
        return f"{rule.task} {rule.metric}{self.where} at most {rule.margin:g} worse than the {self.champion.title}"

    def p_value(self) -> float:
        """Return the one-sided bootstrap p-value of "worse than the champion by the margin or more"; 1 if unknown."""
        part = self.rows
        if part is None or not len(part.label) or CHAMPION not in part.predictions:
            return 1.0
        drawn = _replicated_gain(part, CHAMPION, self.rule.metric, self.gate, self.seed)
        return float((np.sum(~(drawn > -self.rule.margin)) + 1) / (len(drawn) + 1))

    def judge(self, confidence: float) -> RuleResult:
        """Test whether the candidate is worse by less than the margin."""
        limit, count = 0.0 - self.rule.margin, 0 if self.rows is None else len(self.rows.label)
        obstacle = self._obstacle(count)
        if obstacle is not None:
            return RuleResult.fail("relative", self.name, limit, obstacle, rows=count)
        assert self.rows is not None
        gain = _paired(self.rows, CHAMPION, self.rule.metric, self.gate, self.seed, confidence)
        if gain is None or gain.low is None:
            why = f"the difference cannot be computed on {count:,} rows: the gate fails closed"
            return RuleResult.fail("relative", self.name, limit, why, rows=count)
        why = (
            f"the difference to the {self.champion.title} of {self.champion.as_of} is {_with_interval(gain)} on "
            f"{count:,} rows (positive is better)"
        )
        return _result("relative", self.name, limit, gain, passed=gain.low > limit, why=why)

    def _obstacle(self, count: int) -> str | None:
        """Return why the rule cannot be judged; None if it can."""
        rule, whose = self.rule, f"the {self.champion.title} of {self.champion.as_of}"
        if self.champion.problem is not None:
            return f"{whose} cannot score this run's test rows: {self.champion.problem}"
        if self.rows is None:
            return f"{rule.metric} is not available{self.where}: the gate fails closed"
        if CHAMPION not in self.rows.predictions:
            return f"{whose} has no task {rule.task!r}: remove this rule until one has"
        if rule.slice and count < rule.min_rows:
            return f"{count:,} rows are fewer than the {rule.min_rows:,} that the rule asks for"
        return None


def _drifted(group: str, limit: float, champion: Champion) -> RuleResult:
    name, report = f"{group} at most {limit:g} PSI from the champion's", champion.drift
    if report is None or report.problem is not None:
        problem = "nothing was compared" if report is None else report.problem
        why = f"the champion of {champion.as_of} cannot be compared with: {problem}"
        return RuleResult.fail("drift", name, limit, why)
    lacking = [variable.name for variable in report.unmatched if variable.group == group]
    shifts = report.of_group(group)
    if not shifts or (lacking and group != "features"):
        why = f"{', '.join(lacking) or group} cannot be compared: the gate fails closed"
        return RuleResult.fail("drift", name, limit, why)
    worst = shifts[0]
    why = (
        f"the furthest is {worst.name} with {worst.psi:.4f} on {worst.rows:,} rows against "
        f"{worst.reference_rows:,} of the champion of {champion.as_of} (chance alone gives about {worst.noise:.4f})"
    )
    found = Measurement(value=worst.psi, low=None, high=None, rows=worst.rows)
    return _result("drift", name, limit, found, passed=worst.psi <= limit, why=why)


def _held_back(result: RuleResult) -> RuleResult:
    reason = result.reason.replace(": holds,", ": fails (Holm: a slice with a smaller p-value failed),", 1)
    return result.model_copy(update={"passed": False, "reason": reason})


def _paired(
    rows: ScoredRows, reference: str, metric: str, gate: Gate, seed: int, confidence: float
) -> Measurement | None:
    """Return the improvement of the fusion over another model on the same rows; None if it cannot be computed."""
    if not len(rows.label):
        return None
    mine, other = (compute(metric, rows.label, rows.predictions[name]) for name in (FUSION, reference))
    gain = improvement(metric, mine, other)
    if not np.isfinite(gain):
        return None
    low, high = interval(_replicated_gain(rows, reference, metric, gate, seed), confidence)
    return Measurement(value=gain, low=low, high=high, rows=len(rows.label))


def _replicated_gain(rows: ScoredRows, reference: str, metric: str, gate: Gate, seed: int) -> Values:
    prepared = {name: Prepared(metric, rows.label, rows.predictions[name]) for name in (FUSION, reference)}
    drawn = UserBootstrap(rows.users, gate.replicates, seed).replicate(prepared)
    sign = -1.0 if CATALOG[metric].better < 0 else 1.0
    return np.asarray(sign * (drawn[FUSION] - drawn[reference]))


def check_comparable(theirs: Scenario, their_as_of: str, ours: Scenario, test_start: str) -> None:
    """Raise if this run lacks a champion's columns, or the champion was trained on this run's test rows.

    Raises
    ------
    ConfigError
        Gives the reason.
    """
    for name, task in theirs.labels.items():
        own = ours.labels.get(name)
        if own is None or own.label != task.label:
            kind = "signal" if name in theirs.source.signals else "task"
            raise ConfigError(f"it needs the label column {task.label!r} as {kind} {name!r}, which this scenario lacks")
        if own.scale != task.scale:
            raise ConfigError(f"it learned {name!r} on the {task.scale} scale, this scenario says {own.scale}")
    if theirs.source.context != ours.source.context:
        raise ConfigError("its source.context differs, so its features cannot be made from these rows")
    for side in ("users", "items"):
        wanted, has = (getattr(scenario.source, side) for scenario in (theirs, ours))
        for kind in ("numeric", "categorical", "multi", "times"):
            needed = {} if wanted is None else getattr(wanted, kind)
            if not needed.items() <= (getattr(has, kind) if has else {}).items():
                raise ConfigError(f"it needs the attributes {sorted(needed)} of {side}, some of which are missing")
    _check_content(theirs, ours)
    # Its labels end where its own test window began, or earlier.
    learned_until = np.datetime64(their_as_of) - np.timedelta64(theirs.windows.test, "D")
    if learned_until > np.datetime64(test_start):
        raise ConfigError(
            f"it learned from days before {learned_until}, and this run's test window starts on {test_start}: keep "
            f"windows.test at {theirs.windows.test} days until there is a champion of a later day"
        )


def _check_content(theirs: Scenario, ours: Scenario) -> None:
    """Raise if the champion projects item content that is not this scenario's."""
    wanted, has = theirs.source.items, ours.source.items
    for content in () if wanted is None else wanted.contents:
        if has is None or getattr(has, content) != getattr(wanted, content):
            raise ConfigError(
                f"it needs source.items.{content} {getattr(wanted, content)!r}, this scenario has "
                f"{None if has is None else getattr(has, content)!r}"
            )


def _nothing_to_judge(scenario: Scenario) -> RuleResult:
    reason = f"the gate has no rule to judge by, so it fails closed: add gate.absolute rules to {scenario.file}"
    return RuleResult(
        rule="at least one rule",
        kind="absolute",
        passed=False,
        value=None,
        limit=1.0,
        low=None,
        high=None,
        rows=0,
        reason=reason,
    )


def _result(kind: str, rule: str, limit: float, found: Measurement, *, passed: bool, why: str) -> RuleResult:
    """Return the result of a rule that was judged."""
    return RuleResult(
        rule=rule,
        kind=kind,
        passed=passed,
        value=found.value,
        limit=limit,
        low=found.low,
        high=found.high,
        rows=found.rows,
        reason=f"{rule}: {'holds' if passed else 'fails'}, {why}",
    )


def _with_interval(found: Measurement) -> str:
    text = f"{found.value:.4f}" if found.low is None else f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
    return text.replace("-", "−")  # as in tables
