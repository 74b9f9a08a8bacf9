"""Snapshots of the feature statistics, stored once a week, from which a later run goes on counting."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from mtl_tasks.core.days import day_text
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.pipeline.days.fingerprints import DayFingerprints
from mtl_tasks.store.artifacts import DAYS, Store

log = logging.getLogger(__name__)

_WEEK: Final = 7  # a snapshot holds the statistics before a day divisible by this


def snapshot_keys(fingerprints: DayFingerprints, until: int) -> dict[int, str]:
    """Return the key of the snapshot before each day, ascending, that may have one, up to ``until``."""
    weeks = range(fingerprints.first + -fingerprints.first % _WEEK, until + 1, _WEEK)
    return {day: digest.hexdigest() for day, digest in fingerprints.before(weeks)}


def weeks_of(days: Iterable[int], first: int, last: int) -> list[int]:
    """Return the first day of the week of each day, if it is from ``first`` to ``last``."""
    weeks = {int(day) - int(day) % _WEEK for day in days}
    return sorted(week for week in weeks if first <= week <= last)


def newest_snapshot(store: Store, scenario: str, keys: Mapping[int, str], day: int) -> FeatureSnapshot | None:
    """Return the newest stored snapshot at or before ``day``; None without any.

    Parameters
    ----------
    scenario
        Name of the scenario, under which its days are stored.
    keys
        From :func:`snapshot_keys`.

    Raises
    ------
    ArtifactError
        If the snapshot is damaged.
    """
    for week in sorted((one for one in keys if one <= day), reverse=True):
        found = store.find(store.folder(scenario, DAYS, day_text(week), keys[week]))
        if found is not None:
            log.info("%s: counting goes on from %s", scenario, day_text(week))
            return FeatureSnapshot.read(found)
    return None
