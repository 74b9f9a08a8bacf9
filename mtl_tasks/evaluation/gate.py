"""The evaluation gate, which decides whether a candidate may be published; a rule that cannot be computed fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.evaluation import drift
from mtl_tasks.evaluation.evaluate import FLOOR, FUSION, ScoredRows
from mtl_tasks.metrics.bootstrap import UserBootstrap, interval
from mtl_tasks.metrics.catalog import CATALOG, Prepared, compute, improvement, metrics_of, primary
from mtl_tasks.scenario import LISTS, Gate, Margin, Rule, Scenario

Values = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule."""

    rule: str
    kind: str
    passed: bool
    value: float | None
    limit: float
    low: float | None
    high: float | None
    rows: int
    reason: str


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
        :func:`~mtl_tasks.evaluation.drift.compare` of its record and this run's; ``problem`` is the reason if there is
        no comparison.
    passed_over
        A sentence for each newer run that could not be compared with.
    """

    run_key: str
    as_of: str
    predictions: dict[str, Values]
    problem: str | None = None
    drift: Json | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Warnings of a verdict, one per newer champion that it was not compared with."""
        met = f"compared with the champion before it, run {self.run_key[:12]} as of {self.as_of}"
        return [f"warning: {sentence}; {met}" for sentence in self.passed_over]


def evaluate_rules(
    scenario: Scenario, evaluation: Json, rows: dict[str, ScoredRows], champion: Champion | None
) -> Json:
    """Evaluate a candidate by every rule; one failed rule rejects it.

    Parameters
    ----------
    evaluation
        The evaluation document of the candidate.
    rows
        Task to its labeled test rows.
    champion
        None if no earlier run was promoted; rules against it are then skipped, and the verdict says ``first``.

    Returns
    -------
    dict
        The verdict: decision, rules, and one sentence per rule: failed ones, then warnings, then passed ones.
    """
    gate = scenario.gate
    findings = [_absolute(rule, evaluation) for rule in gate.absolute]
    if gate.beat_floor:
        findings += [_beats_floor(name, task.kind, rows[name], gate, scenario) for name, task in scenario.tasks.items()]
    if champion is not None:
        findings += _relative_rules(scenario, rows, champion)
        findings += [_drifted(group, limit, champion) for group, limit in gate.drift.limits.items()]
    if not findings or not (gate.absolute or gate.relative):
        findings.append(_nothing_to_judge(scenario))
    failed = [finding for finding in findings if not finding.passed]
    warnings = champion.warnings if champion is not None else []
    passed = [finding.reason for finding in findings if finding.passed]
    reasons = [*(finding.reason for finding in failed), *warnings, *passed]
    if champion is None:
        reasons.append("no earlier run was promoted, so this is the first: rules against a champion do not apply")
    return {
        "decision": "reject" if failed else "promote",
        "first": champion is None,
        "mode": gate.mode,
        "champion": champion.run_key if champion else None,
        "warnings": warnings,
        "rules": [asdict(finding) for finding in findings],
        "reasons": reasons,
    }


def verdict_line(verdict: Json) -> str:
    """Return the verdict in one line."""
    passed = sum(rule["passed"] for rule in verdict["rules"])
    first = next((rule["reason"] for rule in verdict["rules"] if not rule["passed"]), None)
    line = f"{verdict['decision']}: {passed} of {len(verdict['rules'])} rules passed"
    return "; ".join([line, *([first] if first else []), *verdict.get("warnings", [])])


def _absolute(rule: Rule, evaluation: Json) -> RuleResult:
    sign, limit = (">=", rule.min) if rule.min is not None else ("<=", rule.max)
    assert limit is not None
    where = f" on {rule.slice}" if rule.slice else ""
    name = f"{rule.task} {rule.metric}{where} {sign} {limit:g}"
    found = _look_up(rule, evaluation)
    if found is None or found["value"] is None:
        rows_there = 0 if found is None else found["rows"]
        why = f"{name}: fails, {rule.metric} is not available{where} ({rows_there:,} rows): the gate fails closed"
        return RuleResult(name, "absolute", False, None, limit, None, None, rows_there, why)
    value, count = found["value"], found["rows"]
    if rule.slice and count < rule.min_rows:
        why = f"{name}: fails, {count:,} rows are fewer than the {rule.min_rows:,} that the rule asks for"
        return RuleResult(name, "absolute", False, value, limit, found["low"], found["high"], count, why)
    passed = value >= limit if rule.min is not None else value <= limit
    verb = "holds" if passed else "fails"
    why = f"{name}: {verb}, {rule.metric} is {_with_interval(value, found['low'], found['high'])} on {count:,} rows"
    return RuleResult(name, "absolute", passed, value, limit, found["low"], found["high"], count, why)


