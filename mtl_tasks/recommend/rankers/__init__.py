"""Rankers: what orders a user's candidates."""

from mtl_tasks.recommend.rankers.base import LabeledLists, Ranker, RankingRows
from mtl_tasks.recommend.rankers.fixed import (
    ALSRanker,
    DailyPopularityRanker,
    PopularityRanker,
    RRFRanker,
    UtilityRanker,
)
from mtl_tasks.recommend.rankers.softmax import SoftmaxRanker

__all__ = [
    "ALSRanker",
    "DailyPopularityRanker",
    "LabeledLists",
    "PopularityRanker",
    "RRFRanker",
    "Ranker",
    "RankingRows",
    "SoftmaxRanker",
    "UtilityRanker",
]
