"""The sentence on the order of recommendations is that of the ranker that made them."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_tasks.pipeline.order import order_sentence
from mtl_tasks.recommend.rankers import (
    ALSRanker,
    DailyPopularityRanker,
    PopularityRanker,
    Ranker,
    RRFRanker,
    SoftmaxRanker,
    UtilityRanker,
)
from mtl_tasks.recommend.rankers.lambdarank import LambdaRanker
from mtl_tasks.recommend.rankers.stacked import StackedRanker
from mtl_tasks.scenario import Scenario, parse_scenario
from tests.support.projects import NAME, SCENARIO

WEIGHTS = {"log popular_7d": 0.2, "logit purchase": -0.9, "als": 0.001}


def scenario(**recommend: Any) -> Scenario:
    document = {"name": NAME, **SCENARIO, "recommend": {**SCENARIO["recommend"], **recommend}}
    return parse_scenario(document, where="a test")


def trees() -> LambdaRanker:
    return LambdaRanker(None, None, 3, 10, 1)  # type: ignore[arg-type] # the sentence reads no tree


@pytest.mark.parametrize(
    ("ranker", "told"),
    [
        (PopularityRanker(), "an item's positive interactions in the last seven days; the predictions have no part"),
        (DailyPopularityRanker(), "an item's positive interactions on the last day"),
        (ALSRanker(), "the ALS score"),
        (RRFRanker(), "the sum of 1 / (60 + rank)"),
        (trees(), "neither the utility nor the predictions have a part in it"),
        (
            SoftmaxRanker(WEIGHTS, WEIGHTS, 40),
            "−0.90 × log odds of purchase, +0.20 × log of the positive interactions in the last seven days.",
        ),
        (
            StackedRanker(trees(), {"lambdarank": 2.0}, {"lambdarank": 2.0}, 40),
            "+2.00 × score of LambdaMART's trees.",
        ),
    ],
)
def test_each_ranker_has_a_sentence_of_its_own(ranker: Ranker, told: str) -> None:
    sentence = order_sentence(scenario(), ranker)
    assert sentence.startswith("Ordered by ")
    assert told in sentence
    assert "rules" not in sentence


def test_the_utility_says_what_sampled_negatives_make_of_a_prediction() -> None:
    sentence = order_sentence(scenario(), UtilityRanker())
    assert "utility = purchase" in sentence
    assert "purchase stands for the odds of its prediction × (positive interactions in the last seven days" in sentence


def test_rules_that_change_the_order_are_named() -> None:
    ordered = order_sentence(scenario(reranking={"diversity": 0.3}), PopularityRanker())
    assert ordered.endswith("The rules of recommend.reranking then change the order.")
