"""Candidate sources: each offers some items to each user, and the union of what they offer is ranked."""

from mtl_tasks.recommend.sources.attributes import AttributeMatch
from mtl_tasks.recommend.sources.co_occurrence import CoOccurring
from mtl_tasks.recommend.sources.content import NearestByContent
from mtl_tasks.recommend.sources.ease import Ease
from mtl_tasks.recommend.sources.factors import NearestByFactors
from mtl_tasks.recommend.sources.item_item import ItemNeighbors
from mtl_tasks.recommend.sources.new_items import NewItems
from mtl_tasks.recommend.sources.popular import Popular
from mtl_tasks.recommend.sources.repeats import Repeats
from mtl_tasks.recommend.sources.source import Pairs, PastPositives, Source
from mtl_tasks.recommend.sources.two_tower import NearestByTowers

__all__ = [
    "AttributeMatch",
    "CoOccurring",
    "Ease",
    "ItemNeighbors",
    "NearestByContent",
    "NearestByFactors",
    "NearestByTowers",
    "NewItems",
    "Pairs",
    "PastPositives",
    "Popular",
    "Repeats",
    "Source",
]
