"""The gate lets through what holds, and nothing that it could not check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.evaluation.drift import compare, sketch
from mtl_tasks.evaluation.evaluate import FLOOR, FUSION, ScoredRows, evaluate_task
from mtl_tasks.evaluation.gate import Champion, Evidence, check_comparable, evaluate_rules
from mtl_tasks.evaluation.lists import CLUSTER, START
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.scenario import Scenario
from mtl_tasks.scenario.gate_rules import check_rules
from mtl_tasks.store.documents.drift import DriftReport, Group, Shift, Shifts
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.lists import RankingEvaluation
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.verdict import RuleResult, Verdict
from tests.support.logs import DOCUMENT, tiny_scenario

TASKS = {task: DOCUMENT["tasks"][task] for task in ("rating", "purchase")}
ABSOLUTE = [{"task": "rating", "metric": "rmse", "max": 2.0}, {"task": "purchase", "metric": "auc", "min": 0.6}]
CHAMPION = "2013-05-01"


def scenario_of(**gate: Any) -> Scenario:
    """Return a scenario whose gate has no rule on recommendations unless one is given."""
    return tiny_scenario(tasks=TASKS, gate={"absolute": ABSOLUTE, "replicates": 100, "lists": [], **gate})


def scored(
    fusion: float = 0.5, champion: float | None = None, floor: float = 2.0, seed: int = 0
) -> dict[str, ScoredRows]:
    """Test rows of 100 users whose predictions are off by normal errors of the given sizes."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(100), 6)
    days = np.zeros(len(users), dtype=np.int64)
    truth = rng.standard_normal(len(users))
    names = {FUSION: fusion, FLOOR: floor, **({} if champion is None else {"champion": champion})}
    noise = {name: rng.standard_normal(len(users)) for name in names}
    slices = {"cold_users": users < 30, "warm_users": users >= 30, "cold_items": np.zeros(len(users), dtype=bool)}
    rating, chance = 5 + truth, {name: truth + size * noise[name] for name, size in names.items()}
    taken = (rng.random(len(users)) < 1 / (1 + np.exp(-2 * truth))).astype(float)
    return {
        "rating": ScoredRows(users, days, rating, {name: 5 + value for name, value in chance.items()}, slices),
        "purchase": ScoredRows(users, days, taken, {n: 1 / (1 + np.exp(-2 * v)) for n, v in chance.items()}, slices),
    }


def evaluated(rows: dict[str, ScoredRows]) -> Evaluation:
    made = {task: evaluate_task(part, TASKS[task]["kind"], 7) for task, part in rows.items()}
    ndcg = Measurement(value=0.1, low=0.08, high=0.12, rows=50)
    shares = {"unreachable": 0.1, "candidate_recall": 0.5, "candidates_per_user": 300.0}
    return Evaluation(
        tasks={task: whole for task, (whole, _) in made.items()},
        slices={task: slices for task, (_, slices) in made.items()},
        calibration={},
        ranking=RankingEvaluation(k=10, users=50, eligible_users=50, lists={FUSION: {"ndcg": ndcg}}, **shares),
    )


def judged(scenario: Scenario, rows: dict[str, ScoredRows] | None = None, champion: Champion | None = None) -> Verdict:
    rows = scored() if rows is None else rows
    return evaluate_rules(Evidence(scenario, evaluated(rows), rows, champion))


def against_champion(
    relative: list[dict[str, Any]], rows: dict[str, ScoredRows] | None = None, problem: str | None = None, **gate: Any
) -> Verdict:
    rows = scored(champion=0.5) if rows is None else rows
    scenario = scenario_of(relative=relative, **gate)
    return judged(scenario, rows, Champion("k" * 64, CHAMPION, {}, problem))


def reasons_of(verdict: Verdict) -> str:
    return " | ".join(verdict.reasons)


# --------------------------------------------------------------------------------------- absolute and floor


