"""The ranker is chosen on a later day than those it was fitted on, and what is missing is said."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from mtl_tasks.core.top_lists import ALS, POPULAR, UTILITY
from mtl_tasks.recommend.rankers.choice import fit_rankers
from mtl_tasks.recommend.training_lists import DayLists, ListDays
from mtl_tasks.scenario import RANKERS, Scenario
from mtl_tasks.store.documents.rank import RankDocument
from tests.contracts.ranker import draw_lists, ranking_scenario

DAYS = ListDays(early=(15_780, 15_790), blend=15_800, horizon=10)


def day(seed: int, users: int = 60) -> DayLists:
    return DayLists(15_780 + seed, users + 5, draw_lists(seed, users=users))


def with_ranker(name: str, scenario: Scenario | None = None) -> Scenario:
    scenario = scenario or ranking_scenario()
    recommend = scenario.recommend.model_copy(update={"ranker": name})
    return scenario.model_copy(update={"recommend": recommend})


def test_the_best_ranker_on_the_blend_window_is_chosen_and_its_evidence_recorded() -> None:
    made = fit_rankers(DAYS, [day(1), day(2)], day(3), ranking_scenario())
    document = made.document
    assert document.chosen == document.ranked[0][0]
    assert set(document.evidence) == set(RANKERS)
    best = document.evidence[document.chosen]
    assert (best.difference, best.standard_error) == (0.0, 0.0)
    assert all(one.ndcg <= best.ndcg for one in document.evidence.values())
    assert document.evidence["popularity"].difference == pytest.approx(
        document.evidence["popularity"].ndcg - best.ndcg, abs=2e-6
    )
    assert not document.degraded
    assert document.blend is not None
    assert (document.blend.users, document.blend.lists) == (65, 60)
    assert RankDocument.parse(document.to_stored(), "rank") == document


def test_the_mean_counts_users_without_a_relevant_candidate() -> None:
    few = replace(day(3), users=120)
    one, two = (fit_rankers(DAYS, [], blend, ranking_scenario()).document for blend in (day(3), few))
    assert two.evidence["utility"].ndcg == pytest.approx(one.evidence["utility"].ndcg * 65 / 120, abs=1e-5)


def test_the_weights_are_judged_on_users_that_they_have_not_seen() -> None:
    """With gains at random, cross-fitted weights are no better than chance, though fitted ones would be."""
    rng = np.random.default_rng(0)
    lists = draw_lists(3, users=300)
    random = np.zeros((300, 12), dtype=np.float32)
    random[np.arange(300), rng.integers(12, size=300)] = 1.0
    blend = DayLists(15_800, 300, replace(lists, gain=random.ravel()))
    evidence = fit_rankers(DAYS, [], blend, ranking_scenario()).document.evidence
    chance = float((1 / np.log2(np.arange(3) + 2)).sum() / 12)
    assert evidence["softmax"].ndcg == pytest.approx(chance, abs=0.05)


@pytest.mark.parametrize("name", ["utility", "popularity", "als", "rrf", "softmax", "lambdarank", "stacked"])
def test_a_requested_ranker_is_taken(name: str) -> None:
    made = fit_rankers(DAYS, [day(1), day(2)], day(3), with_ranker(name))
    assert (made.document.chosen, made.document.note) == (name, f"{name}, as requested")
    assert made.chosen.kind == name


def test_too_few_lists_leave_lambdarank_out_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    scenario = ranking_scenario()
    ranking = scenario.recommend.ranking.model_copy(update={"min_lists": 500})
    recommend = scenario.recommend.model_copy(update={"ranking": ranking})
    scenario = scenario.model_copy(update={"recommend": recommend})
    document = fit_rankers(DAYS, [day(1), day(2)], day(3), scenario).document
    assert set(document.left_out) == {"lambdarank", "stacked"}
    assert (
        "120 lists of 2 days before the blend window have a relevant candidate, at least 500"
        in (document.left_out["lambdarank"])
    )
    assert document.chosen in ("softmax", "als", "utility", "rrf", "popularity", "popularity_1d")
    with caplog.at_level(logging.WARNING):
        document = fit_rankers(DAYS, [day(1), day(2)], day(3), with_ranker("lambdarank", scenario)).document
    assert (document.chosen, document.degraded) == ("popularity", True)
    assert "lambdarank was requested and not fitted: 120 lists" in caplog.text


@pytest.mark.parametrize("blend", [None, day(3, users=19)])
def test_without_lists_to_choose_by_popularity_orders_and_that_is_said(
    blend: DayLists | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = fit_rankers(DAYS, [day(1), day(2)], blend, ranking_scenario())
    assert made.document.chosen == "popularity"
    assert made.document.degraded
    assert "nothing to choose by: fewer than 20 lists" in made.document.note
    assert made.document.note in caplog.text
    assert set(made.rankers) == {"utility", "popularity", "popularity_1d", "als", "rrf"}


def test_of_equally_good_rankers_the_simplest_is_chosen() -> None:
    lists = draw_lists(3)
    scored = lists.rows.scored.assign(**{POPULAR: 1.0, ALS: 0.0, UTILITY: 0.0})
    blend = DayLists(15_800, 40, replace(lists, rows=replace(lists.rows, scored=scored), gain=lists.gain * 0 + 1))
    document = fit_rankers(DAYS, [], blend, ranking_scenario()).document
    assert document.chosen == "utility"


def test_a_day_without_a_teaching_list_is_left_out_of_the_trees() -> None:
    empty = DayLists(15_781, 40, draw_lists(1).where(np.zeros(40, dtype=np.bool_)))
    document = fit_rankers(DAYS, [empty, day(1)], day(3), ranking_scenario()).document
    assert "60 lists of 1 days before the blend window" in document.left_out["lambdarank"]
    made = fit_rankers(DAYS, [day(1), empty, day(2)], day(3), ranking_scenario())
    assert {"lambdarank", "stacked"} <= set(made.rankers)
