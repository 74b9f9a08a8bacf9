"""What is reported of the test window: by member, against the floor, by slice, and of the lists."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.evaluation.evaluate import (
    FLOOR,
    FUSION,
    LISTS,
    ListJudge,
    ScoredRows,
    calibration_of,
    evaluate_task,
    judged_people,
    list_target,
    slice_masks,
    taken_in_test,
)
from mtl_tasks.metrics.catalog import metrics_of
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.evaluation import UNKNOWN
from tests.support.logs import DOCUMENT, tiny_scenario
from tests.support.worlds import START, canonical, random_events

Kind = Literal["binary", "regression"]


def scored(kind: Kind = "binary", count: int = 300) -> ScoredRows:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(count)
    label = (truth + rng.standard_normal(count) > 0).astype(float) if kind == "binary" else truth
    noise = {FLOOR: 2.0, "als": 0.7, FUSION: 0.1}
    predictions = {name: truth + size * rng.standard_normal(count) for name, size in noise.items()}
    if kind == "binary":
        predictions = {name: 1 / (1 + np.exp(-values)) for name, values in predictions.items()}
    slices = {"cold_users": np.arange(count) < 50, "cold_items": np.zeros(count, dtype=bool)}
    return ScoredRows(rng.integers(0, 60, count), label, predictions, slices)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_every_member_and_the_fusion_have_every_metric_with_its_interval(kind: Kind) -> None:
    task, slices = evaluate_task(scored(kind), kind, 7)
    assert set(task.members) == {FLOOR, "als"}
    for entry in (*task.members.values(), task.fusion, slices["cold_users"].fusion):
        assert list(entry) == list(metrics_of(kind))
        for measure in entry.values():
            assert measure.bounds is not None
            assert measure.bounds[0] <= measure.bounds[1]
    assert task.rows == task.fusion[metrics_of(kind)[0]].rows == 300
    assert slices["cold_users"].rows == 50
    assert (task.positives is None) is (kind == "regression")
    to_json([task.to_json(), *(part.to_json() for part in slices.values())])


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_differences_to_the_floor_are_positive_when_better_and_paired(kind: Kind) -> None:
    task, _ = evaluate_task(scored(kind), kind, 7)
    assert set(task.versus_floor) == {"als", FUSION}
    for metric in metrics_of(kind)[:1]:
        against = task.versus_floor[FUSION][metric]
        mine, floor = task.fusion[metric], task.members[FLOOR][metric]
        assert against.value == pytest.approx(abs(mine.value - floor.value))
        assert 0 < against.low <= against.value <= against.high


def test_an_empty_slice_is_null_and_no_error() -> None:
    _, slices = evaluate_task(scored(), "binary", 7)
    assert slices["cold_items"].rows == 0
    assert slices["cold_items"].fusion["auc"] == UNKNOWN


def test_nan_predictions_are_null_in_every_metric() -> None:
    rows = scored()
    rows.predictions[FUSION][0] = np.nan
    task, _ = evaluate_task(rows, "binary", 7)
    assert {measure.value for measure in task.fusion.values()} == {None}
    assert {measure.value for measure in task.versus_floor[FUSION].values()} == {None}
    assert task.versus_floor["als"]["auc"].value is not None
    to_json(task.to_json())


def test_the_same_seed_gives_the_same_document() -> None:
    assert evaluate_task(scored(), "binary", 7) == evaluate_task(scored(), "binary", 7)
    assert evaluate_task(scored(), "binary", 7) != evaluate_task(scored(), "binary", 8)


def test_calibration_is_that_of_the_fusion() -> None:
    curve = calibration_of(scored())
    assert sum(entry.rows for entry in curve) == 300


@pytest.mark.faults(17)
def test_cold_is_who_or_what_was_never_met_before() -> None:
    masks = slice_masks(pd.DataFrame({"user.count": [0, 2, 0], "item.count": [1, 0, 0]}))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "cold_users": [True, False, True],
        "warm_users": [False, True, False],
        "cold_items": [False, True, True],
        "warm_items": [True, False, False],
    }


# --------------------------------------------------------------------------------------------------- lists


def purchases() -> Scenario:
    tasks = {name: DOCUMENT["tasks"][name] for name in ("rating", "purchase")}
    return tiny_scenario(tasks=tasks)


def test_the_target_of_lists_is_the_first_binary_task() -> None:
    assert list_target(tiny_scenario()) == "like"
    assert list_target(purchases()) == "purchase"
    assert list_target(tiny_scenario(tasks={"rating": DOCUMENT["tasks"]["rating"]})) is None


@pytest.mark.parametrize("scenario", [tiny_scenario(), purchases()], ids=["like", "purchase"])
def test_truth_is_what_users_known_before_took_from_the_start_on(scenario: Scenario) -> None:
    events = canonical(random_events(np.random.default_rng(1)))
    truth = taken_in_test(events, scenario, START + 4)
    known = set(events.loc[events[columns.DAY] < START + 4, columns.USER])
    later = events[events[columns.DAY] >= START + 4]
    if list_target(scenario) == "like":
        later = later[later[columns.label("like")] == 1]
    pairs = {pair for pair in zip(later[columns.USER], later[columns.ITEM], strict=True) if pair[0] in known}
    assert set(zip(truth[columns.USER], truth[columns.ITEM], strict=True)) == pairs
    assert len(truth) == len(pairs)


def candidates(user: int, scores: dict[int, float]) -> pd.DataFrame:
    scored = pd.DataFrame({columns.USER: user, columns.ITEM: list(scores), columns.DAY: np.int32(START)})
    return scored.assign(**{score: list(scores.values()) for score in LISTS.values()})


def judge_of(truth: list[tuple[int, int]], k: int = 2) -> ListJudge:
    frame = pd.DataFrame(truth, columns=[columns.USER, columns.ITEM], dtype="int64")
    return ListJudge(frame, frame[columns.USER].nunique(), np.array([1, 2, 3, 4]), k=k, seed=7)


def test_lists_are_scored_against_all_that_was_taken_reachable_or_not() -> None:
    lists = judge_of([(7, 1), (7, 9), (8, 3)])
    lists.add(candidates(7, {1: 0.9, 2: 0.5, 3: 0.1}))
    lists.add(candidates(8, {3: 0.1, 4: 0.9, 2: 0.8}))
    document = lists.document()
    assert set(document.lists) == set(LISTS)
    fusion = document.lists[FUSION]
    assert fusion["recall"].value == pytest.approx((1 / 2 + 0) / 2)
    assert fusion["map"].value == pytest.approx((1 / 2 + 0) / 2)
    assert fusion["ndcg"].value == pytest.approx(1 / (1 + 1 / np.log2(3)) / 2)
    assert fusion["coverage"].value == pytest.approx(3 / 4)  # items 1, 2 and 4 of four
    assert document.unreachable == pytest.approx(1 / 3)
    assert document.candidate_recall == pytest.approx(2 / 3)
    assert document.candidates_per_user == pytest.approx(3.0)
    assert (document.users, document.k) == (2, 2)


def test_a_user_without_candidates_counts_as_a_list_without_hits() -> None:
    lists = judge_of([(7, 1), (8, 3)])
    lists.add(candidates(7, {1: 0.9}))
    assert lists.document().lists[FUSION]["recall"].value == pytest.approx(0.5)


def test_without_users_to_judge_by_everything_is_null() -> None:
    document = judge_of([]).document()
    assert document.users == 0
    assert document.unreachable is None
    assert document.lists[FUSION]["ndcg"].value is None
    to_json(document.to_json())


def test_of_many_people_a_sample_is_judged_the_same_one_every_time() -> None:
    truth = pd.DataFrame({columns.USER: np.repeat(np.arange(50), 2), columns.ITEM: np.tile([1, 2], 50)})
    drawn = judged_people(truth, seed=7, most=20)
    assert drawn[columns.USER].nunique() == 20
    assert len(drawn) == 40
    pd.testing.assert_frame_equal(drawn, judged_people(truth, seed=7, most=20))
    assert set(drawn[columns.USER]) != set(judged_people(truth, seed=8, most=20)[columns.USER])
    assert judged_people(truth, seed=7, most=50) is truth
