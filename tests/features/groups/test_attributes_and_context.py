"""Attributes and context keep the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.attributes_and_context import AttributesAndContext
from tests.contracts.feature_group import FeatureGroupContract


class TestAttributesAndContext(FeatureGroupContract):
    group = AttributesAndContext
