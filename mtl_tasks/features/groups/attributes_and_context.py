"""Attributes of users and items and the context of a row, unchanged."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from mtl_tasks.core.feature_columns import ColumnKind, FeatureColumn, Subject, readable
from mtl_tasks.features.groups.base import FeatureGroup, GroupInputs
from mtl_tasks.features.interactions import IndexedRows
from mtl_tasks.scenario import Scenario


class AttributesAndContext(FeatureGroup):
    """Attributes as known before a row's day, and the row's context: numbers and ages, then categories."""

    any_day = True
    name = "attributes_and_context"

    def __init__(self, inputs: GroupInputs) -> None:
        self._users, self._items = inputs.user_attributes, inputs.item_attributes
        self._categories = inputs.events.categories

    @classmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """See :class:`FeatureGroup`."""
        numbers, categories, context = list[FeatureColumn](), list[FeatureColumn](), scenario.source.context
        sides: tuple[tuple[Subject, Any], ...] = (("user", scenario.source.users), ("item", scenario.source.items))
        for side, table in sides:
            if table is not None:
                numbers += [_column(side, name, "number") for name in table.numeric]
                numbers += [_column(side, name, "days") for name in table.times]
                categories += [_column(side, name, "category") for name in table.categorical]
        numbers += [_column("context", name, "number") for name in context.feature_numbers]
        return numbers + categories + [_column("context", name, "category") for name in context.categorical]

    @classmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """See :class:`FeatureGroup`."""
        return [cls(inputs)]

    def columns(self, rows: IndexedRows) -> dict[str, Any]:
        """See :class:`FeatureGroup`."""
        sides = (("user", self._users, rows.users), ("item", self._items, rows.items))
        columns: dict[str, Any] = {
            f"{side}.{name}": values.astype(np.float32)
            for side, about, codes in sides
            for name, values in about.numbers(codes, rows.days).items()
        }
        columns |= {f"context.{name}": values for name, values in rows.numbers.items()}
        for side, about, codes in sides:
            columns |= {f"{side}.{name}": values for name, values in about.categories(codes, rows.days).items()}
        for name, codes in rows.category_codes.items():
            columns[f"context.{name}"] = pd.Categorical.from_codes(codes, categories=self._categories[name])
        return columns


def _column(about: Subject, name: str, kind: ColumnKind) -> FeatureColumn:
    whose = "moment" if about == "context" else about
    return FeatureColumn(f"{about}.{name}", kind, f"{readable(name)} of the {whose}", about)
