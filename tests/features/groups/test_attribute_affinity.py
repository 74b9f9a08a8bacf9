"""Tastes by attribute keep the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.attribute_affinity import AttributeTastes
from tests.contracts.feature_group import FeatureGroupContract


class TestAttributeTastes(FeatureGroupContract):
    group = AttributeTastes
