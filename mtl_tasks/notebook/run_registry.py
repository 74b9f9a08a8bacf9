"""The registry of a scenario's runs, as a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mtl_tasks.notebook.loaded_run import LoadedRun
from mtl_tasks.pipeline.past_runs import read_history
from mtl_tasks.store.artifacts import Store


class RunRegistry:
    """The registry of a scenario; create it with :func:`~mtl_tasks.notebook.open_registry`.

    It is read again for every question, so that a later decision counts.
    """

    def __init__(self, store: Store, scenario: str, root: str | Path = ".") -> None:
        self.store, self.scenario, self.root = store, scenario, root

    def __repr__(self) -> str:
        return f"RunRegistry({self.scenario!r})"

    def champion(self) -> LoadedRun | None:
        """Return today's champion, the newest promoted run; None if no run is promoted.

        Raises
        ------
        StoreError
            If the store is unreachable.
        """
        champion = read_history(self.store, self.scenario).champion
        return None if champion is None else LoadedRun(champion, self.root)

    def runs(self) -> pd.DataFrame:
        """Return a row for each run, oldest ``as_of`` first.

        Returns
        -------
        pandas.DataFrame
            ``as_of`` (``YYYY-MM-DD``), ``run_key``, ``status``, ``why`` (a sentence) and ``champion`` (bool: whether it
            is today's).

        Raises
        ------
        StoreError
            If the store is unreachable.

        Examples
        --------
        >>> registry.runs()[["as_of", "status", "champion"]]
                as_of    status  champion
        0  2013-05-08  promoted     False
        1  2013-05-09   retired     False
        2  2013-05-10  rejected     False
        3  2013-05-11    forced      True
        """
        history = read_history(self.store, self.scenario)
        champion = history.champion
        today = None if champion is None else champion.entry.run_key
        rows = [
            (run.entry.as_of, run.entry.run_key, run.standing, run.why, run.entry.run_key == today)
            for run in history.runs
        ]
        return pd.DataFrame(rows, columns=["as_of", "run_key", "status", "why", "champion"])
