"""Gain of text features: the member `independent` of one scenario with and without them, on blend and on test."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Shown

from mtl_tasks.core.days import AsOf
from mtl_tasks.metrics.catalog import compute, primary
from mtl_tasks.models import member_class
from mtl_tasks.models.calibration import clustered_mean
from mtl_tasks.pipeline.days.features import feature_columns
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.stages.train import labeled_table
from tests.benchmarks.stages import results_until

SCENARIO: Final = "retail"
AS_OF: Final = "2011-12-10"
SETTINGS: Final = {"source.items.text": "description"}
WINDOWS: Final = ("blend", "test")

Values = NDArray[np.float64]
Fit = dict[tuple[str, str], tuple[Values, Values, NDArray[Any]]]  # window and task to label, prediction and user


def main(store: str, console: Console) -> None:
    """Print metrics with and without the columns of texts, and the gain in a row's loss."""
    run, inputs = _features(store)
    without, using = (_fitted(run, inputs, text=text) for text in (False, True))
    table = Shown(title=f"{SCENARIO} as of {AS_OF}", box=SIMPLE)
    for heading in ("window", "task", "metric", "without text", "with text", "gain in row loss"):
        table.add_column(heading)
    for (window, task), (label, plain, users) in without.items():
        kind = run.scenario.tasks[task].kind
        metric, other = primary(kind), using[window, task][1]
        mean, error = clustered_mean(_loss(kind, label, plain) - _loss(kind, label, other), users)
        values = [f"{compute(metric, label, prediction):.4f}" for prediction in (plain, other)]
        table.add_row(window, task, metric, *values, f"{mean:+.4f} ± {error:.4f}")
    console.print(table)


def _features(store: str) -> tuple[Run, Inputs]:
    """Run the stages up to the features."""
    run = make_run(SCENARIO, AsOf.parse(AS_OF), dict(SETTINGS), store)
    results = results_until(run, "features")
    return run, Inputs({name: run.store.open(result.ref) for name, result in results.items()}, {})


def _fitted(run: Run, inputs: Inputs, *, text: bool) -> Fit:
    """Fit the member on train and tune, and return its predictions of the labeled rows."""
    made = feature_columns(run.store, inputs["features"], run.scenario)
    chosen = [column for column in made if text or not column.name.startswith("text.")]
    table, place = labeled_table(run, inputs, chosen)
    train, tune = (table.where(place[name]) for name in ("train", "tune"))
    fitted = member_class("independent").fit(train, tune, run.scenario)
    found: Fit = {}
    for window in WINDOWS:
        part = table.where(place[window])
        predicted = fitted.predict(part.features)
        for task in run.scenario.tasks:
            seen = ~np.isnan(part.labels[task])
            assert part.users is not None
            found[window, task] = (part.labels[task][seen], predicted[task][seen], part.users[seen])
    return found


def _loss(kind: str, label: Values, prediction: Values) -> Values:
    if kind == "regression":
        return (label - prediction) ** 2
    sure = np.clip(prediction, 1e-9, 1 - 1e-9)
    return -(label * np.log(sure) + (1 - label) * np.log(1 - sure))
