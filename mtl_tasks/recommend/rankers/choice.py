"""Fits the rankers on training lists and chooses one by NDCG on lists of a later day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mtl_tasks.core.days import day_text
from mtl_tasks.core.top_lists import POPULAR
from mtl_tasks.models.calibration import user_folds
from mtl_tasks.recommend.rankers.base import LabeledLists, Ranker, Values
from mtl_tasks.recommend.rankers.fixed import (
    ALSRanker,
    DailyPopularityRanker,
    PopularityRanker,
    RRFRanker,
    UtilityRanker,
)
from mtl_tasks.recommend.rankers.lambdarank import LambdaRanker
from mtl_tasks.recommend.rankers.softmax import SoftmaxRanker
from mtl_tasks.recommend.rankers.stacked import StackedRanker
from mtl_tasks.recommend.training_lists import NEGATIVES, DayLists, ListDays, ndcg
from mtl_tasks.scenario import RANKERS, RankerName, Scenario
from mtl_tasks.store.documents.rank import RankDocument, RankerEvidence, TrainingDay

log = logging.getLogger(__name__)

FALLBACK: Final = "popularity"  # which the gate compares with: it cannot be worse than itself
FEWEST: Final = 20  # lists with a relevant candidate on the blend window's first day to fit a few weights on
FIXED: Final[dict[RankerName, Callable[[], Ranker]]] = {
    "utility": UtilityRanker,
    "popularity": PopularityRanker,
    "popularity_1d": DailyPopularityRanker,
    "als": ALSRanker,
    "rrf": RRFRanker,
}
LOADERS: Final[dict[str, Callable[..., Ranker]]] = {
    **{name: made.load for name, made in FIXED.items()},  # type: ignore[attr-defined]
    "softmax": SoftmaxRanker.load,
    "lambdarank": LambdaRanker.load,
    "stacked": StackedRanker.load,
}


@dataclass(frozen=True)
class FittedRankers:
    """All rankers that could be fitted, and the document of the choice."""

    rankers: dict[str, Ranker]
    document: RankDocument

    @property
    def chosen(self) -> Ranker:
        """The ranker that orders the recommendations."""
        return self.rankers[self.document.chosen]


def fit_rankers(days: ListDays, early: list[DayLists], blend: DayLists | None, scenario: Scenario) -> FittedRankers:
    """Fit every ranker and choose one.

    Parameters
    ----------
    early
        Lists of days whose horizons end before the blend window; LambdaMART learns from them, and stops early on the
        last of them.
    blend
        Lists of the first day of the blend window, with the predictions of members that had not seen it.
    """
    if blend is not None and len(blend.lists) < FEWEST:
        blend = None
    rankers: dict[str, Ranker] = {name: make() for name, make in FIXED.items()}
    left_out: dict[str, str] = {}
    scores: dict[str, Values] = {}
    if blend is None:
        why = f"fewer than {FEWEST} lists at the start of the blend window have a relevant candidate"
        left_out = dict.fromkeys(("softmax", "lambdarank", "stacked"), why)
    else:
        scores = {name: ranker.scores(blend.lists.rows) for name, ranker in rankers.items()}
        _fit_learned(rankers, left_out, scores, early, blend, scenario)
    return FittedRankers(rankers, _document(days, early, blend, scenario, scores, left_out, rankers))


def _fit_learned(
    rankers: dict[str, Ranker],
    left_out: dict[str, str],
    scores: dict[str, Values],
    early: list[DayLists],
    blend: DayLists,
    scenario: Scenario,
) -> None:
    """Add the fitted rankers, and their out-of-fold scores of the blend window's lists."""
    full, lists = blend.lists, blend.lists.without_features()
    rankers["softmax"] = SoftmaxRanker.fit(lists, scenario)
    scores["softmax"] = _cross_fitted(
        lists, lambda fit, held_out: SoftmaxRanker.fit(fit, scenario).scores(held_out.rows)
    )
    trees = _trees(early, left_out, scenario)
    if trees is None:
        return
    scores["lambdarank"] = made = trees.scores(full.rows)

    def stacked(fit: LabeledLists, held_out: LabeledLists, fit_rows: Values, held_out_rows: Values) -> Values:
        return StackedRanker.fit(fit, trees, fit_rows, scenario).combined(held_out.rows, held_out_rows)

    scores["stacked"] = _cross_fitted(lists, stacked, made)
    filled = [day.lists for day in early if len(day.lists)]
    thinned = full.thinned(NEGATIVES, np.random.default_rng(scenario.seed))
    refitted = LambdaRanker.fit([*filled, thinned], None, scenario, trees.rounds)
    rankers["lambdarank"] = refitted
    rankers["stacked"] = StackedRanker.fit(lists, trees, made, scenario).with_trees(refitted)


