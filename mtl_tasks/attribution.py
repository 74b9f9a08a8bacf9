"""The long layout: rows that are events of several types become exposures with the labels that they led to."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import pandas as pd

from mtl_tasks.columns import ITEM, TIME, USER, label
from mtl_tasks.errors import DataError, nearest, quoted
from mtl_tasks.scenario import Long, Scenario, Task

log = logging.getLogger(__name__)

TYPE: Final = "event_type"  # str: what happened; only between reading and attribution
VALUE: Final = "event_value"  # float32: how much of it, NaN where the type has none

_POSITION = "position"
_SHOWN = 12  # types listed in a message


def join_labels(events: pd.DataFrame, scenario: Scenario, long: Long) -> pd.DataFrame:
    """Return the exposures, in order, with a label column a task and signal.

    An event counts for the last exposure of the same user and item at or before it, if that is at most
    ``attribution_hours`` ago; of several such events the first counts. A binary label is then 1, without an event 0; a
    regression label is the event's value, without an event null. Labels are final only once the hours are over, which
    is for whoever uses them to observe. Exposures whose user, item or time is missing get no label.

    Parameters
    ----------
    events
        user, item, time, ``event_type``, ``event_value`` if the scenario names it; other columns are kept.

    Raises
    ------
    DataError
        If the log has no exposure, or no event of a label's type.
    """
    _refuse_missing_types(events, scenario, long)
    made = events[events[TYPE] == long.exposure].drop(columns=[TYPE, VALUE], errors="ignore").reset_index(drop=True)
    exposures = _keyed(made).drop_duplicates([USER, ITEM, TIME])  # later copies are duplicates, which get no label
    exposures = exposures.assign(**{_POSITION: exposures.index}).sort_values(TIME, kind="stable")
    known = made[[USER, ITEM, TIME]].notna().all(axis=1).to_numpy()
    for name, task in scenario.labels.items():
        found = _first_after(exposures, _keyed(events[events[TYPE] == task.label]), long.attribution_hours)
        made[label(name)] = np.where(known, _labels(found, task, len(made)), np.float32("nan"))
    return made


def _refuse_missing_types(events: pd.DataFrame, scenario: Scenario, long: Long) -> None:
    types = [str(value) for value in events[TYPE].value_counts().index]
    wanted = {long.exposure: "source.long.exposure"}
    wanted |= {str(task.label): scenario.label_key(name) for name, task in scenario.labels.items()}
    for value, key in wanted.items():
        if value not in types:
            listed = _listed(types)
            raise DataError(
                f"{scenario.source.log}: column {long.type!r} (source.long.type in {scenario.file}) holds no event of"
                f" the type {value!r}{quoted(nearest(value, types))} (it holds {listed}): correct {key}"
            )


def _listed(types: list[str]) -> str:
    shown = ", ".join(types[:_SHOWN]) + (", …" if len(types) > _SHOWN else "")
    return (quoted(shown) or f"{len(types):,} types") if types else "none"


def _keyed(events: pd.DataFrame) -> pd.DataFrame:
    """Those that can be told apart by user, item and time."""
    keyed = events.dropna(subset=[USER, ITEM, TIME])
    whole = {name: "int64" for name in (USER, ITEM) if pd.api.types.is_integer_dtype(keyed[name])}
    return keyed.astype(whole)


def _first_after(exposures: pd.DataFrame, events: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Position of an exposure and the first event that counts for it."""
    columns = [USER, ITEM, TIME]
    found = pd.merge_asof(
        events.sort_values(TIME, kind="stable"),
        exposures[[*columns, _POSITION]],
        on=TIME,
        by=[USER, ITEM],
        tolerance=pd.Timedelta(hours=hours),
        direction="backward",
    )
    counted = found.dropna(subset=[_POSITION]).drop_duplicates(_POSITION)
    log.info("%d of %d events count for no exposure", int(found[_POSITION].isna().sum()), len(found))
    return counted.astype({_POSITION: "int64"})


def _labels(found: pd.DataFrame, task: Task, rows: int) -> np.ndarray:
    if task.kind == "binary":
        labels = np.zeros(rows, dtype=np.float32)
        labels[found[_POSITION].to_numpy()] = 1.0
        return labels
    labels = np.full(rows, np.nan, dtype=np.float32)
    labels[found[_POSITION].to_numpy()] = found[VALUE].to_numpy(dtype=np.float32)
    return labels
