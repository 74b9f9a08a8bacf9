"""Finished runs of a scenario, read from the registry.

A run is found by its registry record, not by today's code or scenario file, so that the oldest run can still be read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from mtl_tasks.core.documents import validate
from mtl_tasks.core.errors import ArtifactError, ConfigError, answering
from mtl_tasks.core.program import PROGRAM
from mtl_tasks.pipeline.verdict_reasons import deciding_reason
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.measurements import TaskMeasurements
from mtl_tasks.store.registry import Decision, Registry, RunRecord, Snapshot

KEPT_RUNS: Final = 4096  # metrics of a run are a few kB


@dataclass(frozen=True)
class PastRun:
    """A run with a verdict.

    Attributes
    ----------
    standing
        Current status; see :meth:`mtl_tasks.store.registry.Snapshot.standing_of`.
    store
        The store that its artifacts are in.
    """

    entry: RunRecord
    rulings: tuple[Decision, ...]
    standing: str
    store: Store

    @property
    def metrics(self) -> TaskMeasurements:
        """Task to metrics of the fusion on the test window; empty if they cannot be read."""
        return self._measured[0]

    @property
    def problem(self) -> str | None:
        """The reason why the metrics cannot be read; None if they can."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[TaskMeasurements, str | None]:
        """Read the metrics when they are first asked for: most runs of a long history are not shown."""
        try:
            if not self.entry.metrics:  # a record from before the registry had them
                return _metrics(self.store, self.entry.refs["evaluate"]), None
            where = f"registry entry {self.entry.run_key[:12]}"
            return validate(TaskMeasurements, self.entry.metrics, where), None
        except (ArtifactError, KeyError) as error:
            return {}, str(error)

    @property
    def why(self) -> str:
        """The reason for the status: the last decision, else the first failed rule, else how many rules passed."""
        if self.rulings:
            return self.rulings[-1].sentence(self.entry, self.rulings)
        return deciding_reason(self.entry.reasons)

    def to_json(self) -> dict[str, Any]:
        """Return the run's row on the model board."""
        return {
            "run_key": self.entry.run_key,
            "as_of": self.entry.as_of,
            "decision": self.entry.decision,
            "standing": self.standing,
            "why": self.why,
            "rulings": [ruling.to_json() for ruling in self.rulings],
            "metrics": {
                task: {name: measured.to_json() for name, measured in metrics.items()}
                for task, metrics in self.metrics.items()
            },
            "problem": self.problem,
        }


@dataclass(frozen=True)
class ChampionPeriod:
    """The day from which a run was the newest promoted one."""

    as_of: str
    run_key: str


@dataclass(frozen=True)
class History:
    """The runs of a scenario, oldest as_of first.

    Attributes
    ----------
    champions
        Oldest first. Runs retired since are left out: the champion of a time is computed, not stored.
    problems
        One sentence for each damaged record of the registry.
    """

    scenario: str
    runs: list[PastRun]
    champions: list[ChampionPeriod]
    problems: tuple[str, ...] = ()

    @property
    def champion(self) -> PastRun | None:
        """Today's champion."""
        if not self.champions:
            return None
        return next(run for run in self.runs if run.entry.run_key == self.champions[-1].run_key)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        champion = self.champion
        return {
            "scenario": self.scenario,
            "champion": None if champion is None else champion.entry.run_key,
            "champions": [asdict(period) for period in self.champions],
            "runs": [run.to_json() for run in self.runs],
            "problems": list(self.problems),
        }


def stored_scenarios(store: Store) -> list[str]:
    """Return the names of the scenarios that have a verdict in the store.

    Raises
    ------
    StoreError
        If the store is unreachable.
    """
    with answering(f"{store.root}: the store cannot be read"):
        if not store.root.exists():
            return []
        return sorted(folder.name for folder in store.root.iterdir() if (folder / "registry").is_dir())


def read_history(store: Store, scenario: str) -> History:
    """Return all runs of a scenario, including those with unreadable metrics or records.

    Raises
    ------
    StoreError
        If the store is unreachable.
    """
    registry = Registry(store, scenario)
    snapshot = _snapshot(store, scenario, registry.version())
    if snapshot.damaged:  # a restored file has the name of the damaged one
        _snapshot.cache_clear()
    runs = [PastRun(run.entry, run.rulings, snapshot.standing_of(run.entry), store) for run in snapshot.runs.values()]
    newest = {entry.as_of: entry.run_key for entry in snapshot.standing}
    champions = [ChampionPeriod(as_of, run_key) for as_of, run_key in newest.items()]
    return History(scenario, runs, champions, tuple(snapshot.warnings()))


@lru_cache(maxsize=32)
def _snapshot(store: Store, scenario: str, version: tuple[str, ...]) -> Snapshot:
    """Return the registry's snapshot, cached by the names of its records, which never change."""
    return Registry(store, scenario).read() if version else Snapshot(())


@lru_cache(maxsize=KEPT_RUNS)
def _metrics(store: Store, ref: Ref) -> TaskMeasurements:
    return read_document(store.open(ref), "evaluation", Evaluation).metrics


def read_run(store: Store, scenario: str, run_key: str) -> PastRun:
    """Return one run by its key; only its own records are read.

    Raises
    ------
    ArtifactError
        If there is none, or its verdict is damaged.
    """
    snapshot = Registry(store, scenario).read(run_key)
    for run in snapshot.runs.values():
        return PastRun(run.entry, run.rulings, snapshot.standing_of(run.entry), store)
    for record in snapshot.damaged:
        raise ArtifactError(record.why)
    raise ArtifactError(f"{scenario}: no run {run_key[:12]!r} in the registry: choose one from the list")


def choose_run(store: Store, scenario: str, as_of: str | None, run_key: str | None) -> tuple[PastRun, int]:
    """Return the run with a key, or else the newest one of a day, and the number of runs of its day.

    Parameters
    ----------
    as_of
        ``YYYY-MM-DD``; optional if there is a key.
    run_key
        The key, or a unique prefix.

    Raises
    ------
    ConfigError
        If both are missing, or the run of the key is of another day.
    ArtifactError
        If there is no such run.
    """
    registry = Registry(store, scenario)
    named = None if run_key is None else registry.get(run_key)
    if named is None and as_of is None:
        raise ConfigError("as_of is missing: give a date, for example --as-of 2013-08-25, or a run with --run")
    if named is not None and as_of not in (None, named.as_of):
        raise ConfigError(f"--run {run_key}: is as of {named.as_of}, not {as_of}: leave --as-of out")
    day = as_of if named is None else named.as_of
    of_day = [entry for entry in registry.entries() if entry.as_of == day]
    if not of_day:
        raise ArtifactError(
            f"{scenario} as of {day}: no run in {store.root}: run it first ({PROGRAM} run), or name another "
            "place with --store"
        )
    return read_run(store, scenario, (named or of_day[-1]).run_key), len(of_day)
