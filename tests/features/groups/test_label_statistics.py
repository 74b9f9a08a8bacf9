"""Statistics of labels keep the contract."""

from __future__ import annotations

from mtl_tasks.features.groups.label_statistics import LabelStatistics
from tests.contracts.feature_group import FeatureGroupContract


class TestLabelStatistics(FeatureGroupContract):
    group = LabelStatistics