@pytest.mark.faults(19)
def test_a_candidate_that_holds_every_rule_is_promoted_and_called_the_first() -> None:
    verdict = judged(scenario_of())
    assert verdict.decision == "promote"
    assert verdict.first
    assert verdict.champion is None
    assert [rule.rule for rule in verdict.rules] == [
        "rating rmse <= 2",
        "purchase auc >= 0.6",
        "rating rmse beats popularity",
        "purchase auc beats popularity",
    ]
    assert "this is the first" in verdict.reasons[-1]
    assert all("\n" not in reason for reason in verdict.reasons)
    assert verdict.line == "promote: 4 of 4 rules passed"
    assert Verdict.parse(verdict.to_stored(), "verdict") == verdict


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"task": "rating", "metric": "rmse", "max": 0.1}, False),
        ({"task": "rating", "metric": "mae", "max": 1.0}, True),
        ({"task": "purchase", "metric": "auc", "min": 0.999}, False),
        ({"task": "purchase", "metric": "log_loss", "max": 9.0}, True),
        ({"task": "purchase", "metric": "auc", "min": 0.6, "slice": "cold_users"}, True),
        ({"task": "rating", "metric": "mae", "max": 0.1, "slice": "cold_users"}, False),
        ({"task": "ranking", "metric": "ndcg", "min": 0.1}, True),
        ({"task": "ranking", "metric": "ndcg", "min": 0.11}, False),
    ],
)
def test_absolute_rules_hold_up_to_their_limit(rule: dict[str, Any], passed: bool) -> None:
    verdict = judged(scenario_of(absolute=[rule]))
    assert verdict.rules[0].passed is passed
    assert verdict.decision == ("promote" if passed else "reject")


def test_failed_reasons_come_first_with_value_interval_and_rows() -> None:
    verdict = judged(scenario_of(absolute=[*ABSOLUTE, {"task": "rating", "metric": "rmse", "max": 0.1}]))
    assert "rating rmse <= 0.1: fails, rmse is 0." in verdict.reasons[0]
    assert "] on 600 rows" in verdict.reasons[0]
    assert verdict.line.startswith("reject: 4 of 5 rules passed; rating rmse <= 0.1: fails")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"task": "rating", "metric": "auc", "min": 0.1}, "auc is not available (0 rows): the gate fails closed"),
        ({"task": "rating", "metric": "rsme", "max": 9}, "rsme is not available (0 rows): the gate fails closed"),
        ({"task": "rating", "metric": "rmse", "max": 9, "slice": "old_users"}, "not available on old_users (0 rows)"),
        ({"task": "rating", "metric": "rmse", "max": 9, "slice": "cold_items"}, "not available on cold_items (0 rows)"),
        ({"task": "ranking", "metric": "auc", "min": 0}, "auc is not available (0 rows)"),
        ({"task": "ranking", "metric": "ndcg", "min": 0, "slice": "cold_users"}, "not available on cold_users"),
        (
            {"task": "rating", "metric": "rmse", "max": 9, "slice": "cold_users", "min_rows": 181},
            "180 rows are fewer than",
        ),
    ],
)
def test_a_rule_that_cannot_be_checked_fails(rule: dict[str, Any], reason: str) -> None:
    verdict = judged(scenario_of(absolute=[*ABSOLUTE, rule]))
    assert verdict.decision == "reject"
    assert reason in verdict.reasons[0]


@pytest.mark.parametrize("task", ["rating", "purchase"])
def test_a_prediction_that_is_nan_fails_every_rule_of_its_task(task: str) -> None:
    rows = scored()
    rows[task].predictions[FUSION][3] = np.nan
    verdict = judged(scenario_of(), rows)
    assert verdict.decision == "reject"
    failed = [rule.rule for rule in verdict.rules if not rule.passed]
    assert len(failed) == 2
    assert all(rule.startswith(task) for rule in failed)
    assert "fails closed" in verdict.reasons[0]


def test_a_metric_that_is_missing_in_the_evaluation_fails() -> None:
    rows, scenario = scored(), scenario_of()
    evaluation = evaluated(rows)
    lacking = evaluation.tasks["rating"].model_copy(update={"fusion": {}})
    evaluation = evaluation.model_copy(update={"tasks": {**evaluation.tasks, "rating": lacking}})
    verdict = evaluate_rules(Evidence(scenario, evaluation, rows))
    assert "rating rmse <= 2: fails, rmse is not available" in verdict.reasons[0]


