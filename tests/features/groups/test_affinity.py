"""Factors of users and items keep the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.affinity import Affinity
from tests.contracts.feature_group import FeatureGroupContract


class TestAffinity(FeatureGroupContract):
    group = Affinity
