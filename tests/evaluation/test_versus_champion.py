"""The candidate is measured beside the champion, on the same rows, in every metric and slice."""

from __future__ import annotations

import pandas as pd
import pytest

from mtl_tasks.evaluation.gate import Champion, Evidence
from mtl_tasks.evaluation.lists import CLUSTER, START
from mtl_tasks.evaluation.versus_champion import compare_with_champion
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.store.documents.versus_champion import VersusChampion
from tests.evaluation.test_gate import CHAMPION, evaluated, scenario_of, scored


def evidence(champion: float | None = 0.8, problem: str | None = None) -> Evidence:
    rows = scored(champion=champion)
    met = Champion("k" * 64, CHAMPION, {}, problem)
    return Evidence(scenario_of(), evaluated(rows), rows, met)


def test_every_metric_of_every_task_has_both_values_and_a_paired_gain() -> None:
    given = evidence()
    found = compare_with_champion(given)
    assert found is not None
    assert (found.run_key, found.as_of, found.problem) == ("k" * 64, CHAMPION, None)
    assert set(found.tasks["rating"].metrics) == {"rmse", "mae"}
    assert set(found.tasks["purchase"].metrics) == {"auc", "pr_auc", "log_loss", "calibration_error"}
    rating, rows = found.tasks["rating"].metrics["rmse"], given.rows["rating"]
    assert rating.candidate == pytest.approx(compute("rmse", rows.label, rows.predictions["fusion"]))
    assert rating.champion == pytest.approx(compute("rmse", rows.label, rows.predictions["champion"]))
    assert rating.gain.value == pytest.approx(rating.champion - rating.candidate)
    assert rating.gain.bounds is not None
    assert 0 < rating.gain.bounds[0] < rating.gain.value < rating.gain.bounds[1]
    assert VersusChampion.parse(found.to_stored(), "versus_champion.json") == found


def test_slices_have_the_primary_metric_and_an_empty_one_has_no_value() -> None:
    found = compare_with_champion(evidence())
    assert found is not None
    slices = found.tasks["purchase"].slices
    assert set(slices) == {"cold_users", "warm_users", "cold_items"}
    assert set(slices["cold_users"]) == {"auc"}
    assert slices["cold_users"]["auc"].gain.rows == 180
    assert slices["cold_items"]["auc"].candidate is None


def test_a_champion_that_did_not_score_has_its_reason_and_no_task() -> None:
    found = compare_with_champion(evidence(champion=None, problem="it lacks a column"))
    assert found is not None
    assert (found.problem, found.tasks) == ("it lacks a column", {})


def test_without_a_champion_there_is_nothing_to_compare() -> None:
    given = evidence()
    assert compare_with_champion(Evidence(given.scenario, given.evaluation, given.rows)) is None


def test_recommendations_are_compared_where_the_champions_were_made() -> None:
    given = evidence()
    values = pd.DataFrame({CLUSTER: range(40), START: 0, "fusion.ndcg": 0.3, "champion.ndcg": 0.2})
    found = compare_with_champion(Evidence(given.scenario, given.evaluation, given.rows, given.champion, values))
    assert found is not None
    assert set(found.lists) == {"ndcg"}
    pair = found.lists["ndcg"]
    assert (pair.candidate, pair.champion, pair.gain.value) == pytest.approx((0.3, 0.2, 0.1))