@pytest.mark.faults(20)
@pytest.mark.parametrize("gate", [{"absolute": []}, {"absolute": [], "beat_floor": False}])
def test_a_gate_without_rules_fails(gate: dict[str, Any]) -> None:
    verdict = judged(scenario_of(**gate))
    assert verdict.decision == "reject"
    assert "the gate has no rule to judge by, so it fails closed" in verdict.reasons[0]
    assert "include/scenarios/tiny.yaml" in verdict.reasons[0]


@pytest.mark.faults(19)
def test_relative_rules_alone_let_no_first_candidate_through_unjudged() -> None:
    relative = [{"task": "rating", "metric": "rmse", "margin": 0.1}]
    verdict = judged(scenario_of(absolute=[], relative=relative, beat_floor=False))
    assert verdict.decision == "reject"
    assert judged(scenario_of(absolute=[], relative=relative)).decision == "promote"  # it beat the floor


@pytest.mark.faults(22)
@pytest.mark.parametrize(("floor", "passed"), [(2.0, True), (0.49, False), (0.1, False)])
def test_the_floor_must_be_beaten_beyond_doubt(floor: float, passed: bool) -> None:
    verdict = judged(scenario_of(), scored(fusion=0.5, floor=floor))
    rule = next(rule for rule in verdict.rules if rule.rule == "rating rmse beats popularity")
    assert rule.passed is passed
    assert verdict.decision == ("promote" if passed else "reject")
    assert judged(scenario_of(beat_floor=False), scored(floor=floor)).decision == "promote"


def test_a_floor_that_is_not_beaten_is_said_without_contradiction() -> None:
    worse = judged(scenario_of(), scored(fusion=0.5, floor=0.1)).reasons[0]
    assert worse.startswith("rating rmse beats popularity: fails, worse than it: the difference is −0.")
    noise = judged(scenario_of(), scored(fusion=0.5, floor=0.49)).reasons[0]
    assert "fails, " in noise
    assert "better by" not in noise
    rows = scored()
    same = {
        task: replace(part, predictions={**part.predictions, FUSION: part.predictions[FLOOR]})
        for task, part in rows.items()
    }
    reasons = judged(scenario_of(), same).reasons
    assert (
        "rating rmse beats popularity: fails, the fusion is popularity itself: no member did better on the blend window"
        in reasons
    )


def test_labels_of_one_class_fail_the_floor() -> None:
    rows = scored()
    rows["purchase"] = replace(rows["purchase"], label=np.ones_like(rows["purchase"].label))
    verdict = judged(scenario_of(), rows)
    assert "purchase auc beats popularity: fails, the difference cannot be computed on 600 rows" in reasons_of(verdict)


def test_dry_run_is_judged_alike_and_says_so() -> None:
    enforced, dry = judged(scenario_of()), judged(scenario_of(mode="dry_run"))
    assert (enforced.mode, dry.mode) == ("enforce", "dry_run")
    assert dry.model_copy(update={"mode": "enforce"}) == enforced
    rejected = judged(scenario_of(mode="dry_run", absolute=[{"task": "rating", "metric": "rmse", "max": 0.0}]))
    assert rejected.decision == "reject"


# ------------------------------------------------------------------------------------------------ champion


@pytest.mark.parametrize(
    ("champion", "margin", "passed"),
    [(0.5, 0.05, True), (2.0, 0.0, True), (0.2, 0.05, False), (0.2, 0.5, True), (0.49, 0.0, False)],
)
def test_the_champion_may_be_better_by_less_than_the_margin(champion: float, margin: float, passed: bool) -> None:
    relative = [{"task": "rating", "metric": "rmse", "margin": margin}]
    verdict = against_champion(relative, scored(champion=champion))
    rule = verdict.rules[-1]
    assert rule.rule == f"rating rmse at most {margin:g} worse than the champion"
    assert rule.passed is passed
    assert rule.low <= rule.value <= rule.high
    assert rule.passed is (rule.low > -margin)
    assert not verdict.first
    assert verdict.champion == "k" * 64
    assert f"the difference to the champion of {CHAMPION} is" in rule.reason


