"""The sentence on the order of recommendations is that of the ranker that made them."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_tasks.report.order import order_sentence, utility_sentence
from mtl_tasks.scenario import Scenario, parse_scenario
from tests.support.projects import NAME, SCENARIO

WEIGHTS = {"log popular_7d": 0.2, "logit purchase": -0.9, "als": 0.001}


def scenario(**recommend: Any) -> Scenario:
    document = {"name": NAME, **SCENARIO, "recommend": {**SCENARIO["recommend"], **recommend}}
    return parse_scenario(document, where="a test")


@pytest.mark.parametrize(
    ("ranker", "weights", "told"),
    [
        ("popularity", {}, "an item's positive interactions in the last seven days; the predictions have no part"),
        ("popularity_1d", {}, "an item's positive interactions on the last day"),
        ("als", {}, "the ALS score"),
        ("rrf", {}, "the sum of 1 / (60 + rank)"),
        ("lambdarank", {}, "neither the utility nor the predictions have a part in it"),
        (
            "softmax",
            WEIGHTS,
            "−0.90 × log odds of purchase, +0.20 × log of the positive interactions in the last seven days.",
        ),
        ("softmax", {}, "its weights are not known"),
        ("stacked", {"lambdarank": 2.0}, "+2.00 × score of LambdaMART's trees."),
    ],
)
def test_each_ranker_has_a_sentence_of_its_own(ranker: str, weights: dict[str, float], told: str) -> None:
    sentence = order_sentence(scenario(), ranker, weights)
    assert sentence.startswith("Ordered by ")
    assert told in sentence
    assert "rules" not in sentence


def test_the_utility_says_what_sampled_negatives_make_of_a_prediction() -> None:
    sentence = order_sentence(scenario(), "utility", {})
    assert "utility = purchase" in sentence
    assert "purchase stands for the odds of its prediction × (positive interactions in the last seven days" in sentence


def test_the_utility_beside_a_recommendation_is_explained_unless_the_order_does() -> None:
    assert utility_sentence(scenario(), "utility") == ""
    told = utility_sentence(scenario(), "popularity")
    assert told.startswith("Beside each item, utility = purchase; purchase stands for the odds of its prediction")


def test_rules_that_change_the_order_are_named() -> None:
    ordered = order_sentence(scenario(reranking={"diversity": 0.3}), "popularity", {})
    assert ordered.endswith("The rules of recommend.reranking then change the order.")
