"""All features of a table of rows, and the factor spaces they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns
from mtl_tasks.errors import ConfigError, DataError
from mtl_tasks.factors import Interactions, ItemSpace, LevelSolver, Solver, TasteSolver, extend_space, fit_space
from mtl_tasks.features.activity import Activity
from mtl_tasks.features.affinity import FittedSpace, LevelSpace, affinity_columns
from mtl_tasks.features.attributes import AttributeTastes, value_axis
from mtl_tasks.features.co_occurrence import CoOccurrence
from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes, encode, taken_events, taken_weight
from mtl_tasks.features.context import ContextRates, kind_axis
from mtl_tasks.features.levels import TaskLevels, task_levels
from mtl_tasks.features.memory import Memory
from mtl_tasks.features.past import Past
from mtl_tasks.features.side import SideTable
from mtl_tasks.features.sums import RunningSums, Values
from mtl_tasks.scenario import Scenario
from mtl_tasks.splits import day_text

Spaces = dict[str, ItemSpace]
TASTE = "taste"


@dataclass(frozen=True)
class Tables:
    """The tables beside the log, as the stage ``validate`` publishes them."""

    users: pd.DataFrame
    items: pd.DataFrame


def solvers(scenario: Scenario) -> dict[str, Solver]:
    """The factor models of a scenario by name: ``taste``, and ``level:<task>`` for every regression."""
    settings = scenario.factors
    taste = TasteSolver(
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
        made[f"level:{task}"] = LevelSolver(
            task,
            settings.rating_dimensions,
            settings.rating_iterations,
            settings.rating_regularization,
            warm_iterations=settings.warm_iterations,
            seed=scenario.seed,
        )
    return made


def startable(earlier: Spaces, scenario: Scenario) -> tuple[Spaces, list[str]]:
    """Return the spaces of an earlier run that this scenario's can start from, and a sentence for each that cannot."""
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


def fit_spaces(events: pd.DataFrame, scenario: Scenario, start: int, end: int, earlier: Spaces | None = None) -> Spaces:
    """Fit every factor space on the events before ``start`` and fold new items in until ``end``.

    Parameters
    ----------
    earlier
        Spaces of an earlier run to warm-start from, of the scenario's dimensions (see :func:`startable`).

    Raises
    ------
    DataError
        If a space has nothing to learn from before ``start``, or ``earlier`` knows ids of another type.
    """
    coded, interactions = _learnt_from(events, scenario, end)
    _refuse_other_ids(earlier or {}, coded.item_ids)
    for name, learnt_from in interactions.items():
        if not len(learnt_from.before(start).days):
            raise _nothing_to_learn(name, coded, scenario, start)
    days, known = scenario.factors.refresh_days, earlier or {}
    return {
        name: fit_space(solver, interactions[name], start, end, days, known.get(name))
        for name, solver in solvers(scenario).items()
    }


def extend_spaces(
    spaces: Spaces, events: pd.DataFrame, scenario: Scenario, end: int, since: int | None = None
) -> Spaces:
    """Fold items into spaces fitted by an earlier run until a later ``end``; what history saw stays as it is.

    Parameters
    ----------
    since
        The refresh day that the spaces reach, by the same events; by default they are extended from their start.

    Raises
    ------
    DataError
        If the spaces know ids of another type than the events.
    """
    coded, interactions = _learnt_from(events, scenario, end)
    _refuse_other_ids(spaces, coded.item_ids)
    days = scenario.factors.refresh_days
    known = {name: space.fitted() for name, space in spaces.items()} if since is None else spaces
    return {
        name: extend_space(solver, known[name], interactions[name], end, days, since)
        for name, solver in solvers(scenario).items()
    }


class Part(Protocol):
    """Some of the features, with what they remember of the past."""

    @property
    def name(self) -> str:
        """Name among the parts."""

    def memory(self) -> dict[str, RunningSums]:
        """What it remembers, by name."""

    def advance(self, day: int) -> None:
        """Take in what happened before a day; days only ever go forward."""

    def columns(self, rows: CodedRows) -> dict[str, Values]:
        """Return columns of rows of the day of the last :meth:`advance`, by name."""


