"""All features of a table of rows, and the factor models they use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.features.als import ExplicitALS, ImplicitALS, Interactions, ItemFactors, Solver, extend_space, fit_space
from mtl_tasks.features.attribute_values import AttributeLookup
from mtl_tasks.features.groups.activity import Activity
from mtl_tasks.features.groups.affinity import FittedSpace, LevelSpace, affinity_columns
from mtl_tasks.features.groups.attribute_affinity import AttributeTastes, value_axis
from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from mtl_tasks.features.groups.context_rates import ContextRates, kind_axis
from mtl_tasks.features.groups.label_statistics import LabelStatistics, task_levels
from mtl_tasks.features.interactions import (
    Codes,
    IndexedInteractions,
    IndexedRows,
    encode,
    positive_interactions,
    taken_weight,
)
from mtl_tasks.features.running_sums import RunningSums, Values
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.features.user_history import UserHistory
from mtl_tasks.scenario import Scenario

FactorModels = dict[str, ItemFactors]
TASTE = "taste"


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
        made[f"level:{task}"] = ExplicitALS(
            task,
            settings.rating_dimensions,
            settings.rating_iterations,
            settings.rating_regularization,
            warm_iterations=settings.warm_iterations,
            seed=scenario.seed,
        )
    return made


def startable(earlier: FactorModels, scenario: Scenario) -> tuple[FactorModels, list[str]]:
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


def fit_spaces(
    events: pd.DataFrame, scenario: Scenario, start: int, end: int, earlier: FactorModels | None = None
) -> FactorModels:
    """Fit every factor model on the events before ``start`` and fold new items in until ``end``.

    Parameters
    ----------
    earlier
        Factors of an earlier run to warm-start from, of the scenario's dimensions (see :func:`startable`).

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
        name: fit_space(solver, interactions[name], start, end, days, known.get(name))
        for name, solver in solvers(scenario).items()
    }


