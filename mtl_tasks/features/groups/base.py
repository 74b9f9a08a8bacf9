"""Base class of feature groups, and the data they are built from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

import pandas as pd

from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.features.als import ItemFactors, Solver
from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.interactions import IndexedInteractions, IndexedRows
from mtl_tasks.features.running_sums import RunningSums, Translation
from mtl_tasks.features.state import GroupState
from mtl_tasks.scenario import Scenario

Group = TypeVar("Group", bound="FeatureGroup")


class FeatureGroup(ABC):
    """Features that share a state, which :meth:`advance` extends day by day.

    A class declares its columns, builds its groups from a log, and makes the columns. A class whose only state is
    running sums names them in :meth:`sums`; any other state needs :meth:`snapshot` and :meth:`restore`.
    """

    any_day: ClassVar[bool] = False
    """Whether :meth:`columns` takes rows of any days up to the last advance, instead of rows of that day only."""

    name: str
    """Name among the groups of a scenario; snapshots are stored under it."""

    @classmethod
    @abstractmethod
    def declare(cls, scenario: Scenario) -> list[FeatureColumn]:
        """Return the columns that the groups of this class make for a scenario, in their order."""

    @classmethod
    @abstractmethod
    def build(cls, inputs: GroupInputs) -> list[Self]:
        """Return the groups of this class, in the order of their columns."""

    @abstractmethod
    def columns(self, rows: IndexedRows) -> dict[str, Any]:
        """Return the declared columns of rows, by name.

        Values are numbers, (rows,), or a :class:`pandas.Categorical`. Rows are of the day of the last :meth:`advance`,
        and nothing at or after their day may enter.
        """

    def advance(self, day: int) -> None:
        """Add the data from before a day; days must not decrease. By default only windows of sums move on."""
        for sums in self.sums().values():
            sums.advance(day)

    def sums(self) -> dict[str, RunningSums]:
        """Return the running sums of the state by name; by default none."""
        return {}

    def axes(self) -> dict[str, pd.Index[Any]]:
        """Return the label of each code, by axis of :meth:`sums` other than ``all``, ``user`` and ``item``."""
        return {}

    def snapshot(self) -> GroupState:
        """Return the state before the day of the last :meth:`advance`."""
        return GroupState({name: sums.snapshot() for name, sums in self.sums().items()})

    def restore(self, state: GroupState, translation: Translation) -> None:
        """Resume from a snapshot; to be called before :meth:`advance`.

        Parameters
        ----------
        translation
            Axis to the code here of each code in the snapshot.
        """
        for name, sums in self.sums().items():
            sums.restore(state.sums[name], translation)


@dataclass(frozen=True)
class GroupInputs:
    """The data that groups are built from.

    Attributes
    ----------
    events
        Indexed interactions; a row may use only those before its day.
    positives
        The positive ones.
    user_attributes, item_attributes
        Attributes; a row may use only versions from before its day.
    factor_models
        Factor models by name, fitted on events before the earliest row's day.
    solvers
        Returns their solvers by name; it is called only if factors are used, since it looks for the device.
    since
        Data of earlier days come from a snapshot; None without one.
    """

    events: IndexedInteractions
    positives: IndexedInteractions
    user_attributes: AttributeLookup
    item_attributes: AttributeLookup
    factor_models: dict[str, ItemFactors]
    solvers: Callable[[], dict[str, Solver]]
    scenario: Scenario
    since: int | None = None
    _built: dict[type[FeatureGroup], list[Any]] = field(default_factory=dict, init=False, repr=False)

    def groups(self, kind: type[Group]) -> list[Group]:
        """Return the groups of a class, built once; ``build`` of another class calls it for groups that it reads."""
        if kind not in self._built:
            self._built[kind] = kind.build(self)
        groups: list[Group] = self._built[kind]
        return groups

    @property
    def built(self) -> list[FeatureGroup]:
        """All groups built so far, each after the groups that it reads."""
        return [group for groups in self._built.values() for group in groups]
