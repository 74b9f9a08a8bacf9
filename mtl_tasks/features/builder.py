"""All features of a table of rows, and the factor models they use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.features.als import (
    ExplicitALS,
    ImplicitALS,
    Interactions,
    ItemFactors,
    Solver,
    extend_item_factors,
    fit_item_factors,
)
from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.groups import GROUPS
from mtl_tasks.features.groups.affinity import TASTE, Affinity, FittedFactors, level_name
from mtl_tasks.features.groups.base import GroupInputs
from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from mtl_tasks.features.groups.content import ItemContent
from mtl_tasks.features.groups.label_statistics import LabelStatistics
from mtl_tasks.features.interactions import (
    Codes,
    IndexedInteractions,
    IndexedRows,
    encode,
    positive_confidence,
    positive_interactions,
)
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.scenario import Scenario

FactorModels = dict[str, ItemFactors]


@dataclass(frozen=True)
class Tables:
    """Attribute tables of users and items, as published by the stage ``validate``."""

    users: pd.DataFrame
    items: pd.DataFrame


def solvers(scenario: Scenario) -> dict[str, Solver]:
    """Return the solvers of a scenario's factor models: ``taste``, and ``level:<task>`` for every regression."""
    settings = scenario.factors
    taste = ImplicitALS(
        settings.dimensions,
        settings.iterations,
        settings.regularization,
        warm_iterations=settings.warm_iterations,
        device=settings.device,
        threads=scenario.boosting.threads,
        seed=scenario.seed,
    )
    made: dict[str, Solver] = {TASTE: taste}
    for task in scenario.tasks_of("regression"):
        made[level_name(task)] = ExplicitALS(
            task,
            settings.rating_dimensions,
            settings.rating_iterations,
            settings.rating_regularization,
            warm_iterations=settings.warm_iterations,
            seed=scenario.seed,
        )
    return made


def warm_startable(earlier: FactorModels, scenario: Scenario) -> tuple[FactorModels, list[str]]:
    """Return the factor models of an earlier run that this scenario's can start from, and a sentence for each other."""
    chosen, problems = {}, []
    for name, solver in solvers(scenario).items():
        if name not in earlier:
            problems.append(f"factors {name!r}: the earlier run has none of that name, fitted from scratch")
        elif (has := earlier[name].vectors.shape[1]) != solver.dimensions:
            problems.append(
                f"factors {name!r}: the earlier run's have {has} dimensions, the scenario asks for "
                f"{solver.dimensions}: fitted from scratch"
            )
        else:
            chosen[name] = earlier[name]
    return chosen, problems


def fit_factor_models(
    events: pd.DataFrame, scenario: Scenario, start: int, end: int, earlier: FactorModels | None = None
) -> FactorModels:
    """Fit every factor model on the events before ``start`` and fold new items in until ``end``.

    Parameters
    ----------
    earlier
        Factors of an earlier run to warm-start from, of the scenario's dimensions (see :func:`warm_startable`).

    Raises
    ------
    DataError
        If a model has nothing to learn from before ``start``, or the item ids of ``earlier`` have another type.
    """
    coded, interactions = _learned_from(events, scenario, end)
    _refuse_other_ids(earlier or {}, coded.item_ids)
    for name, learned_from in interactions.items():
        if not len(learned_from.before(start).days):
            raise _nothing_to_learn(name, coded, scenario, start)
    days, known = scenario.factors.refresh_days, earlier or {}
    return {
        name: fit_item_factors(solver, interactions[name], start, end, days, known.get(name))
        for name, solver in solvers(scenario).items()
    }


def extend_factor_models(
    factor_models: FactorModels, events: pd.DataFrame, scenario: Scenario, end: int, since: int | None = None
) -> FactorModels:
    """Fold new items into an earlier run's factors until a later ``end``; items in history keep their vectors.

    The projections of texts and given vectors stay as they are: new items need no fold-in.

    Parameters
    ----------
    since
        Refresh day up to which the factors were extended, on the same events; by default they are extended from their
        start.

    Raises
    ------
    DataError
        If the item ids of the factors and of the events differ in type.
    """
    coded, interactions = _learned_from(events, scenario, end)
    _refuse_other_ids(
        {name: item_factors for name, item_factors in factor_models.items() if name in interactions}, coded.item_ids
    )
    days = scenario.factors.refresh_days
    known = (
        {name: item_factors.fitted() for name, item_factors in factor_models.items()}
        if since is None
        else factor_models
    )
    return {
        name: extend_item_factors(solver, known[name], interactions[name], end, days, since)
        for name, solver in solvers(scenario).items()
    } | {name: item_factors for name, item_factors in factor_models.items() if name not in interactions}