@pytest.mark.faults(21)
def test_purchase_five_percent_better_does_not_make_up_for_rating_five_percent_worse_and_both_are_said() -> None:
    rows = scored(fusion=0.5, champion=0.75)
    rating, purchase = rows["rating"], rows["purchase"]
    rating.predictions["champion"] = rating.label + (rating.predictions[FUSION] - rating.label) / 1.05
    gained, lost = (
        compute(metric, part.label, part.predictions[FUSION])
        / compute(metric, part.label, part.predictions["champion"])
        for metric, part in (("auc", purchase), ("rmse", rating))
    )
    assert (gained, lost) == (pytest.approx(1.05, abs=0.01), pytest.approx(1.05))
    margins = [
        {"task": task, "metric": metric, "margin": 0.01} for task, metric in (("purchase", "auc"), ("rating", "rmse"))
    ]
    verdict = against_champion(margins, rows)
    assert verdict.decision == "reject"
    worse, better = "rating rmse at most 0.01 worse", "purchase auc at most 0.01 worse"
    assert verdict.reasons[0].startswith(f"{worse} than the champion: fails, the difference to the champion of")
    assert f"{better} than the champion: holds, the difference to the champion of" in reasons_of(verdict)
    assert [rule.passed for rule in verdict.rules if not rule.passed] == [False]


@pytest.mark.faults(22)
@pytest.mark.parametrize(("margin", "passed"), [(0.0, False), (0.05, True)])
def test_a_difference_within_noise_is_judged_by_the_margin_and_stated_with_its_interval(
    margin: float, passed: bool
) -> None:
    relative = [{"task": "rating", "metric": "rmse", "margin": margin}]
    verdict = against_champion(relative, scored(fusion=0.5, champion=0.5, seed=3))
    rule = verdict.rules[-1]
    assert rule.low < 0 < rule.high
    assert rule.passed is passed
    interval = f"[{rule.low:.4f}, {rule.high:.4f}] on 600 rows (positive is better)".replace("-", "−")
    assert rule.reason.endswith(interval)
    assert ("holds" if passed else "fails") in rule.reason


@pytest.mark.faults(22)
def test_a_gain_over_the_floor_within_noise_does_not_count_and_is_stated_with_its_interval() -> None:
    verdict = judged(scenario_of(), scored(fusion=0.5, floor=0.5, seed=3))
    rule = next(rule for rule in verdict.rules if rule.rule == "rating rmse beats popularity")
    assert rule.low < 0 < rule.high
    assert verdict.decision == "reject"
    assert f"{rule.rule}: fails, not better beyond chance: the difference is " in reasons_of(verdict)


def test_a_candidate_equal_to_its_champion_is_no_worse() -> None:
    rows = scored(champion=0.5)
    for part in rows.values():
        part.predictions["champion"] = part.predictions[FUSION]
    relative = [{"task": "purchase", "metric": metric, "margin": 0.001} for metric in ("auc", "log_loss", "pr_auc")]
    assert against_champion(relative, rows).decision == "promote"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"task": "rating", "metric": "auc"}, "auc is not available: the gate fails closed"),
        ({"task": "purchase", "metric": "rmse"}, "rmse is not available: the gate fails closed"),
        ({"task": "rating", "metric": "rsme", "slice": "cold_users"}, "rsme is not available on cold_users"),
        ({"task": "rating", "metric": "rmse", "slice": "old_users"}, "rmse is not available on old_users"),
        ({"task": "rating", "metric": "rmse", "slice": "cold_items"}, "0 rows are fewer than the 50"),
        ({"task": "ranking", "metric": "ndcg"}, "ndcg is not available"),
    ],
)
def test_a_comparison_that_cannot_be_made_fails(rule: dict[str, Any], reason: str) -> None:
    verdict = against_champion([{"margin": 99, **rule}])
    assert verdict.decision == "reject"
    assert reason in verdict.reasons[0]


def test_a_champion_that_cannot_score_fails_every_comparison_with_its_reason() -> None:
    relative = [
        {"task": "rating", "metric": "rmse", "margin": 99},
        {"task": "rating", "metric": "rmse", "margin": 99, "slice": "cold_users"},
    ]
    verdict = against_champion(relative, scored(), problem="it has no task 'rating'")
    assert verdict.decision == "reject"
    assert [rule.passed for rule in verdict.rules][-2:] == [False, False]
    assert (
        f"the champion of {CHAMPION} cannot score this run's test rows: it has no task 'rating'" in verdict.reasons[0]
    )


