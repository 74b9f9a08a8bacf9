"""Counts and recency keep the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.activity import Activity
from tests.contracts.feature_group import FeatureGroupContract


class TestActivity(FeatureGroupContract):
    group = Activity