class FeatureMaker:
    """Features of rows, day after day: what the log had said by each day, and the factor spaces as they stood on it.

    Parameters
    ----------
    events
        Interactions, coded; a row is told those before its day only.
    tables
        Attributes of users and items; a row is told versions from before its day only.
    spaces
        From :func:`fit_spaces`; they must have been fitted on events before the earliest row's day.
    memory
        What another maker had counted by some day, of the same events, tables and settings: the days before it are
        then not counted again.
    """

    def __init__(
        self,
        events: CodedEvents,
        tables: Tables,
        spaces: Spaces,
        scenario: Scenario,
        memory: Memory | None = None,
    ) -> None:
        source, settings = scenario.source, scenario.features
        since = None if memory is None else memory.day
        self.events = events
        self.taken = taken_events(events, scenario)
        self.about_users = SideTable.prepare(tables.users, source.users, columns.USER, events.user_ids)
        self.about_items = SideTable.prepare(tables.items, source.items, columns.ITEM, events.item_ids)
        self.co_occurrence = CoOccurrence(self.taken, since)
        self._settings = settings
        self._levels = task_levels(events, scenario, settings.windows, since)
        self._predicted = {name: level for name, level in self._levels.items() if name in scenario.tasks}
        damping = settings.damping
        self._parts: tuple[Part, ...] = (
            Activity(events, self.about_items, settings.windows, since),
            *(AttributeTastes(events, one, self._predicted, damping, "user", since) for one in self.about_items.listed),
            *(AttributeTastes(events, one, self._predicted, damping, "item", since) for one in self.about_users.listed),
            *(ContextRates(events, name, task, damping, since) for task in self._predicted for name in events.kinds),
        )
        self._spaces, self._scenario = spaces, scenario
        self._day = 0
        self._residuals_until = 0  # the day before which the residuals in `_labelled` are known
        if memory is not None:
            self._go_on_from(memory)

    @cached_property
    def taste(self) -> FittedSpace:
        """The space of what people take."""
        tastes = _tastes(self.taken, self._scenario)
        past = Past.of(tastes.users, tastes.items, self.taken.days, tastes.values, len(tastes.user_ids))
        return self._space(TASTE, past)

    @cached_property
    def _labelled(self) -> dict[str, Past]:
        """What was labelled, by task."""
        users = len(self.events.user_ids)
        return {
            task: Past.of(level.users, level.items, level.days, level.residual, users)
            for task, level in self._predicted.items()
        }

    def _level_spaces(self) -> dict[str, LevelSpace]:
        """By task, with the residuals that are known by now."""
        if self._residuals_until != self._day:
            self._residuals_until = self._day
            self._labelled |= {task: past.saying(self._levels[task].residual) for task, past in self._labelled.items()}
        return {
            task: LevelSpace(past, self._space(f"level:{task}", past) if f"level:{task}" in self._spaces else None)
            for task, past in self._labelled.items()
        }

    def _space(self, name: str, past: Past) -> FittedSpace:
        return FittedSpace(solvers(self._scenario)[name], self._spaces[name], self.events.item_ids, past)

    def advance(self, day: int) -> None:
        """Take in what happened before a day.

        Raises
        ------
        ValueError
            If a later day was taken in before: what is known of that cannot be forgotten.
        """
        if day < self._day:
            raise ValueError(f"day {day} is before day {self._day}, which was taken in already")
        for level in self._levels.values():  # first: tastes are told their residuals
            level.advance(day)
        for part in self._parts:
            part.advance(day)
        self.co_occurrence.advance(day)
        self._day = day

    def memory(self) -> Memory:
        """What was counted before the day of the last :meth:`advance`."""
        return Memory(
            self._day,
            self._axes(),
            {name: sums.kept() for name, sums in self._sums().items()},
            {name: level.residual[: level.settled_count] for name, level in self._levels.items()},
            *self.co_occurrence.kept(),
        )

    def _go_on_from(self, memory: Memory) -> None:
        translation = memory.translation(self._axes())
        for name, sums in self._sums().items():
            sums.go_on_from(memory.sums[name], translation)
        for name, level in self._levels.items():
            level.residual[: level.settled_count] = memory.residuals[name]
        self.co_occurrence.go_on_from(memory.pairs, memory.takers, translation["item"])
        self._day = memory.day

    def _sums(self) -> dict[str, RunningSums]:
        parts: tuple[Part | TaskLevels, ...] = (*self._levels.values(), *self._parts)
        return {f"{part.name}.{name}": sums for part in parts for name, sums in part.memory().items()}

    def _axes(self) -> dict[str, pd.Index[Any]]:
        """What the codes of each axis of keys stand for."""
        axes = {"all": pd.Index([""]), "user": pd.Index(self.events.user_ids), "item": pd.Index(self.events.item_ids)}
        axes |= {value_axis("user", one.name): one.labels for one in self.about_items.listed}
        axes |= {value_axis("item", one.name): one.labels for one in self.about_users.listed}
        return axes | {kind_axis(name): levels.insert(0, "") for name, levels in self.events.levels.items()}

    def make(self, rows: CodedRows) -> pd.DataFrame:
        """Return the features of rows in any order, none of an earlier day than was taken in; see `build_features`."""
        made: dict[str, NDArray[np.float32]] = {}
        for day in np.unique(rows.days):
            places = np.flatnonzero(rows.days == day)
            self.advance(int(day))
            users = rows.users[places]
            if len(places) == len(rows) and (users[1:] >= users[:-1]).all():  # candidates of a day: nothing to reorder
                made |= {name: values.astype(np.float32, copy=False) for name, values in self._columns(rows).items()}
                continue
            # By user: neighbours are then looked up next to each other, which at ten million events saves a fifth.
            places = places[np.argsort(users, kind="stable")]
            for name, values in self._columns(rows.at(places)).items():
                made.setdefault(name, np.empty(len(rows), dtype=np.float32))[places] = values
        made |= affinity_columns(rows, self.taste, self._level_spaces(), self._settings.raw_factors)
        return pd.DataFrame(_joined(made, self._given(rows), self._scenario), copy=False)

    def _given(self, rows: CodedRows) -> dict[str, Any]:
        """Attributes and context themselves: numbers and ages as float32, then kinds as categories."""
        sides = (("user", self.about_users, rows.users), ("item", self.about_items, rows.items))
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

    def _columns(self, rows: CodedRows) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in (*self._parts, *self._levels.values()):
            made |= part.columns(rows)
        return made | self.co_occurrence.columns(rows, self._settings.last_items)