@pytest.mark.parametrize("who", [FUSION, "champion"])
def test_nan_on_either_side_of_a_comparison_fails(who: str) -> None:
    rows = scored(champion=2.0)
    rows["purchase"].predictions[who][0] = np.nan
    verdict = against_champion([{"task": "purchase", "metric": "auc", "margin": 0.5}], rows)
    assert not verdict.rules[-1].passed
    assert "the difference cannot be computed on 600 rows: the gate fails closed" in reasons_of(verdict)


# --------------------------------------------------------------------------------------------------- drift


def report_of(compared: Shifts, problem: str | None = None) -> DriftReport:
    return DriftReport(problem=problem, shifts=compared.shifts, unmatched=compared.unmatched)


def drifted(shifts: dict[str, float] | None = None, problem: str | None = None, **limits: float) -> Verdict:
    """A verdict on a candidate whose variables have shifted by the given means since the champion."""
    rng = np.random.default_rng(5)

    def record(shifts: dict[str, float]) -> dict[Any, Any]:
        made: dict[str, Any] = {"labels": {}, "predictions": {}, "features": {}}
        for name in ("labels rating", "predictions rating", "features age", "features price"):
            group, _, variable = name.partition(" ")
            made[group][variable] = sketch(rng.normal(shifts.get(name, 0.0), 1, 1000))
        return made

    compared = report_of(compare(record({}), record(shifts or {})), problem)
    rows = scored(champion=0.5)
    return judged(scenario_of(drift=limits), rows, Champion("k" * 64, CHAMPION, {}, None, compared))


def test_drift_is_no_rule_unless_it_is_asked_for() -> None:
    assert "drift" not in {rule.kind for rule in drifted({"labels rating": 3.0}).rules}


def test_a_shift_up_to_the_limit_holds_and_says_what_chance_gives() -> None:
    verdict = drifted(labels=0.25, predictions=0.25, features=0.25)
    assert verdict.decision == "promote"
    rules = [rule for rule in verdict.rules if rule.kind == "drift"]
    assert [rule.rule for rule in rules] == [
        f"{group} at most 0.25 PSI from the champion's" for group in ("labels", "predictions", "features")
    ]
    assert "(chance alone gives about 0.0180)" in rules[0].reason
    assert rules[0].rows == 1000


@pytest.mark.parametrize("variable", ["labels rating", "predictions rating", "features price"])
def test_a_shift_is_refused_by_the_rule_of_its_group_and_the_furthest_is_named(variable: str) -> None:
    group, _, name = variable.partition(" ")
    verdict = drifted({variable: 1.0}, labels=0.25, predictions=0.25, features=0.25)
    assert verdict.decision == "reject"
    assert [rule.rule.split()[0] for rule in verdict.rules if not rule.passed] == [group]
    assert f"{group} at most 0.25 PSI from the champion's: fails, the furthest is {name} with " in verdict.reasons[0]
    assert f"on 1,000 rows against 1,000 of the champion of {CHAMPION}" in verdict.reasons[0]


def test_drift_that_cannot_be_computed_fails() -> None:
    verdict = drifted(problem="it was made before distributions were recorded", labels=9.0)
    assert verdict.decision == "reject"
    assert (
        f"the champion of {CHAMPION} cannot be compared with: it was made before distributions were recorded"
        in verdict.reasons[0]
    )
    never = judged(scenario_of(drift={"labels": 9}), scored(champion=0.5), Champion("k" * 64, CHAMPION, {}))
    assert "cannot be compared with: nothing was compared" in never.reasons[0]
    groups: tuple[tuple[Group, bool], ...] = (("labels", True), ("features", False))
    for group, fails in groups:
        lacking = report_of(compare({group: {"a": sketch(np.arange(9.0))}}, {group: {}}))
        same = Shift(group=group, name="b", psi=0.0, noise=0.0, rows=5, reference_rows=5)
        compared = lacking.model_copy(update={"shifts": (same,)})
        one = judged(scenario_of(drift={group: 9}), scored(), Champion("k" * 64, CHAMPION, {}, None, compared))
        assert (one.decision == "reject") is fails  # features come and go with the settings, tasks do not
        empty = judged(scenario_of(drift={group: 9}), scored(), Champion("k" * 64, CHAMPION, {}, None, lacking))
        assert "a cannot be compared: the gate fails closed" in empty.reasons[0]


