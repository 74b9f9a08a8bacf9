"""The servers of the section `tracking`, after a command has changed the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported inside the function, so that `--help` is fast
    from mtl_tasks.store.artifacts import Store


def follow_registry(scenario: str, store: Store, run_keys: Sequence[str]) -> str | None:
    """Update some runs and the champion on the servers; every command that changes the registry ends with this.

    Returns
    -------
    str or None
        A fault with its remedy, which is logged as a warning; None without one.
    """
    from mtl_tasks.scenario import load_scenario

    targets = load_scenario(scenario)
    if targets.tracking is None:
        return None
    from mtl_tasks.pipeline.tracking import track_decisions

    return track_decisions(store, targets, run_keys)
