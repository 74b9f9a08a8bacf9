"""All features of a table of rows, and the factor spaces they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtl_tasks import columns
from mtl_tasks.errors import ConfigError, DataError
from mtl_tasks.factors import Interactions, ItemSpace, LevelSolver, Solver, TasteSolver, extend_space, fit_space
from mtl_tasks.features.activity import activity_columns
from mtl_tasks.features.affinity import FittedSpace, affinity_columns
from mtl_tasks.features.attributes import attribute_columns, audience_columns
from mtl_tasks.features.coding import CodedEvents, CodedRows, encode, taken_events, taken_weight
from mtl_tasks.features.context import context_columns
from mtl_tasks.features.levels import TaskLevels, task_levels
from mtl_tasks.features.side import SideTable
from mtl_tasks.scenario import Scenario

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
            seed=scenario.seed,
        )
    return made


def fit_spaces(events: pd.DataFrame, scenario: Scenario, start: int, end: int) -> Spaces:
    """Fit every factor space on the events before ``start`` and fold new items in until ``end``.

    Raises
    ------
    DataError
        If a space has nothing to learn from before ``start``.
    """
    coded, _ = encode(events, events.iloc[:0], scenario)
    interactions = _interactions(coded, task_levels(coded, scenario), scenario)
    for name, learnt_from in interactions.items():
        if not len(learnt_from.before(start).days):
            kind = "positive interaction" if name == TASTE else f"{name.removeprefix('level:')!r} label"
            raise DataError(
                f"factors: no {kind} in the {int((coded.days < start).sum()):,} events before the train window, from "
                f"which the {name!r} space is fitted: choose a later as_of or shorten windows in {scenario.file}"
            )
    days = scenario.factors.refresh_days
    return {name: fit_space(solver, interactions[name], start, end, days) for name, solver in solvers(scenario).items()}


def extend_spaces(spaces: Spaces, events: pd.DataFrame, scenario: Scenario, end: int) -> Spaces:
    """Fold items into spaces fitted by an earlier run until a later ``end``; what history saw stays as it is."""
    coded, _ = encode(events, events.iloc[:0], scenario)
    interactions = _interactions(coded, task_levels(coded, scenario), scenario)
    days = scenario.factors.refresh_days
    return {
        name: extend_space(solver, spaces[name].fitted(), interactions[name], end, days)
        for name, solver in solvers(scenario).items()
    }


@dataclass(frozen=True)
class Ground:
    """Coded events with the spaces and attributes: what features and candidates are made from."""

    events: CodedEvents
    levels: dict[str, TaskLevels]
    fitted: dict[str, FittedSpace]
    about_users: SideTable
    about_items: SideTable

    @classmethod
    def prepare(cls, coded: CodedEvents, tables: Tables, spaces: Spaces, scenario: Scenario) -> Ground:
        """Gather everything that does not depend on rows."""
        levels = task_levels(coded, scenario)
        interactions = _interactions(coded, levels, scenario)
        fitted = {
            name: FittedSpace(solver, spaces[name], interactions[name]) for name, solver in solvers(scenario).items()
        }
        source = scenario.source
        return cls(
            coded,
            levels,
            fitted,
            SideTable.prepare(tables.users, source.users, columns.USER, coded.user_ids),
            SideTable.prepare(tables.items, source.items, columns.ITEM, coded.item_ids),
        )


def build_features(
    events: pd.DataFrame, tables: Tables, rows: pd.DataFrame, spaces: Spaces, scenario: Scenario
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

    Returns
    -------
    pandas.DataFrame
        float32, or category where a column names kinds, aligned with ``rows``; NaN where there is nothing to tell.
        Column names read ``<whose>.<what>``, for example ``item.count_7d`` or ``user_x_genres.share``.

    Raises
    ------
    ConfigError
        If an attribute has the name of a feature of ours.
    """
    coded, coded_rows = encode(events, rows, scenario)
    ground = Ground.prepare(coded, tables, spaces, scenario)
    windows = scenario.features.windows
    made = activity_columns(coded, coded_rows, ground.about_items, windows)
    for level in ground.levels.values():
        made |= level.columns(coded_rows, windows)
    predicted = {name: level for name, level in ground.levels.items() if name in scenario.tasks}
    for attribute in ground.about_items.listed:
        made |= attribute_columns(coded, coded_rows, attribute, predicted, scenario.features.damping)
    for attribute in ground.about_users.listed:
        made |= audience_columns(coded, coded_rows, attribute, predicted, scenario.features.damping)
    made |= context_columns(coded, coded_rows, list(predicted), scenario.features.damping)
    level_spaces = {name.removeprefix("level:"): space for name, space in ground.fitted.items() if name != TASTE}
    settings = scenario.features
    affinity = affinity_columns(
        coded,
        coded_rows,
        ground.fitted[TASTE],
        level_spaces,
        predicted,
        settings.last_items,
        settings.raw_factors,
    )
    narrow = {name: values.astype(np.float32) for name, values in made.items()}
    return pd.DataFrame(_joined({**narrow, **affinity}, _given(ground, coded_rows, rows, scenario), scenario))


def _given(ground: Ground, rows: CodedRows, raw: pd.DataFrame, scenario: Scenario) -> dict[str, Any]:
    """Attributes and context themselves: numbers and ages as float32, kinds as categories."""
    made: dict[str, Any] = {}
    for side, about, codes in (("user", ground.about_users, rows.users), ("item", ground.about_items, rows.items)):
        for name, values in about.numbers(codes, rows.days).items():
            made[f"{side}.{name}"] = values.astype(np.float32)
        made |= {f"{side}.{name}": kinds for name, kinds in about.categories(codes, rows.days).items()}
    context = scenario.source.context
    for name in context.numbers:
        made[f"context.{name}"] = raw[columns.context(name)].to_numpy(dtype=np.float32)
    for name in context.categorical:
        made[f"context.{name}"] = raw[columns.context(name)].astype("category").array
    return made


def _joined(made: dict[str, Any], given: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Add columns that are named in the scenario to those that are named here."""
    for name in given:
        if name in made:
            raise ConfigError(
                f"source: an attribute would be the feature {name!r}, which is one of ours: name it otherwise in "
                f"{scenario.file}"
            )
    return made | given


def _interactions(events: CodedEvents, levels: dict[str, TaskLevels], scenario: Scenario) -> dict[str, Interactions]:
    """What each solver learns from: positives with a confidence, or residuals of a label."""
    taken = taken_events(events, scenario)
    confidence = (1.0 + scenario.factors.alpha * taken_weight(taken, scenario)).astype(np.float32)
    made: dict[str, Interactions] = {
        TASTE: Interactions(
            events.user_ids,
            events.item_ids,
            taken.users,
            taken.items,
            taken.days.astype(np.int32),
            confidence,
        )
    }
    for task in scenario.tasks_of("regression"):
        level = levels[task]
        made[f"level:{task}"] = Interactions(
            events.user_ids,
            events.item_ids,
            level.users,
            level.items,
            level.days.astype(np.int32),
            level.residual.astype(np.float32),
        )
    return made