def _look_up(rule: Rule, evaluation: Json) -> Json | None:
    if rule.task == LISTS:
        part = {} if rule.slice else evaluation["ranking"]["lists"].get(FUSION, {})
    elif rule.slice:
        part = evaluation["slices"][rule.task].get(rule.slice, {}).get("fusion", {})
    else:
        part = evaluation["tasks"][rule.task]["fusion"]
    found: Json | None = part.get(rule.metric)
    return found


def _beats_floor(task: str, kind: str, rows: ScoredRows, gate: Gate, scenario: Scenario) -> RuleResult:
    metric = primary(kind)
    name = f"{task} {metric} beats {FLOOR}"
    gain, low, high = _paired(rows, rows.predictions[FLOOR], metric, gate, scenario.seed, gate.confidence)
    if gain is None or low is None:
        why = f"{name}: fails, the difference cannot be computed on {len(rows.label):,} rows: the gate fails closed"
        return RuleResult(name, "floor", False, None, 0.0, None, None, len(rows.label), why)
    passed, where = low > 0, f"on {len(rows.label):,} rows"
    if passed:
        why = f"{name}: holds, better by {_with_interval(gain, low, high)} {where}"
    elif np.array_equal(rows.predictions[FUSION], rows.predictions[FLOOR]):
        why = f"{name}: fails, the fusion is {FLOOR} itself: no member did better on the blend window"
    else:
        found = "worse than it" if high is not None and high < 0 else "not better beyond chance"
        difference = f"the difference is {_with_interval(gain, low, high)} {where} (positive is better)"
        why = f"{name}: fails, {found}: {difference}"
    return RuleResult(name, "floor", passed, gain, 0.0, low, high, len(rows.label), why)


def _relative_rules(scenario: Scenario, rows: dict[str, ScoredRows], champion: Champion) -> list[RuleResult]:
    """Test non-inferiority against the champion; rules on slices share the error by Holm's procedure (1979)."""
    gate, seed = scenario.gate, scenario.seed
    parts = [_comparable(rule, rows, scenario) for rule in gate.relative]
    alpha = 1.0 - gate.confidence
    sliced = [place for place, rule in enumerate(gate.relative) if rule.slice]
    p_values = {place: _p_value(gate.relative[place], parts[place], gate, champion, seed) for place in sliced}
    order = sorted(sliced, key=lambda place: p_values[place])
    levels = {place: alpha / (len(order) - step) for step, place in enumerate(order)}
    findings = [
        _relative(rule, parts[place], gate, champion, seed, 1.0 - levels.get(place, alpha))
        for place, rule in enumerate(gate.relative)
    ]
    broken = False
    for place in order:
        if broken and findings[place].passed:
            findings[place] = _held_back(findings[place])
        broken = broken or not findings[place].passed
    return findings


def _relative(
    rule: Margin, part: ScoredRows | None, gate: Gate, champion: Champion, seed: int, confidence: float
) -> RuleResult:
    where = f" on {rule.slice}" if rule.slice else ""
    name = f"{rule.task} {rule.metric}{where} at most {rule.margin:g} worse than the champion"
    count = 0 if part is None else len(part.label)

    def fails(why: str) -> RuleResult:
        return RuleResult(name, "relative", False, None, -rule.margin, None, None, count, f"{name}: fails, {why}")

    if champion.problem is not None:
        return fails(f"the champion of {champion.as_of} cannot score this run's test rows: {champion.problem}")
    if part is not None and "champion" not in part.predictions:
        return fails(f"the champion of {champion.as_of} has no task {rule.task!r}: remove this rule until one has")
    if part is None:
        return fails(f"{rule.metric} is not available{where}: the gate fails closed")
    if rule.slice and count < rule.min_rows:
        return fails(f"{count:,} rows are fewer than the {rule.min_rows:,} that the rule asks for")
    gain, low, high = _paired(part, part.predictions["champion"], rule.metric, gate, seed, confidence)
    if gain is None or low is None:
        return fails(f"the difference cannot be computed on {count:,} rows: the gate fails closed")
    passed = low > -rule.margin
    verb = "holds" if passed else "fails"
    why = (
        f"{name}: {verb}, the difference to the champion of {champion.as_of} is {_with_interval(gain, low, high)} "
        f"on {count:,} rows (positive is better)"
    )
    return RuleResult(name, "relative", passed, gain, -rule.margin, low, high, count, why)


