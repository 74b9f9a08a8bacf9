"""Label attribution in the long layout: events of several types become exposures with labels."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.columns import ITEM, TIME, USER, label
from mtl_tasks.core.errors import DataError, nearest, quoted
from mtl_tasks.scenario import Long, Scenario, Task

TYPE: Final = "event_type"  # str: what happened; only between reading and attribution
VALUE: Final = "event_value"  # float32: the event's value, NaN where the type has none

# Reasons why an event is attributed to no exposure, and their wording; the first are events without a key.
REASONS: Final = {
    "incomplete": "without a user, an item or a plausible time",
    "before_exposure": "before their exposure",
    "outside_window": "later than source.long.attribution_hours after it",
    "no_exposure": "of a user and item without any",
}

_POSITION = "position"
_SHOWN = 12  # types listed in a message


def join_labels(
    events: pd.DataFrame, scenario: Scenario, long: Long, before: pd.Timestamp | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the exposures, in order, with a label column per task and signal, and counts of the other events.

    An event is attributed to the last exposure of the same user and item at or before it, at most
    ``attribution_hours`` earlier; of several such events the first counts. A binary label is then 1, without an event
    0; a regression label is the event's value, without an event null. Labels are final only after these hours, which
    the caller must respect. Exposures without a user, item or time get no label.

    Parameters
    ----------
    events
        user, item, time, ``event_type``, ``event_value`` if the scenario names it; other columns are kept.
    before
        Events from this time on are left out of the counts.

    Returns
    -------
    tuple
        The exposures, and a JSON-serializable document. ``labels`` has, by task or signal, the ``type``, the number of
        ``events``, of those attributed to an exposure (``joined``), and of the others by reason (``REASONS``).
        ``unread`` has, for types that the scenario does not name, the number of ``types`` and ``events``, and the
        counts of the ``most`` frequent types (none if the scenario forbids quoting rows).

    Raises
    ------
    DataError
        If the log has no exposure, or no event of a label's type.
    """
    _refuse_missing_types(events, scenario, long)
    shown = events[TYPE] == long.exposure
    made = events[shown].drop(columns=[TYPE, VALUE], errors="ignore").reset_index(drop=True)
    low, high = (pd.Timestamp(day, tz="UTC") for day in (scenario.validation.earliest, scenario.validation.latest))
    events = events.assign(**{TIME: events[TIME].where(events[TIME].between(low, high, inclusive="left"))})
    keyed = _keyed(made.assign(**{TIME: events.loc[shown, TIME].array}))
    exposures = keyed.drop_duplicates([USER, ITEM, TIME])
    copied = _first_copies(keyed, len(made)) if len(exposures) < len(keyed) else None
    exposures = exposures.assign(**{_POSITION: exposures.index}).sort_values(TIME, kind="stable")
    known = made[[USER, ITEM, TIME]].notna().all(axis=1).to_numpy()
    counts = {}
    for name, task in scenario.labels.items():
        mine = events[events[TYPE] == task.label]
        found = _exposures_of(_keyed(mine), exposures, "backward", long.attribution_hours)
        counted = found.dropna(subset=[_POSITION]).drop_duplicates(_POSITION).astype({_POSITION: "int64"})
        labels = _labels(counted, task, len(made))
        # Copies share the label of the first, which may be a bad row while a later copy is good.
        made[label(name)] = np.where(known, labels if copied is None else labels[copied], np.float32("nan"))
        counts[name] = {"type": task.label, **_fates(mine, found, exposures, long.attribution_hours, before)}
    return made, {"labels": counts, "unread": _unread(events, scenario, long, before)}


def _first_copies(keyed: pd.DataFrame, rows: int) -> NDArray[np.int64]:
    """Return the position of each row's first copy, its own if there is no other; int64 (rows,)."""
    group = keyed.groupby([USER, ITEM, TIME], sort=False).ngroup().to_numpy()
    position = keyed.index.to_numpy()
    first = np.arange(rows)
    first[position] = position[np.unique(group, return_index=True)[1]][group]
    return first


def _fates(
    mine: pd.DataFrame, found: pd.DataFrame, exposures: pd.DataFrame, hours: float, before: pd.Timestamp | None
) -> dict[str, int]:
    """Count the events of a type that follow an exposure, and the others by reason; those in ``found`` have a key."""
    mine, found = _until(mine, before), _until(found, before)
    lost = found.loc[found[_POSITION].isna(), [USER, ITEM, TIME]]
    earlier = _exposures_of(lost, exposures, "backward")[_POSITION].notna()
    later = _exposures_of(lost, exposures, "forward")[_POSITION].notna()
    soon = _exposures_of(lost, exposures, "forward", hours)[_POSITION].notna()  # as from a slow clock
    reasons = {
        "incomplete": len(mine) - len(found),
        "before_exposure": int((soon | (later & ~earlier)).sum()),
        "outside_window": int((earlier & ~soon).sum()),
        "no_exposure": int((~earlier & ~later).sum()),
    }
    return {"events": len(mine), "joined": len(found) - len(lost), **reasons}


def _unread(events: pd.DataFrame, scenario: Scenario, long: Long, before: pd.Timestamp | None) -> dict[str, Any]:
    read = {"", long.exposure, *(str(task.label) for task in scenario.labels.values())}
    counts = _until(events, before)[TYPE].value_counts()
    counts = counts[~counts.index.isin(read)]
    most = counts.head(0 if scenario.validation.quote_rows is False else _SHOWN)
    return {
        "types": len(counts),
        "events": int(counts.sum()),
        "most": {str(kind): int(count) for kind, count in most.items()},
    }


def _until(events: pd.DataFrame, before: pd.Timestamp | None) -> pd.DataFrame:
    return events if before is None else events[~(events[TIME] >= before)]


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
    """Return the events that have a user, an item and a time."""
    keyed = events.dropna(subset=[USER, ITEM, TIME])
    whole = {name: "int64" for name in (USER, ITEM) if pd.api.types.is_integer_dtype(keyed[name])}
    return keyed.astype(whole)


def _exposures_of(
    events: pd.DataFrame,
    exposures: pd.DataFrame,
    direction: Literal["backward", "forward"],
    hours: float | None = None,
) -> pd.DataFrame:
    """Return events in time order, with the position of the exposure before or after each; missing if there is none."""
    return pd.merge_asof(
        events.sort_values(TIME, kind="stable"),
        exposures[[USER, ITEM, TIME, _POSITION]],
        on=TIME,
        by=[USER, ITEM],
        tolerance=None if hours is None else pd.Timedelta(hours=hours),
        direction=direction,
    )


def _labels(found: pd.DataFrame, task: Task, rows: int) -> np.ndarray:
    if task.kind == "binary":
        labels = np.zeros(rows, dtype=np.float32)
        labels[found[_POSITION].to_numpy()] = 1.0
        return labels
    labels = np.full(rows, np.nan, dtype=np.float32)
    labels[found[_POSITION].to_numpy()] = found[VALUE].to_numpy(dtype=np.float32)
    return labels
