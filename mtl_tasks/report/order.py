"""The sentence that says what the recommendations of a run are ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mtl_tasks.core.top_lists import ALS, LOG, LOGIT, POPULAR, POPULAR_1D, RARE, RRF_OFFSET
from mtl_tasks.report.document import RunDocument
from mtl_tasks.report.labels import signed
from mtl_tasks.scenario import Scenario

_UNUSED: Final = "the predictions have no part in it"
_SUM: Final = "a weighted sum that was fitted to lists of earlier days"
_SENTENCES: Final = {
    "popularity": f"an item's positive interactions in the last seven days; {_UNUSED}",
    "popularity_1d": f"an item's positive interactions on the last day; {_UNUSED}",
    "als": f"the ALS score, the product of the user's and the item's preference factors; {_UNUSED}",
    "rrf": f"the sum of 1 / ({RRF_OFFSET} + rank) over an item's ranks by last week's positive interactions and by the "
    f"ALS score; {_UNUSED}",
    "softmax": f"{_SUM}; its weights are not known",
    "stacked": f"{_SUM}; its weights are not known",
    "lambdarank": "LambdaMART, trees over the features that were fitted to lists of earlier days; neither the utility "
    "nor the predictions have a part in it",
}
_SCORES: Final = {
    f"{LOG}{POPULAR}": "log of the positive interactions in the last seven days",
    f"{LOG}{POPULAR_1D}": "log of the positive interactions on the last day",
    ALS: "ALS score",
    "lambdarank": "score of LambdaMART's trees",
}


def order_sentence(scenario: Scenario, ranker: str, weights: Mapping[str, float]) -> str:
    """Return what a user's candidates are ordered by, largest first, and whether rules change the order afterward.

    Parameters
    ----------
    ranker
        Kind of the ranker, such as ``utility`` or ``softmax``.
    weights
        Weights of a fitted weighted sum by score, in standard deviations; empty for the other rankers.
    """
    rules = " The rules of recommend.reranking then change the order." if scenario.recommend.reranking.active else ""
    return f"Ordered by {_score(scenario, ranker, weights)}.{rules}"


def utility_sentence(scenario: Scenario, ranker: str) -> str:
    """Return how the utility beside a recommendation is computed; empty if the order is by it, and says so."""
    return "" if ranker == "utility" else f"Beside each item, {_utility(scenario)}."


def lift_sentence(parts: Mapping[str, float]) -> str | None:
    """Return by how much a candidate's score is above the mean candidate's, and what makes the difference.

    Parameters
    ----------
    parts
        Score to what it adds to the difference; empty for an order that is by no sum.

    >>> lift_sentence({"log popular_1d": 1.25, "als": -0.5, "rating": 0.001})
    '+0.75 against the mean candidate: +1.25 from the positive interactions on the last day, −0.50 from the ALS score'
    """
    largest = sorted(parts.items(), key=lambda part: -abs(part[1]))
    words = [f"{signed(amount, 2)} from {_plain_title(name)}" for name, amount in largest if round(amount, 2)]
    total = signed(sum(parts.values()), 2)
    return f"{total} against the mean candidate: {', '.join(words)}" if words else None


def _plain_title(name: str) -> str:
    return f"the {_title(name).removeprefix('log of the ')}"


def order_of(document: RunDocument) -> str:
    """Return what a run's recommendations are ordered by; runs without the stage ``rank`` have only the utility."""
    if document.rank is None:
        return order_sentence(document.scenario, "utility", {})
    chosen = document.rank.chosen
    return order_sentence(document.scenario, chosen, document.rank.rankers.get(chosen, {}).get("weights", {}))


def utility_of(document: RunDocument) -> str:
    """Return how the utility beside a run's recommendations is computed; empty if they are ordered by it."""
    return "" if document.rank is None else utility_sentence(document.scenario, document.rank.chosen)


def _score(scenario: Scenario, ranker: str, weights: Mapping[str, float]) -> str:
    if weights:
        return f"{_SUM} (weights in standard deviations): {_weighted(weights)}"
    return _SENTENCES.get(ranker) or _utility(scenario)


def _weighted(weights: Mapping[str, float]) -> str:
    """Return the parts of a weighted sum, the largest weight first, without those that weigh nothing."""
    parts = sorted(weights.items(), key=lambda part: -abs(part[1]))
    return ", ".join(f"{signed(weight, 2)} × {_title(name)}" for name, weight in parts if round(weight, 2))


def _title(name: str) -> str:
    if name.startswith(LOGIT):
        return f"log odds of {name.removeprefix(LOGIT)}"
    return _SCORES.get(name, f"prediction of {name}")


def _utility(scenario: Scenario) -> str:
    """Return the formula, and what a task with sampled negatives stands for in it; see the scorer's ``utility``."""
    parts = [f"utility = {scenario.utility}"]
    for name in scenario.formula.tasks:
        negatives = scenario.tasks[name].negatives
        if negatives is not None and negatives.how == "sampled" and negatives.power:
            power = "" if negatives.power == 1 else f" to the power of {negatives.power:g}"
            parts.append(
                f"{name} stands for the odds of its prediction × (positive interactions in the last seven days + "
                f"{RARE:g}){power}, because its negatives were sampled by popularity"
            )
        elif negatives is not None and negatives.how == "sampled":
            parts.append(f"{name} stands for the odds of its prediction")
    return "; ".join(parts)