def _trees(early: list[DayLists], left_out: dict[str, str], scenario: Scenario) -> LambdaRanker | None:
    """Fit LambdaMART on the early days, with the number of trees that is best on the last of them."""
    early = [day for day in early if len(day.lists)]
    least, found = scenario.recommend.ranking.min_lists, sum(len(day.lists) for day in early)
    if len(early) < 2 or found < least:
        why = (
            f"{found:,} lists of {len(early)} days before the blend window have a relevant candidate, at least "
            f"{least:,} of 2 days are needed (recommend.ranking)"
        )
        left_out |= {"lambdarank": why, "stacked": why}
        return None
    lists = [day.lists for day in early]
    rounds = LambdaRanker.fit(lists[:-1], lists[-1], scenario).rounds
    return LambdaRanker.fit(lists, None, scenario, max(rounds, 1))


def _cross_fitted(lists: LabeledLists, predict: Callable[..., Values], *columns: Values) -> Values:
    """Score each fold of users by a ranker fitted on the others, float64 (n,).

    Parameters
    ----------
    predict
        Takes the lists to fit on, those to score, and both parts of each of ``columns``.
    """
    fold = user_folds(lists.users)
    made = np.full(len(lists.gain), np.nan)
    for number in np.unique(fold):
        held_out = fold == number
        rows = held_out[lists.lists]
        parts = [part for column in columns for part in (column[~rows], column[rows])]
        made[rows] = predict(lists.where(~held_out), lists.where(held_out), *parts)
    return made


def _document(
    days: ListDays,
    early: list[DayLists],
    blend: DayLists | None,
    scenario: Scenario,
    scores: dict[str, Values],
    left_out: dict[str, str],
    rankers: dict[str, Ranker],
) -> RankDocument:
    settings = scenario.recommend
    chosen, note, degraded = _choose(blend, scores, left_out, scenario)
    if degraded:
        log.warning("%s: rank: %s", scenario.name, note)
    return RankDocument(
        chosen=chosen,
        requested=settings.ranker,
        note=note,
        degraded=degraded,
        k=settings.top_k,
        target=scenario.target,
        gains={task: settings.gains.get(task, 1.0) for task in scenario.target},
        horizon_days=days.horizon,
        blend=None if blend is None else _training_day(blend),
        early=tuple(map(_training_day, early)),
        evidence={} if blend is None else _evidence(blend, scores, chosen, settings.top_k),
        left_out=left_out,
        rankers={name: ranker.describe() for name, ranker in rankers.items()},
    )


def _choose(
    blend: DayLists | None, scores: dict[str, Values], left_out: dict[str, str], scenario: Scenario
) -> tuple[str, str, bool]:
    """Return the chosen ranker, why, and whether something was missing."""
    requested = scenario.recommend.ranker
    if requested != "auto":
        if requested in left_out:
            return (
                FALLBACK,
                f"{requested} was requested and not fitted: {left_out[requested]}; {FALLBACK} instead",
                True,
            )
        return requested, f"{requested}, as requested", False
    if blend is None:
        return FALLBACK, f"nothing to choose by: {next(iter(left_out.values()))}; {FALLBACK} instead", True
    quality = {name: _mean_ndcg(blend, made, scenario.recommend.top_k) for name, made in scores.items()}
    best = max((name for name in RANKERS if name in quality), key=lambda name: quality[name])
    where = f"lists of {blend.users:,} users as of {day_text(blend.day)}"
    return best, f"{best} had the best NDCG at {scenario.recommend.top_k}, {quality[best]:.4f}, on {where}", False


def _mean_ndcg(blend: DayLists, score: Values, k: int) -> float:
    return float(_ndcg(blend.lists, score, k).sum() / blend.users)


def _ndcg(lists: LabeledLists, score: Values, k: int) -> Values:
    return ndcg(lists, score, k, lists.rows.scored[POPULAR].to_numpy(dtype=np.float64))


def _evidence(blend: DayLists, scores: dict[str, Values], chosen: str, k: int) -> dict[str, RankerEvidence]:
    per_list = {name: _ndcg(blend.lists, made, k) for name, made in scores.items()}
    made = {}
    for name, values in sorted(per_list.items(), key=lambda entry: -entry[1].sum()):
        difference = values - per_list[chosen]
        mean = difference.sum() / blend.users
        # Users without a relevant candidate have a difference of 0.
        variance = ((difference - mean) ** 2).sum() + (blend.users - len(difference)) * mean**2
        error = float(np.sqrt(variance)) / blend.users
        made[name] = RankerEvidence(
            ndcg=round(float(values.sum()) / blend.users, 6),
            difference=round(float(mean), 6),
            standard_error=round(error, 6),
        )
    return made


def _training_day(day: DayLists) -> TrainingDay:
    return TrainingDay(day=day_text(day.day), users=day.users, lists=len(day.lists))