def extend_spaces(
    spaces: FactorModels, events: pd.DataFrame, scenario: Scenario, end: int, since: int | None = None
) -> FactorModels:
    """Fold new items into an earlier run's factors until a later ``end``; items in history keep their vectors.

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
    _refuse_other_ids(spaces, coded.item_ids)
    days = scenario.factors.refresh_days
    known = {name: space.fitted() for name, space in spaces.items()} if since is None else spaces
    return {
        name: extend_space(solver, known[name], interactions[name], end, days, since)
        for name, solver in solvers(scenario).items()
    }


class Part(Protocol):
    """Some of the features, with their running sums."""

    @property
    def name(self) -> str:
        """Name among the parts."""

    def memory(self) -> dict[str, RunningSums]:
        """Return the running sums by name."""

    def advance(self, day: int) -> None:
        """Add the data from before a day; days must not decrease."""

    def columns(self, rows: IndexedRows) -> dict[str, Values]:
        """Return columns of rows of the day of the last :meth:`advance`, by name."""


class FeatureMaker:
    """Features of rows, day by day, from the log before each day and the factors of that day.

    Parameters
    ----------
    events
        Indexed interactions; a row uses only those before its day.
    tables
        Attributes of users and items; a row uses only versions from before its day.
    spaces
        From :func:`fit_spaces`; they must have been fitted on events before the earliest row's day.
    memory
        Snapshot of another maker with the same events, tables and settings; days before it are not counted again.
    """

    def __init__(
        self,
        events: IndexedInteractions,
        tables: Tables,
        spaces: FactorModels,
        scenario: Scenario,
        memory: FeatureSnapshot | None = None,
    ) -> None:
        source, settings = scenario.source, scenario.features
        since = None if memory is None else memory.day
        self.events = events
        self.taken = positive_interactions(events, scenario)
        self.user_attributes = AttributeLookup.prepare(tables.users, source.users, columns.USER, events.user_ids)
        self.about_items = AttributeLookup.prepare(tables.items, source.items, columns.ITEM, events.item_ids)
        self.co_occurrence = CoOccurrence(self.taken, since)
        self._settings = settings
        self._levels = task_levels(events, scenario, settings.windows, since)
        self._predicted = {name: level for name, level in self._levels.items() if name in scenario.tasks}
        damping = settings.damping
        self._parts: tuple[Part, ...] = (
            Activity(events, self.about_items, settings.windows, since),
            *(AttributeTastes(events, one, self._predicted, damping, "user", since) for one in self.about_items.listed),
            *(
                AttributeTastes(events, one, self._predicted, damping, "item", since)
                for one in self.user_attributes.listed
            ),
            *(ContextRates(events, name, task, damping, since) for task in self._predicted for name in events.kinds),
        )
        self._spaces, self._scenario = spaces, scenario
        self._day = 0
        self._residuals_until = 0  # day before which the residuals in `_labeled` are known
        if memory is not None:
            self._go_on_from(memory)

    @cached_property
    def taste(self) -> FittedSpace:
        """The preference factors."""
        tastes = _tastes(self.taken, self._scenario)
        past = UserHistory.of(tastes.users, tastes.items, self.taken.days, tastes.values, len(tastes.user_ids))
        return self._space(TASTE, past)

    @cached_property
    def _labeled(self) -> dict[str, UserHistory]:
        """Labeled interactions by task."""
        users = len(self.events.user_ids)
        return {
            task: UserHistory.of(level.users, level.items, level.days, level.residual, users)
            for task, level in self._predicted.items()
        }

    def _level_spaces(self) -> dict[str, LevelSpace]:
        """Return the rating factors by task, with the residuals known so far."""
        if self._residuals_until != self._day:
            self._residuals_until = self._day
            self._labeled |= {
                task: past.with_values(self._levels[task].residual) for task, past in self._labeled.items()
            }
        return {
            task: LevelSpace(past, self._space(f"level:{task}", past) if f"level:{task}" in self._spaces else None)
            for task, past in self._labeled.items()
        }

    def _space(self, name: str, past: UserHistory) -> FittedSpace:
        return FittedSpace(solvers(self._scenario)[name], self._spaces[name], self.events.item_ids, past)

    def advance(self, day: int) -> None:
        """Add the data from before a day.

        Raises
        ------
        ValueError
            If a later day was added before: it cannot be removed.
        """
        if day < self._day:
            raise ValueError(f"day {day} is before day {self._day}, which was already added")
        for level in self._levels.values():  # first: the parts read their residuals
            level.advance(day)
        for part in self._parts:
            part.advance(day)
        self.co_occurrence.advance(day)
        self._day = day

    def memory(self) -> FeatureSnapshot:
        """Return a snapshot of the statistics before the day of the last :meth:`advance`."""
        return FeatureSnapshot(
            self._day,
            self._axes(),
            {name: sums.snapshot() for name, sums in self._sums().items()},
            {name: level.residual[: level.settled_count] for name, level in self._levels.items()},
            *self.co_occurrence.snapshot(),
        )

    def _go_on_from(self, memory: FeatureSnapshot) -> None:
        translation = memory.translation(self._axes())
        for name, sums in self._sums().items():
            sums.restore(memory.sums[name], translation)
        for name, level in self._levels.items():
            level.residual[: level.settled_count] = memory.residuals[name]
        self.co_occurrence.restore(memory.pairs, memory.takers, translation["item"])
        self._day = memory.day

    def _sums(self) -> dict[str, RunningSums]:
        parts: tuple[Part | LabelStatistics, ...] = (*self._levels.values(), *self._parts)
        return {f"{part.name}.{name}": sums for part in parts for name, sums in part.memory().items()}

    def _axes(self) -> dict[str, pd.Index[Any]]:
        """Return the label of each code, by key axis."""
        axes = {"all": pd.Index([""]), "user": pd.Index(self.events.user_ids), "item": pd.Index(self.events.item_ids)}
        axes |= {value_axis("user", one.name): one.labels for one in self.about_items.listed}
        axes |= {value_axis("item", one.name): one.labels for one in self.user_attributes.listed}
        return axes | {kind_axis(name): levels.insert(0, "") for name, levels in self.events.levels.items()}

    def make(self, rows: IndexedRows) -> pd.DataFrame:
        """Return the features of rows in any order, none before the last :meth:`advance`; see `build_features`."""
        made: dict[str, NDArray[np.float32]] = {}
        for day in np.unique(rows.days):
            positions = np.flatnonzero(rows.days == day)
            self.advance(int(day))
            users = rows.users[positions]
            if (
                len(positions) == len(rows) and (users[1:] >= users[:-1]).all()
            ):  # candidates of a day: nothing to reorder
                made |= {name: values.astype(np.float32, copy=False) for name, values in self._columns(rows).items()}
                continue
            # By user: lookups are then adjacent in memory, which at ten million events saves a fifth of the time.
            positions = positions[np.argsort(users, kind="stable")]
            for name, values in self._columns(rows.at(positions)).items():
                made.setdefault(name, np.empty(len(rows), dtype=np.float32))[positions] = values
        made |= affinity_columns(rows, self.taste, self._level_spaces(), self._settings.raw_factors)
        return pd.DataFrame(_joined(made, self._given(rows), self._scenario), copy=False)

    def _given(self, rows: IndexedRows) -> dict[str, Any]:
        """Return attributes and context themselves: numbers and ages as float32, then categorical columns."""
        sides = (("user", self.user_attributes, rows.users), ("item", self.about_items, rows.items))
        made: dict[str, Any] = {
            f"{side}.{name}": values.astype(np.float32)
            for side, about, codes in sides
            for name, values in about.numbers(codes, rows.days).items()
        }
        made |= {f"context.{name}": values for name, values in rows.numbers.items()}
        for side, about, codes in sides:
            made |= {f"{side}.{name}": kinds for name, kinds in about.categories(codes, rows.days).items()}
        for name, codes in rows.kinds.items():
            made[f"context.{name}"] = pd.Categorical.from_codes(codes, categories=self.events.levels[name])
        return made

    def _columns(self, rows: IndexedRows) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in (*self._parts, *self._levels.values()):
            made |= part.columns(rows)
        return made | self.co_occurrence.columns(rows, self._settings.last_items)


def build_features(
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    spaces: FactorModels,
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
    spaces
        From :func:`fit_spaces`; they must have been fitted on events before the earliest row's day.
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
    return FeatureMaker(coded, tables, spaces, scenario, memory).make(coded_rows)


def _joined(made: dict[str, Any], given: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Add the columns that the scenario names to the built-in ones."""
    for name in given:
        if name in made:
            raise ConfigError(
                f"source: an attribute would be the feature {name!r}, which is built in: rename it in {scenario.file}"
            )
    return made | given


