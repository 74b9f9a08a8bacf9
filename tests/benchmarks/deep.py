"""The members `linear` and `deep` beside the members of finished runs, in whose fusions they are put."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mtl_tasks.core import columns
from mtl_tasks.metrics.bootstrap import UserBootstrap
from mtl_tasks.metrics.catalog import Prepared, improvement
from mtl_tasks.models import Member, member_class
from mtl_tasks.models import Table as Rows
from mtl_tasks.models.pooling import PoolRows
from mtl_tasks.pipeline.days.features import DailyFeatures, feature_columns
from mtl_tasks.pipeline.stages.inputs import load_windows, window_positions
from mtl_tasks.scenario import DEEP, Scenario, parse_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.codecs import pack_arrays
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.boosting import parse_only
from tests.benchmarks.fusion import METHODS, Case, cases_of

Values = NDArray[np.float64]
CACHE: Final = Path(".bench/deep")
DRAWS: Final = 100  # of users, for standard errors
UNIT: Final = 1e-4  # of gains


@dataclass(frozen=True)
class Candidate:
    """A member with settings of its own section."""

    kind: Any
    settings: dict[str, Any]

    def scenario(self, scenario: Scenario) -> Scenario:
        """Return a scenario with the settings."""
        return scenario.model_copy(update={DEEP: scenario.deep.model_copy(update=self.settings)})


CANDIDATES: Final = {
    "linear": Candidate("linear", {}),
    "deep": Candidate(DEEP, {}),
    "deep ple": Candidate(DEEP, {"structure": "ple"}),
    "deep mmoe": Candidate(DEEP, {"structure": "mmoe"}),
    "deep x4": Candidate(DEEP, {"seeds": 4}),
}


def main(store: str, only: list[str], fresh: bool, console: Console) -> None:
    """Print, for each finished run and candidate, what it reaches alone and adds to the fusion."""
    chosen, opened = parse_only(only), Store(store, key_from(os.environ))
    table = Table(box=SIMPLE, title="gains of the fusion in units of .0001 of AUC or RMSE; positive is better")
    for heading in ("run and task", "member", "alone", "fusion", "with it", "gain", "s.e.", "cpu s", "of run", "MB"):
        table.add_column(heading, justify="left" if heading in ("run and task", "member") else "right", no_wrap=True)
    for name in sorted(folder.parent.name for folder in opened.root.glob("*/registry")):
        for entry in Registry(opened, name).entries():
            if _matches(chosen.get("problem"), name):
                _add_run(table, store, entry, [one for one in CANDIDATES if _matches(chosen.get("method"), one)], fresh)
    console.print(table)


def _matches(patterns: list[str] | None, name: str) -> bool:
    return patterns is None or name in patterns


def _add_run(table: Table, store: str, entry: RunRecord, names: list[str], fresh: bool) -> None:
    opened = Store(store, key_from(os.environ))
    spent = sum(opened.open(ref).manifest["usage"]["cpu_seconds"] for ref in entry.refs.values())
    for case in cases_of(opened, entry):
        for name in names:
            _add_case(table, case, name, _measured(store, case.run, entry, name, fresh), spent)
        table.add_section()


def _add_case(table: Table, case: Case, name: str, made: dict[str, Values], spent: float) -> None:
    blend, test = made[f"blend.{case.task}"], made[f"test.{case.task}"]
    scores = {
        "alone": PoolRows.of({name: test}, case.test.label, case.test.users, case.test.kind).inputs[:, 0],
        "without": METHODS["auto"](case.blend).score(case.test),
        "with": METHODS["auto"](_beside(case.blend, name, blend)).score(_beside(case.test, name, test)),
    }
    prepared = {key: Prepared(case.metric, case.test.label, score) for key, score in scores.items()}
    value = {key: one.under(np.ones(len(case.test.label))) for key, one in prepared.items()}
    both = {key: prepared[key] for key in ("without", "with")}
    drawn = UserBootstrap(case.test.users, DRAWS, seed=0).replicate(both)
    error = float(np.std(drawn["with"] - drawn["without"], ddof=1)) / UNIT
    gain = improvement(case.metric, value["with"], value["without"]) / UNIT
    cpu, memory = made["cpu"][0], made["memory"][0]
    shown = [f"{value[key]:.4f}" for key in ("alone", "without", "with")]
    costs = [f"{cpu:.0f}", f"{cpu / spent:.0%}", f"{memory:.0f}"]
    table.add_row(f"{case.run} {case.task}", name, *shown, f"{gain:+.1f}", f"{error:.1f}", *costs)


def _beside(rows: PoolRows, name: str, prediction: Values) -> PoolRows:
    """Add a member's predictions, float64 (n,), to those of a run's members."""
    added = PoolRows.of({name: prediction}, rows.label, rows.users, rows.kind)
    return replace(rows, members=(*rows.members, name), inputs=np.column_stack([rows.inputs, added.inputs]))


def _measured(store: str, run: str, entry: RunRecord, name: str, fresh: bool) -> dict[str, Values]:
    """Return predictions of blend and test, and what the fits cost; of an earlier call if there was one."""
    file = CACHE / f"{run} {name}.npz".replace(" ", "-")
    if fresh or not file.is_file():
        # A process of its own, so that its peak memory is the member's.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            made = pool.submit(fit_member, store, entry, CANDIDATES[name]).result()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pack_arrays(made))
    with np.load(file) as stored:
        return dict(stored)


def fit_member(store: str, entry: RunRecord, candidate: Candidate) -> dict[str, Values]:
    """Fit a member on a run's stored features as the run's stages do.

    Returns
    -------
    dict
        ``blend.TASK`` and ``test.TASK``, predictions of the labeled rows; ``cpu`` in seconds, ``memory`` in MB.
    """
    opened = Store(store, key_from(os.environ))
    scenario = candidate.scenario(parse_scenario(entry.scenario_document, where="the registry"))
    features, split = (opened.open(entry.refs[stage]) for stage in ("features", "split"))
    rows = split.frame("rows")
    declared = feature_columns(opened, features, scenario)
    names = member_class(candidate.kind).reads(scenario, declared)
    table = Rows(
        DailyFeatures.of(opened, features, names),
        {task: rows[columns.label(task)].to_numpy().copy() for task in scenario.tasks},
        users=rows[columns.USER].to_numpy().copy(),
        columns=[column for column in declared if column.name in names],
    )
    windows = window_positions(rows, load_windows(split))
    start = time.process_time()
    member = member_class(candidate.kind).fit(table.where(windows["train"]), table.where(windows["tune"]), scenario)
    made = _predicted(member, table.where(windows["blend"]), "blend")
    if scenario.refit == "through_blend":
        member = member.refit(table.where(slice(windows["test"].start)))
    made |= _predicted(member, table.where(windows["test"]), "test")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**made, "cpu": np.array([time.process_time() - start]), "memory": np.array([peak])}


def _predicted(member: Member, table: Rows, window: str) -> dict[str, Values]:
    predictions = member.predict(table.features)
    return {f"{window}.{task}": values[table.rows(task).positions] for task, values in predictions.items()}