class FeatureMaker:
    """Features of rows, day by day, from the log before each day and the factors of that day.

    Parameters
    ----------
    events
        Indexed interactions; a row uses only those before its day.
    tables
        Attributes of users and items; a row uses only versions from before its day.
    factor_models
        From :func:`fit_factor_models` and, for texts and given vectors,
        :func:`~mtl_tasks.features.content.fit_content`; they must have been fitted on events before the earliest row's
        day.
    memory
        Snapshot of another maker with the same events, tables and settings; days before it are not counted again.
    """

    def __init__(
        self,
        events: IndexedInteractions,
        tables: Tables,
        factor_models: FactorModels,
        scenario: Scenario,
        memory: FeatureSnapshot | None = None,
    ) -> None:
        source = scenario.source
        self.events = events
        self.positives = positive_interactions(events, scenario)
        self.user_attributes = AttributeLookup.prepare(tables.users, source.users, columns.USER, events.user_ids)
        self.about_items = AttributeLookup.prepare(tables.items, source.items, columns.ITEM, events.item_ids)
        self._scenario, self._day = scenario, 0
        self._inputs = GroupInputs(
            events,
            self.positives,
            self.user_attributes,
            self.about_items,
            factor_models,
            partial(solvers, scenario),
            scenario,
            None if memory is None else memory.day,
        )
        self.groups = tuple(group for kind in GROUPS for group in self._inputs.groups(kind))
        if memory is not None:
            self._restore(memory)

    @property
    def taste(self) -> FittedFactors:
        """The preference factors."""
        return self._inputs.groups(Affinity)[0].taste

    @property
    def contents(self) -> list[ItemContent]:
        """The texts and the given vectors of the items, as far as the scenario has them."""
        return self._inputs.groups(ItemContent)

    @property
    def co_occurrence(self) -> CoOccurrence:
        """The co-occurrence of items."""
        return self._inputs.groups(CoOccurrence)[0]

    def advance(self, day: int) -> None:
        """Add the data from before a day.

        Raises
        ------
        ValueError
            If a later day was added before: it cannot be removed.
        """
        if day < self._day:
            raise ValueError(f"day {day} is before day {self._day}, which was already added")
        for group in self._inputs.built:  # a group reads those before it
            group.advance(day)
        self._day = day

    def memory(self) -> FeatureSnapshot:
        """Return a snapshot of the statistics before the day of the last :meth:`advance`."""
        return FeatureSnapshot(self._day, self._axes(), {group.name: group.snapshot() for group in self.groups})

    def _restore(self, memory: FeatureSnapshot) -> None:
        translation = memory.translation(self._axes())
        for group in self.groups:
            group.restore(memory.groups[group.name], translation)
        self._day = memory.day

    def _axes(self) -> dict[str, pd.Index[Any]]:
        """Return the label of each code, by key axis."""
        axes = {"all": pd.Index([""]), "user": pd.Index(self.events.user_ids), "item": pd.Index(self.events.item_ids)}
        for group in self.groups:
            axes |= group.axes()
        return axes

    def make(self, rows: IndexedRows) -> pd.DataFrame:
        """Return the features of rows in any order, none before the last :meth:`advance`; see `build_features`."""
        made: dict[str, Any] = {}
        for day in np.unique(rows.days):
            positions = np.flatnonzero(rows.days == day)
            self.advance(int(day))
            users = rows.users[positions]
            if (
                len(positions) == len(rows) and (users[1:] >= users[:-1]).all()
            ):  # candidates of a day: nothing to reorder
                made |= {name: values.astype(np.float32, copy=False) for name, values in self._of_day(rows).items()}
                continue
            # By user: lookups are then adjacent in memory, which at ten million events saves a fifth of the time.
            positions = positions[np.argsort(users, kind="stable")]
            for name, values in self._of_day(rows.at(positions)).items():
                made.setdefault(name, np.empty(len(rows), dtype=np.float32))[positions] = values
        for group in self.groups:
            if group.any_day:
                made = _joined(made, group.columns(rows), self._scenario)
        return pd.DataFrame(made, copy=False)

    def _of_day(self, rows: IndexedRows) -> dict[str, Any]:
        """Return the columns of the groups that make them day by day."""
        made: dict[str, Any] = {}
        for group in self.groups:
            if not group.any_day:
                made |= group.columns(rows)
        return made


