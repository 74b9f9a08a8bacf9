"""The entry points of the API for notebooks: a finished run, and the registry of a scenario."""

from __future__ import annotations

import os
from datetime import date, datetime, time
from pathlib import Path

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.process import settle_threads
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.notebook.loaded_run import LoadedRun
from mtl_tasks.notebook.run_registry import RunRegistry
from mtl_tasks.pipeline.past_runs import choose_run, stored_scenarios
from mtl_tasks.scenario import load_scenario
from mtl_tasks.scenario.scenario import SCENARIO_FOLDER
from mtl_tasks.store.address import address_from, checked_address
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.sealing import key_from


def load_run(
    scenario: str,
    as_of: str | date | None = None,
    *,
    run: str | None = None,
    root: str | Path = ".",
    store: str | Path | None = None,
) -> LoadedRun:
    """Return a finished run of a scenario; nothing is trained. Models and log are read when they are first needed.

    Parameters
    ----------
    as_of
        The run's day; a ``pandas.Timestamp`` or another time must be a midnight. The newest run of the day is taken.
        Without ``as_of`` and ``run``: today's champion.
    run
        The key of a run, or its beginning.
    root
        The project folder.
    store
        A folder, relative to ``root``, or ``s3://…``; by default ``MTL_STORE``, else ``.store``.

    Raises
    ------
    ConfigError
        If the scenario is unknown, ``as_of`` is no day, or the run of the key is of another day.
    ArtifactError
        If there is no such run.

    Examples
    --------
    >>> run = load_run("small", as_of="2013-05-08", root=project)
    >>> run
    LoadedRun('small', as_of='2013-05-08', status='promoted')
    """
    registry = open_registry(scenario, root=root, store=store)
    if as_of is None and run is None:
        champion = registry.champion()
        if champion is None:
            raise ArtifactError(
                f"{scenario}: no run is promoted: name a run with as_of or run ({PROGRAM} registry list {scenario})"
            )
        return champion
    day = None if as_of is None else AsOf.parse(_day_text(as_of)).iso
    return LoadedRun(choose_run(registry.store, scenario, day, run)[0], root)


def _day_text(as_of: str | date) -> str:
    """Return a day as text; a time that is no midnight stays one, and is refused as no date."""
    if isinstance(as_of, datetime) and as_of.time() == time():  # as pandas has days
        return as_of.date().isoformat()
    return str(as_of)


def open_registry(scenario: str, *, root: str | Path = ".", store: str | Path | None = None) -> RunRegistry:
    """Return the registry of a scenario's runs.

    Parameters
    ----------
    root, store
        See :func:`load_run`.

    Raises
    ------
    ConfigError
        If the scenario has neither runs nor a file.

    Examples
    --------
    >>> open_registry("small", root=project).champion()
    LoadedRun('small', as_of='2013-05-11', status='forced')
    """
    settle_threads()
    opened = Store(checked_address(str(store or address_from(os.environ)), Path(root)), key_from(os.environ))
    if scenario not in stored_scenarios(opened):
        load_scenario(scenario, folder=Path(root) / SCENARIO_FOLDER)  # refuses a misspelled name
    return RunRegistry(opened, scenario, root)