def build_features(
    events: pd.DataFrame,
    tables: Tables,
    rows: pd.DataFrame,
    spaces: Spaces,
    scenario: Scenario,
    memory: Memory | None = None,
) -> pd.DataFrame:
    """Return the features of rows.

    Parameters
    ----------
    events
        Canonical interactions; for a row only those before its day are used.
    tables
        Attributes of users and items; for a row only versions from before its day are used.
    rows
        user, item, day and the context of the scenario; any other column is ignored.
    spaces
        From :func:`fit_spaces`; they must have been fitted on events before the earliest row's day.
    memory
        What was counted by the earliest row's day or before it, of these events and tables; by default all is counted.

    Returns
    -------
    pandas.DataFrame
        float32, then category where a column names kinds, aligned with ``rows``; NaN where there is nothing to tell.
        Column names read ``<whose>.<what>``, for example ``item.count_7d`` or ``user_x_genres.share``.

    Raises
    ------
    ConfigError
        If an attribute has the name of a feature of ours.
    """
    coded, coded_rows = encode(events, rows, scenario)
    return FeatureMaker(coded, tables, spaces, scenario, memory).make(coded_rows)


def _joined(made: dict[str, Any], given: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Add columns that are named in the scenario to those that are named here."""
    for name in given:
        if name in made:
            raise ConfigError(
                f"source: an attribute would be the feature {name!r}, which is one of ours: name it otherwise in "
                f"{scenario.file}"
            )
    return made | given


def _tastes(taken: CodedEvents, scenario: Scenario) -> Interactions:
    """What the solver of tastes learns from: takes, with a confidence."""
    confidence = (1.0 + scenario.factors.alpha * taken_weight(taken, scenario)).astype(np.float32)
    return _interactions(taken, taken.users, taken.items, taken.days, confidence)


def _residuals(events: CodedEvents, level: TaskLevels) -> Interactions:
    """What the solver of a task's levels learns from: what user and item leave unexplained."""
    return _interactions(events, level.users, level.items, level.days, level.residual)


def _interactions(
    events: CodedEvents, users: Codes, items: Codes, days: Codes, values: NDArray[np.float32]
) -> Interactions:
    return Interactions(events.user_ids, events.item_ids, users, items, days.astype(np.int32), values)


def _nothing_to_learn(space: str, events: CodedEvents, scenario: Scenario, start: int) -> DataError:
    kind = "positive interaction" if space == TASTE else f"{space.removeprefix('level:')!r} label"
    every = scenario.factors.refit_days
    where = "the train window" if every == 1 else "the train window, or up to factors.refit_days before it"
    lower = "" if every == 1 else f"lower factors.refit_days ({every}), "
    return DataError(
        f"factors: no {kind} in the {int((events.days < start).sum()):,} events before {day_text(start)} ({where}), "
        f"from which the {space!r} space is fitted, at least 1 is needed: {lower}choose a later as_of or shorten "
        f"windows in {scenario.file}"
    )


def _refuse_other_ids(spaces: Spaces, item_ids: NDArray[Any]) -> None:
    """None of the items would be found, which would look like a log of new items only."""
    words = {"i": "integers", "U": "texts"}
    for name, space in spaces.items():
        if space.item_ids.dtype.kind != item_ids.dtype.kind:
            was, now = words[space.item_ids.dtype.kind], words[item_ids.dtype.kind]
            raise DataError(
                f"factors: the earlier {name!r} space knows items by {was}, but the log's item ids are {now} now: "
                "write them as they were, or do without the earlier run (factors.warm_start: none, or retire it)"
            )


def _learnt_from(events: pd.DataFrame, scenario: Scenario, end: int) -> tuple[CodedEvents, dict[str, Interactions]]:
    coded, _ = encode(events, events.iloc[:0], scenario)
    learnt_from = {TASTE: _tastes(taken_events(coded, scenario), scenario)}
    for task in scenario.tasks_of("regression"):
        level = TaskLevels(coded, task, scenario.labels[task], scenario.features.damping)
        level.advance(end)
        learnt_from[f"level:{task}"] = _residuals(coded, level)
    return coded, learnt_from
