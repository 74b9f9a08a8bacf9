"""Co-occurrence keeps the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from tests.contracts.feature_group import FeatureGroupContract


class TestCoOccurrence(FeatureGroupContract):
    group = CoOccurrence