def _tastes(taken: IndexedInteractions, scenario: Scenario) -> Interactions:
    """Return the positive interactions with their confidences, for the preference factors."""
    confidence = (1.0 + scenario.factors.alpha * taken_weight(taken, scenario)).astype(np.float32)
    return _interactions(taken, taken.users, taken.items, taken.days, confidence)


def _residuals(events: IndexedInteractions, level: LabelStatistics) -> Interactions:
    """Return a label's residuals, for the rating factors of a task."""
    return _interactions(events, level.users, level.items, level.days, level.residual)


def _interactions(
    events: IndexedInteractions, users: Codes, items: Codes, days: Codes, values: NDArray[np.float32]
) -> Interactions:
    return Interactions(events.user_ids, events.item_ids, users, items, days.astype(np.int32), values)


def _nothing_to_learn(space: str, events: IndexedInteractions, scenario: Scenario, start: int) -> DataError:
    kind = "positive interaction" if space == TASTE else f"{space.removeprefix('level:')!r} label"
    every = scenario.factors.refit_days
    where = "the train window" if every == 1 else "the train window, or up to factors.refit_days before it"
    lower = "" if every == 1 else f"lower factors.refit_days ({every}), "
    return DataError(
        f"factors: no {kind} in the {int((events.days < start).sum()):,} events before {day_text(start)} ({where}), "
        f"from which the {space!r} space is fitted, at least 1 is needed: {lower}choose a later as_of or shorten "
        f"windows in {scenario.file}"
    )


def _refuse_other_ids(spaces: FactorModels, item_ids: NDArray[Any]) -> None:
    """Raise if item ids changed type: no item would be found, as in a log of new items only."""
    words = {"i": "integers", "U": "texts"}
    for name, space in spaces.items():
        if space.item_ids.dtype.kind != item_ids.dtype.kind:
            was, now = words[space.item_ids.dtype.kind], words[item_ids.dtype.kind]
            raise DataError(
                f"factors: the earlier {name!r} space knows items by {was}, but the log's item ids are {now} now: "
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
        learned_from[f"level:{task}"] = _residuals(coded, level)
    return coded, learned_from
