"""All features of a table of rows, and the factor spaces they rest on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtl_tasks import columns
from mtl_tasks.errors import DataError
from mtl_tasks.factors import Interactions, ItemSpace, LevelSolver, Solver, TasteSolver, extend_space, fit_space
from mtl_tasks.features.activity import activity_columns
from mtl_tasks.features.affinity import FittedSpace, affinity_columns
from mtl_tasks.features.aggregates import Values
from mtl_tasks.features.attributes import MultiValued, attribute_columns
from mtl_tasks.features.coding import CodedEvents, encode, taken_events
from mtl_tasks.features.levels import TaskLevels, task_levels
from mtl_tasks.scenario import Scenario

Spaces = dict[str, ItemSpace]
TASTE = "taste"


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
    numeric: dict[str, Values]
    multi: list[MultiValued]

    @classmethod
    def prepare(cls, coded: CodedEvents, items: pd.DataFrame, spaces: Spaces, scenario: Scenario) -> Ground:
        """Gather everything that does not depend on rows."""
        levels = task_levels(coded, scenario)
        interactions = _interactions(coded, levels, scenario)
        fitted = {
            name: FittedSpace(solver, spaces[name], interactions[name]) for name, solver in solvers(scenario).items()
        }
        table = scenario.source.items
        numeric, multi = (list(table.numeric), list(table.multi)) if table else ([], [])
        attributes = items.set_index(columns.ITEM)[[*numeric, *multi]].reindex(coded.item_ids)
        return cls(
            coded,
            levels,
            fitted,
            {name: attributes[name].to_numpy(dtype=np.float64) for name in numeric},
            [MultiValued.parse(name, attributes[name]) for name in multi],
        )


def build_features(
    events: pd.DataFrame, items: pd.DataFrame, rows: pd.DataFrame, spaces: Spaces, scenario: Scenario
) -> pd.DataFrame:
    """Return the features of rows.

    Parameters
    ----------
    events
        Canonical interactions; for a row only those before its day are used.
    items
        Item attributes, one row an item.
    rows
        user, item and day; any other column is ignored.
    spaces
        From :func:`fit_spaces`; they must have been fitted on events before the earliest row's day.

    Returns
    -------
    pandas.DataFrame
        float32, aligned with ``rows``; NaN where there is nothing to tell. Column names read
        ``<whose>.<what>``, for example ``item.count_7d`` or ``user_x_genres.share``.
    """
    coded, coded_rows = encode(events, rows, scenario)
    ground = Ground.prepare(coded, items, spaces, scenario)
    windows = scenario.features.windows
    made = activity_columns(coded, coded_rows, ground.numeric, windows)
    for level in ground.levels.values():
        made |= level.columns(coded_rows, windows)
    for multi in ground.multi:
        made |= attribute_columns(coded, coded_rows, multi, ground.levels, scenario.features.damping)
    level_spaces = {name.removeprefix("level:"): space for name, space in ground.fitted.items() if name != TASTE}
    settings = scenario.features
    affinity = affinity_columns(
        coded,
        coded_rows,
        ground.fitted[TASTE],
        level_spaces,
        ground.levels,
        settings.last_items,
        settings.raw_factors,
    )
    narrow = {name: values.astype(np.float32) for name, values in made.items()}
    return pd.DataFrame({**narrow, **affinity})


def _interactions(events: CodedEvents, levels: dict[str, TaskLevels], scenario: Scenario) -> dict[str, Interactions]:
    """What each solver learns from: positives with a confidence, or residuals of a label."""
    taken = taken_events(events, scenario)
    confidence = np.full(len(taken.days), 1.0 + scenario.factors.alpha, dtype=np.float32)
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