def test_without_a_champion_drift_has_nothing_to_compare_with() -> None:
    verdict = judged(scenario_of(drift={"labels": 0.01, "predictions": 0.01, "features": 0.01}))
    assert verdict.decision == "promote"
    assert "rules against a champion do not apply" in verdict.reasons[-1]


@pytest.mark.parametrize("limits", [{"labels": 0}, {"lables": 0.1}])
def test_a_limit_on_drift_that_makes_no_sense_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"gate\.drift"):
        scenario_of(drift=limits)


# ---------------------------------------------------------------------------------------------------- Holm

SLICES = ("cold_users", "warm_users")


def with_errors(**sizes: float) -> dict[str, ScoredRows]:
    """A champion whose error in each slice is the candidate's, less a gap with some spread over users."""
    rows = scored(champion=0.5, seed=3)
    part = rows["rating"]
    own = part.predictions[FUSION] - part.label
    spread = np.random.default_rng(4).standard_normal(100)[part.users] * 0.05
    better = sum(np.where(part.slices[name], size, 0.0) for name, size in sizes.items())
    part.predictions["champion"] = part.label + own * (1 - better + spread)
    return rows


def slice_rules(margin: float = 0.05) -> list[dict[str, Any]]:
    return [{"task": "rating", "metric": "rmse", "margin": margin, "slice": name} for name in SLICES]


def test_slices_that_are_no_worse_all_hold() -> None:
    verdict = against_champion(slice_rules(), with_errors(cold_users=0.0, warm_users=0.0))
    assert verdict.decision == "promote"


def test_a_slice_that_is_worse_fails_by_itself() -> None:
    verdict = against_champion(slice_rules(), with_errors(cold_users=0.5, warm_users=0.0))
    assert [rule.passed for rule in verdict.rules[-2:]] == [False, True]
    assert "on cold_users at most 0.05 worse than the champion: fails" in verdict.reasons[0]


def test_findings_stand_in_the_order_of_the_rules_whatever_their_p_values() -> None:
    turned = slice_rules()[::-1]
    verdict = against_champion(turned, with_errors(cold_users=0.5, warm_users=0.0))
    assert [rule.passed for rule in verdict.rules[-2:]] == [True, False]


def twins() -> dict[str, ScoredRows]:
    """Two slices of the same rows, in which the champion is a little better."""
    rows = with_errors(cold_users=0.1, warm_users=0.1)
    everyone = np.ones(600, dtype=bool)
    rows["rating"] = replace(rows["rating"], slices=dict.fromkeys(SLICES, everyone))
    return rows


def test_the_first_of_two_slices_is_judged_by_the_stricter_interval() -> None:
    alone = against_champion(slice_rules(9)[:1], twins()).rules[-1]
    strict, loose = against_champion(slice_rules(9), twins()).rules[-2:]
    assert strict.value == loose.value == alone.value
    assert strict.low < loose.low == alone.low < 0


def test_no_slice_holds_after_one_of_smaller_p_value_failed() -> None:
    strict, loose = against_champion(slice_rules(9), twins()).rules[-2:]
    margin = -(strict.low + loose.low) / 2
    assert against_champion(slice_rules(margin)[:1], twins()).decision == "promote"
    verdict = against_champion(slice_rules(margin), twins())
    failed, held = verdict.rules[-2:]
    assert (failed.passed, held.passed) == (False, False)
    assert held.low > -margin  # by its own interval it would have held
    assert "fails (Holm: a slice with a smaller p-value failed)" in held.reason


def test_the_verdict_is_the_same_every_time() -> None:
    rows = with_errors(cold_users=0.1, warm_users=0.0)
    assert against_champion(slice_rules(), rows) == against_champion(slice_rules(), rows)


