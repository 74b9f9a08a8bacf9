"""Tuning from poor settings and from the shipped ones: what was found, and whether it held on a later day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mtl_tasks.core.days import AsOf
from mtl_tasks.models import Predictions
from mtl_tasks.models.calibration import SIGNIFICANT
from mtl_tasks.pipeline.tuning.open_study import OpenStudy
from mtl_tasks.pipeline.tuning.prepare import prepare_study, run_trials
from mtl_tasks.pipeline.tuning.result import conclude
from mtl_tasks.scenario import Scenario, load_scenario
from mtl_tasks.simulation import Settings, simulate
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.tuning import TuningResult
from mtl_tasks.tuning.evidence import Gain, confirmed_gain
from mtl_tasks.tuning.objective import Fold, Objective
from mtl_tasks.tuning.space import trial_scenario
from mtl_tasks.tuning.study import read_losses, value_text
from tests.benchmarks.output import make_table

RESULTS: Final = Path(".bench/tuning.json")
SHOP: Final = Path(".bench/simulated/tuning")
# Half as large as the scenario's own log, and five weeks longer, so that there is a later day.
LOG: Final = Settings(users=500, items=200, days=98, events=140_000, seed=1)
STARTS: Final[dict[str, dict[str, Any]]] = {
    "poor": {"boosting.num_leaves": 4, "boosting.learning_rate": 0.5, "boosting.min_data_in_leaf": 1000},
    "shipped": {},
}


@dataclass(frozen=True)
class Case:
    """A scenario with settings that shorten its trials, the days of the study, and a day whose blend is after them."""

    overrides: Mapping[str, Any]
    days: tuple[str, ...]
    later: str


CASES: Final = {
    "ecommerce": Case(
        {
            "source.events": f"{SHOP}/events",
            "source.items.path": f"{SHOP}/items.parquet",
            "source.users.path": f"{SHOP}/users.parquet",
            "members": ["popularity", "independent"],
            "boosting.threads": 1,
            "boosting.rounds": 200,
            "boosting.patience": 20,
            "end_date": None,
        },
        ("2024-03-04", "2024-03-18"),
        "2024-04-08",
    ),
    "movies": Case(
        {"members": ["popularity", "independent"], "boosting.seeds": 1, "boosting.threads": 1},
        ("2013-07-07", "2013-07-21"),
        "2013-08-25",
    ),
}


class LaterFold(Fold):
    """The blend rows of a day that settings were not chosen on: all of their users confirm."""

    @cached_property
    def chosen_on(self) -> NDArray[np.bool_]:
        """See :class:`Fold`."""
        return np.zeros(len(self.user_ids), dtype=bool)


def main(store: str, scenarios: list[str], trials: int, console: Console) -> None:
    """Tune every scenario from each start, print the table, write the JSON."""
    if "ecommerce" in scenarios and not SHOP.exists():
        simulate(LOG, SHOP)
    documents = []
    for name in scenarios:
        for start, settings in STARTS.items():
            case = CASES[name]
            scenario = load_scenario(name, {**case.overrides, **settings})
            result = _tuned(scenario, case, Store(store), trials)
            later = _later_gain(scenario, case, Store(store), result)
            documents.append({"start": start, "result": result.to_stored(), "later": asdict(later)})
            console.print(f"{name} from {start}: {result.conclusion}; as of {case.later}: {_gain(later)}")
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps(documents, indent=1) + "\n")
    console.print(_table(documents))
    console.print(f"Written to {RESULTS}")


def _tuned(scenario: Scenario, case: Case, store: Store, trials: int) -> TuningResult:
    days = [AsOf.parse(day) for day in case.days]
    opened = prepare_study(scenario, days, trials, store, None, lambda stage, result: None)
    run_trials(opened, lambda trial, finished, best: print(trial.number, value_text(trial), flush=True))
    return conclude(opened)


def _later_gain(scenario: Scenario, case: Case, store: Store, result: TuningResult) -> Gain:
    """Return the gain of the best settings on the blend window of a later day, over all users."""
    opened = prepare_study(scenario, [AsOf.parse(case.later)], 1, store, None, lambda stage, result: None)
    objective = opened.objective
    best: dict[int, Predictions] = dict(objective.steps(trial_scenario(scenario, result.best), opened.space.kinds))
    held = tuple(LaterFold(fold.as_of, fold.tables, fold.labels, fold.users) for fold in objective.folds)
    return confirmed_gain(Objective(scenario, held, objective.floors), _first(opened), [best[0]])


def _first(opened: OpenStudy) -> list[Predictions]:
    return read_losses(opened.folder, 0, opened.objective)


def _table(documents: list[dict[str, Any]]) -> Table:
    heads = (
        "scenario",
        "start",
        "trials (pruned)",
        "CPU s",
        "loss shipped → best",
        "gain, other users",
        "gain, later day",
        "best settings",
    )
    rows: list[tuple[str, ...]] = []
    for one in documents:
        result = TuningResult.parse(one["result"], "result")
        counts = result.trials
        gain = "–" if result.gain is None else _gain(Gain(result.gain.mean, result.gain.standard_error))
        best = ", ".join(f"{key.removeprefix('boosting.')} {value:g}" for key, value in result.best.items())
        cells = (
            result.scenario,
            one["start"],
            f"{counts.complete + counts.pruned} ({counts.pruned})",
            f"{result.cpu_seconds:,.0f}",
            f"{result.shipped_value:.4f} → {result.best_value:.4f}",
            gain,
            _gain(Gain(**one["later"])),
            best,
        )
        rows.append(cells)
    return make_table(heads, (), rows)


def _gain(gain: Gain) -> str:
    shown = f"{gain.mean:+.4f} ± {gain.standard_error:.4f}"
    return f"**{shown}**" if abs(gain.mean) > SIGNIFICANT * gain.standard_error else shown