def _drifted(group: str, limit: float, champion: Champion) -> RuleResult:
    name = f"{group} at most {limit:g} PSI from the champion's"
    found = champion.drift
    if found is None or found["problem"] is not None:
        problem = "nothing was compared" if found is None else found["problem"]
        why = f"{name}: fails, the champion of {champion.as_of} cannot be compared with: {problem}"
        return RuleResult(name, "drift", False, None, limit, None, None, 0, why)
    lacking = [row["name"] for row in found["unmatched"] if row["group"] == group]
    worst = drift.worst(found, group)
    if worst is None or (lacking and group != "features"):
        why = f"{name}: fails, {', '.join(lacking) or group} cannot be compared: the gate fails closed"
        return RuleResult(name, "drift", False, None, limit, None, None, 0, why)
    passed = worst["psi"] <= limit
    why = (
        f"{name}: {'holds' if passed else 'fails'}, the furthest is {worst['name']} with {worst['psi']:.4f} on "
        f"{worst['rows']:,} rows against {worst['reference_rows']:,} of the champion of {champion.as_of} (chance alone "
        f"gives about {worst['noise']:.4f})"
    )
    return RuleResult(name, "drift", passed, worst["psi"], limit, None, None, worst["rows"], why)


def _held_back(finding: RuleResult) -> RuleResult:
    reason = finding.reason.replace(": holds,", ": fails (Holm: a slice with a smaller p-value failed),", 1)
    return RuleResult(**{**asdict(finding), "passed": False, "reason": reason})


def _comparable(rule: Margin, rows: dict[str, ScoredRows], scenario: Scenario) -> ScoredRows | None:
    """Return the rows a rule is about; None if there is no such slice, or the metric is not of the task's kind."""
    part = rows.get(rule.task)
    if part is None or rule.metric not in metrics_of(scenario.tasks[rule.task].kind):
        return None
    if rule.slice is None:
        return part
    mask = part.slices.get(rule.slice)
    return None if mask is None else part.where(mask)


def _p_value(rule: Margin, part: ScoredRows | None, gate: Gate, champion: Champion, seed: int) -> float:
    """Return the one-sided bootstrap p-value of "worse than the champion by the margin or more"; 1 if unknown."""
    if part is None or not len(part.label) or "champion" not in part.predictions:
        return 1.0
    drawn = _replicated_gain(part, part.predictions["champion"], rule.metric, gate, seed)
    return float((np.sum(~(drawn > -rule.margin)) + 1) / (len(drawn) + 1))


def _paired(
    rows: ScoredRows, reference: Values, metric: str, gate: Gate, seed: int, confidence: float
) -> tuple[float | None, float | None, float | None]:
    """Return the improvement of the fusion over a reference on the same rows, with its interval."""
    if not len(rows.label):
        return None, None, None
    mine = compute(metric, rows.label, rows.predictions[FUSION])
    gain = improvement(metric, mine, compute(metric, rows.label, reference))
    if not np.isfinite(gain):
        return None, None, None
    low, high = interval(_replicated_gain(rows, reference, metric, gate, seed), confidence)
    return gain, low, high


def _replicated_gain(rows: ScoredRows, reference: Values, metric: str, gate: Gate, seed: int) -> Values:
    prepared = {
        "mine": Prepared(metric, rows.label, rows.predictions[FUSION]),
        "other": Prepared(metric, rows.label, reference),
    }
    drawn = UserBootstrap(rows.users, gate.replicates, seed).replicate(prepared)
    sign = -1.0 if CATALOG[metric].better < 0 else 1.0
    return np.asarray(sign * (drawn["mine"] - drawn["other"]))


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
    # Its labels end where its own test window began, or earlier.
    learned_until = np.datetime64(their_as_of) - np.timedelta64(theirs.windows.test, "D")
    if learned_until > np.datetime64(test_start):
        raise ConfigError(
            f"it learned from days before {learned_until}, and this run's test window starts on {test_start}: keep "
            f"windows.test at {theirs.windows.test} days until there is a champion of a later day"
        )


def _nothing_to_judge(scenario: Scenario) -> RuleResult:
    reason = f"the gate has no rule to judge by, so it fails closed: add gate.absolute rules to {scenario.file}"
    return RuleResult("at least one rule", "absolute", False, None, 1.0, None, None, 0, reason)


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    text = f"{value:.4f}" if low is None else f"{value:.4f} [{low:.4f}, {high:.4f}]"
    return text.replace("-", "−")  # as in tables