# ---------------------------------------------------------------------------------- refused before training


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"absolute": [{"task": "rating", "metric": "rsme", "max": 1}]}, r"no such metric, did you mean 'rmse'\?"),
        ({"relative": [{"task": "rating", "metric": "auc", "margin": 1}]}, r"no such metric.* \(known: rmse, mae\)"),
        (
            {"relative": [{"task": "rating", "metric": "rmse", "margin": 1, "slice": "cold_user"}]},
            r"no slice 'cold_user', did you mean 'cold_users'\?",
        ),
        ({"relative": [{"task": "ranking", "metric": "ndcg", "margin": 1}]}, "rules on ranking must be absolute"),
        ({"absolute": [{"task": "ranking", "metric": "ndcg", "min": 0, "slice": "cold_users"}]}, "have no slice"),
        ({"absolute": [{"task": "purchase", "metric": "auc", "min": 62}]}, "min is 62, but auc is from 0 to 1"),
        ({"absolute": [{"task": "ranking", "metric": "ndcg", "max": -0.1}]}, "max is -0.1, but ndcg is from 0 to 1"),
        ({"relative": [{"task": "purchase", "metric": "auc", "margin": 2}]}, "margin is 2, but auc is from 0 to 1"),
        (
            {"absolute": [{"task": "ranking", "metric": "auc", "min": 0}]},
            "no such metric.* ndcg, recall, map, coverage",
        ),
    ],
)
def test_a_rule_that_can_never_be_judged_is_refused_before_training(gate: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_rules(scenario_of(**gate))
    assert "include/scenarios/tiny.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rules_that_can_be_judged_pass() -> None:
    check_rules(scenario_of(relative=[{"task": "purchase", "metric": "auc", "margin": 0.1, "slice": "cold_items"}]))
    check_rules(scenario_of(absolute=[{"task": "ranking", "metric": "coverage", "min": 0.1}]))


def test_a_champion_without_the_task_fails_the_rules_on_it_alone() -> None:
    rows = scored(champion=2.0)
    del rows["rating"].predictions["champion"]
    relative = [
        {"task": task, "metric": metric, "margin": 0.1} for task, metric in (("rating", "rmse"), ("purchase", "auc"))
    ]
    verdict = against_champion(relative, rows)
    assert [rule.passed for rule in verdict.rules[-2:]] == [False, True]
    assert f"the champion of {CHAMPION} has no task 'rating'" in verdict.reasons[0]


def test_a_champion_is_comparable_unless_it_learned_from_the_test_rows_or_needs_what_is_not_there() -> None:
    ours = tiny_scenario()  # test window of one day: a champion as of the 6th learned from what was before the 5th
    check_comparable(ours, "2013-05-06", ours, "2013-05-05")
    with pytest.raises(
        ConfigError, match=r"it learned from days before 2013-05-05, .* starts on 2013-05-04: keep windows"
    ):
        check_comparable(ours, "2013-05-06", ours, "2013-05-04")
    fewer = tiny_scenario(tasks={"purchase": DOCUMENT["tasks"]["purchase"]}, gate={})
    with pytest.raises(ConfigError, match="it needs the label column 'stars' as task 'rating'"):
        check_comparable(ours, "2013-05-02", fewer, "2013-05-05")
    check_comparable(fewer, "2013-05-02", ours, "2013-05-05")
    with pytest.raises(ConfigError, match=r"it needs the attributes .* of items"):
        check_comparable(ours, "2013-05-02", tiny_scenario(source__items=None), "2013-05-05")


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        ({"text": "plot"}, {}),
        ({"text": "plot"}, {"text": ["plot", "title"]}),
        ({"vectors": "clip"}, {"vectors": "bert"}),
    ],
)
def test_a_champion_of_other_item_content_is_not_comparable(theirs: dict[str, Any], own: dict[str, Any]) -> None:
    items = DOCUMENT["source"]["items"]
    champion, ours = (tiny_scenario(source__items={**items, **content}) for content in (theirs, own))
    (content,) = theirs
    with pytest.raises(ConfigError, match=rf"it needs source\.items\.{content} .*, this scenario has "):
        check_comparable(champion, "2013-05-02", ours, "2013-05-05")
    check_comparable(champion, "2013-05-02", champion, "2013-05-05")
    check_comparable(tiny_scenario(), "2013-05-02", ours, "2013-05-05")


