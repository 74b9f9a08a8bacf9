"""Relevance of items to users in a window: the truth that recommendation lists are fitted to and judged against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError, nearest
from mtl_tasks.metrics.ranking import Values
from mtl_tasks.scenario import Scenario

GAIN: Final = "gain"
_PAIR: Final = [columns.USER, columns.ITEM]


class Relevance(NamedTuple):
    """Relevant pairs of a window.

    Attributes
    ----------
    truth
        User, item and ``gain`` (float64, above 0), sorted by user and item, each pair once.
    left_out
        Number of pairs that were left out because the user had taken the item before.
    """

    truth: pd.DataFrame
    left_out: int


def relevance(
    events: pd.DataFrame,
    scenario: Scenario,
    targets: tuple[str, ...],
    gains: Mapping[str, float],
    start: int,
    end: int,
    *,
    leave_out: bool = False,
    known_before: int | None = None,
) -> Relevance:
    """Return what users known before a day took in the days that follow, graded.

    A pair's gain is the sum over the target tasks of the task's gain times the largest grade among the pair's events.
    A positive of a binary task has grade 1. The grade of a regression's label is its position in the task's range,
    from 0 to 1, on the scale that is learned. An unobserved label has grade 0.

    Parameters
    ----------
    events
        Interactions with user, item, day and labels; those outside the window tell who was known, and what was taken,
        before it.
    targets
        Names of tasks.
    gains
        Target task to its gain, above 0; a target that is not named has gain 1.
    start, end
        First day of the window, and the day after its last.
    known_before
        Day by which labels must be final: what became known later is not counted. None: whenever they became final.
    leave_out
        Leave out the pairs that lists leave out: those with a positive whose labels were final before ``start``.

    Raises
    ------
    ConfigError
        If a target is no task, or a gain is of no target or not a number above 0.
    ValueError
        If the window is empty.
    """
    _check(scenario, targets, gains)
    if not start < end:
        raise ValueError(f"the window {start}..{end} is empty: its first day must be before its end")
    day = events[columns.DAY].to_numpy()
    window = events[(day >= start) & (day < end)]
    if known_before is not None and columns.KNOWN in window:
        window = window[window[columns.KNOWN] < known_before]
    window = window[window[columns.USER].isin(events.loc[day < start, columns.USER])]
    graded = window[_PAIR].assign(**{task: _grades(window, scenario, task) for task in targets})
    best = graded.groupby(_PAIR, sort=True, observed=True).max()
    weights = np.array([gains.get(task, 1.0) for task in targets], dtype=np.float64)
    gain = pd.Series(best.to_numpy(dtype=np.float64) @ weights, index=best.index, name=GAIN)
    gain = gain[gain > 0]
    had = _had_before(events, scenario, start, gain.index) if leave_out else np.zeros(len(gain), dtype=np.bool_)
    return Relevance(gain[~had].reset_index(), int(had.sum()))


def _check(scenario: Scenario, targets: tuple[str, ...], gains: Mapping[str, float]) -> None:
    known = list(scenario.tasks)
    for task in targets:
        if task not in scenario.tasks:
            raise ConfigError(f"targets of lists: {task!r} is no task{nearest(task, known)}, in {scenario.file}")
    if not targets or len(set(targets)) != len(targets):
        raise ConfigError(
            f"targets of lists: {', '.join(targets) or 'none'}; name one task or more, each once, in {scenario.file}"
        )
    for task, gain in gains.items():
        if task not in targets:
            hint = nearest(task, list(targets))
            raise ConfigError(f"gains of lists: {task!r} is not a target{hint}, in {scenario.file}")
        if not (np.isfinite(gain) and gain > 0):
            raise ConfigError(f"gains of lists: {task} has {gain:g}; a gain must be above 0, in {scenario.file}")


def _grades(events: pd.DataFrame, scenario: Scenario, name: str) -> Values:
    """Return the grade of each event, float64 (n,) from 0 to 1."""
    task = scenario.tasks[name]
    if task.label is None:
        return np.ones(len(events))
    label: Values = events[columns.label(name)].to_numpy(dtype=np.float64)
    if task.kind == "binary":
        return np.where(label == 1, 1.0, 0.0)
    assert task.limits is not None
    low, high = task.limits
    grade: Values = np.nan_to_num(np.clip((label - low) / (high - low), 0.0, 1.0))
    return grade


def _had_before(events: pd.DataFrame, scenario: Scenario, start: int, pairs: pd.Index[Any]) -> NDArray[np.bool_]:
    """Mark the pairs with a positive whose labels were final before ``start``."""
    before = positives_before(events, scenario, start)
    marked: NDArray[np.bool_] = pairs.isin(pd.MultiIndex.from_frame(before[_PAIR]))
    return marked


def positives_before(events: pd.DataFrame, scenario: Scenario, day: int) -> pd.DataFrame:
    """Return the positive interactions whose labels were final before a day."""
    final = events[columns.KNOWN if columns.KNOWN in events else columns.DAY]
    before = events[final < day]
    signals = scenario.taste_signals
    positive = np.full(len(before), not signals)
    for name in signals:
        positive |= before[columns.label(name)].to_numpy() == 1 if name in scenario.labels else True
    return before[positive]