def build_features(
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    factor_models: FactorModels,
    scenario: Scenario,
    memory: FeatureSnapshot | None = None,
) -> pd.DataFrame:
    """Return the features of rows.

    Parameters
    ----------
    events
        Canonical interactions; a row uses only those before its day.
    tables
        Attributes of users and items; a row uses only versions from before its day.
    rows
        user, item, day and the scenario's context; other columns are ignored.
    factor_models
        As :class:`FeatureMaker` takes them.
    memory
        Snapshot from the earliest row's day or before, of these events and tables; by default everything is counted.

    Returns
    -------
    pandas.DataFrame
        float32, then categorical columns, aligned with ``rows``; NaN where nothing is known. Column names have the form
        ``<whose>.<what>``, for example ``item.count_7d`` or ``user_x_genres.share``.

    Raises
    ------
    ConfigError
        If an attribute has the name of a built-in feature.
    """
    coded, coded_rows = encode(events, rows, scenario)
    return FeatureMaker(coded, tables, factor_models, scenario, memory).make(coded_rows)


def _joined(made: dict[str, Any], given: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Add columns to those made so far; refuse a name, chosen by the scenario, that is already taken."""
    for name in given:
        if name in made:
            raise ConfigError(
                f"source: an attribute would be the feature {name!r}, which is built in: rename it in {scenario.file}"
            )
    return made | given


def _tastes(positives: IndexedInteractions, scenario: Scenario) -> Interactions:
    """Return the positive interactions with their confidences, for the preference factors."""
    return _interactions(
        positives, positives.users, positives.items, positives.days, positive_confidence(positives, scenario)
    )


def _residuals(events: IndexedInteractions, level: LabelStatistics) -> Interactions:
    """Return a label's residuals, for the rating factors of a task."""
    return _interactions(events, level.users, level.items, level.days, level.residual)


def _interactions(
    events: IndexedInteractions, users: Codes, items: Codes, days: Codes, values: NDArray[np.float32]
) -> Interactions:
    return Interactions(events.user_ids, events.item_ids, users, items, days.astype(np.int32), values)


def _nothing_to_learn(name: str, events: IndexedInteractions, scenario: Scenario, start: int) -> DataError:
    kind = "positive interaction" if name == TASTE else f"{name.removeprefix('level:')!r} label"
    every = scenario.factors.refit_days
    where = "the train window" if every == 1 else "the train window, or up to factors.refit_days before it"
    lower = "" if every == 1 else f"lower factors.refit_days ({every}), "
    return DataError(
        f"factors: no {kind} in the {int((events.days < start).sum()):,} events before {day_text(start)} ({where}), "
        f"from which the {name!r} factors are fitted, at least 1 is needed: {lower}choose a later as_of or shorten "
        f"windows in {scenario.file}"
    )


def _refuse_other_ids(factor_models: FactorModels, item_ids: NDArray[Any]) -> None:
    """Raise if item ids changed type: no item would be found, as in a log of new items only."""
    words = {"i": "integers", "U": "texts"}
    for name, item_factors in factor_models.items():
        if item_factors.item_ids.dtype.kind != item_ids.dtype.kind:
            was, now = words[item_factors.item_ids.dtype.kind], words[item_ids.dtype.kind]
            raise DataError(
                f"factors: the earlier {name!r} factors know items by {was}, but the log's item ids are {now} now: "
                "write them as they were, or do without the earlier run (factors.warm_start: none, or retire it)"
            )


def _learned_from(
    events: pd.DataFrame, scenario: Scenario, end: int
) -> tuple[IndexedInteractions, dict[str, Interactions]]:
    coded, _ = encode(events, events.iloc[:0], scenario)
    learned_from = {TASTE: _tastes(positive_interactions(coded, scenario), scenario)}
    for task in scenario.tasks_of("regression"):
        level = LabelStatistics(coded, task, scenario.labels[task], scenario.features.damping)
        level.advance(end)
        learned_from[level_name(task)] = _residuals(coded, level)
    return coded, learned_from