# --------------------------------------------------------------------------------------- recommendations


def list_values(mine: float, other: float, users: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return metrics of lists whose means are close to the given ones."""
    rng = np.random.default_rng(seed)
    made = {CLUSTER: np.arange(users, dtype=np.int32), START: np.int32(0)}
    for name, mean in (("fusion", mine), ("popularity", other), ("als", other), ("champion", other)):
        made[f"{name}.ndcg"] = np.clip(mean + 0.1 * rng.standard_normal(users), 0, 1).astype(np.float32)
    return pd.DataFrame(made)


def judged_lists(
    rules: list[dict[str, Any]], values: pd.DataFrame | None, champion: Champion | None = None
) -> list[RuleResult]:
    rows = scored(champion=0.5)
    evidence = Evidence(scenario_of(lists=rules), evaluated(rows), rows, champion, values)
    return [rule for rule in evaluate_rules(evidence).rules if rule.kind == "lists"]


def test_by_default_recommendations_must_not_lose_to_popularity() -> None:
    scenario, rows = tiny_scenario(tasks=TASKS, gate={"absolute": ABSOLUTE, "replicates": 100}), scored()
    lost = evaluate_rules(Evidence(scenario, evaluated(rows), rows, None, list_values(0.3, 0.5)))
    assert lost.decision == "reject"
    assert lost.reasons[0].startswith(
        "ranking ndcg no worse than popularity's: fails, the difference is \N{MINUS SIGN}0."
    )
    assert lost.reasons[0].endswith("on 200 lists (positive is better)")
    assert str(next(rule.limit for rule in lost.rules if rule.kind == "lists")) == "0.0"  # -0.0 would be shown
    won = evaluate_rules(Evidence(scenario, evaluated(rows), rows, None, list_values(0.5, 0.3)))
    assert won.decision == "promote"


@pytest.mark.parametrize(
    ("rule", "mine", "passed"),
    [
        ({"beat": "als"}, 0.45, False),
        ({"beat": "als", "margin": 0.1}, 0.45, True),
        ({"beat": "als"}, 0.505, True),
        ({"beat": "als", "significant": True}, 0.505, False),
        ({"beat": "als", "significant": True}, 0.6, True),
    ],
)
def test_a_rule_on_recommendations_asks_for_the_difference_or_for_its_interval(
    rule: dict[str, Any], mine: float, passed: bool
) -> None:
    (result,) = judged_lists([rule], list_values(mine, 0.5, users=1000))
    assert result.passed is passed
    assert result.value is not None
    assert result.low is not None
    assert result.low < result.value


@pytest.mark.parametrize(
    ("rule", "values", "words"),
    [
        ({}, None, "there are no recommendations by popularity to compare with: the gate fails closed"),
        ({"beat": "rrf"}, list_values(0.5, 0.3), "there are no recommendations by rrf to compare with"),
        ({"metric": "mrr"}, list_values(0.5, 0.3), "there are no recommendations by popularity to compare with"),
        ({}, list_values(0.5, 0.3, users=0), "nothing can be compared on 0 lists"),
    ],
)
def test_a_rule_on_recommendations_without_evidence_fails(
    rule: dict[str, Any], values: pd.DataFrame | None, words: str
) -> None:
    (result,) = judged_lists([rule], values)
    assert not result.passed
    assert words in result.reason


def test_a_rule_against_the_champions_recommendations_needs_one_that_can_make_them() -> None:
    rule = [{"beat": "champion"}]
    assert judged_lists(rule, list_values(0.5, 0.3)) == []  # the first run has no champion
    champion = Champion("k" * 64, CHAMPION, {})
    (result,) = judged_lists(rule, list_values(0.3, 0.5), champion)
    assert result.rule == "ranking ndcg no worse than the champion's"
    assert not result.passed
    (result,) = judged_lists(rule, list_values(0.5, 0.3), replace(champion, lists_problem="its factors are gone"))
    assert not result.passed
    assert f"the champion of {CHAMPION} cannot make recommendations: its factors are gone" in result.reason
