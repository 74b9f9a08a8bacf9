"""The candidate beside the champion: every metric of both on the same test rows, with the paired difference."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from mtl_tasks.evaluation.evaluate import FUSION, REPLICATES, ScoredRows
from mtl_tasks.evaluation.gate import CHAMPION, Evidence
from mtl_tasks.evaluation.lists import value_column
from mtl_tasks.metrics.bootstrap import UserBootstrap, measured
from mtl_tasks.metrics.catalog import Prepared, improvement, metrics_of
from mtl_tasks.metrics.lists import RELEVANCE
from mtl_tasks.store.documents.measurements import UNKNOWN, Measurement
from mtl_tasks.store.documents.versus_champion import PairedMetric, TaskVersusChampion, VersusChampion

MODELS: Final = (FUSION, CHAMPION)


def compare_with_champion(evidence: Evidence) -> VersusChampion | None:
    """Return every task's metrics beside the champion's; None without a champion.

    Slices have the primary metric only: an interval of each metric would cost as much as the rest of the gate.
    """
    champion, scenario = evidence.champion, evidence.scenario
    if champion is None:
        return None
    tasks = {}
    for name, task in scenario.tasks.items():
        rows, metrics = evidence.rows[name], metrics_of(task.kind)
        if CHAMPION in rows.predictions:
            slices = {part: rows.where(mask) for part, mask in rows.slices.items()}
            tasks[name] = TaskVersusChampion(
                metrics=compare_paired(rows, metrics, scenario.seed),
                slices={part: compare_paired(some, metrics[:1], scenario.seed) for part, some in slices.items()},
            )
    return VersusChampion(
        run_key=champion.run_key,
        as_of=champion.as_of,
        problem=champion.problem,
        tasks=tasks,
        lists=_compare_lists(evidence),
    )


def compare_paired(rows: ScoredRows, metrics: tuple[str, ...], seed: int) -> dict[str, PairedMetric]:
    """Return metrics of the predictions ``fusion`` and ``champion``, with the paired difference."""
    if not len(rows.label):
        return {name: PairedMetric(candidate=None, champion=None, gain=UNKNOWN) for name in metrics}
    prepared = {
        (model, metric): one
        for model in MODELS
        for metric, one in Prepared.several(metrics, rows.label, rows.predictions[model]).items()
    }
    drawn = UserBootstrap(rows.users, REPLICATES, seed).replicate(prepared)
    everything = np.ones(len(rows.label))
    made = {}
    for metric in metrics:
        mine, theirs = (prepared[model, metric].under(everything) for model in MODELS)
        sign = improvement(metric, 1.0, 0.0)
        gains = sign * (drawn[FUSION, metric] - drawn[CHAMPION, metric])
        gain = Measurement.model_validate(measured(sign * (mine - theirs), gains, len(rows.label)))
        made[metric] = PairedMetric(candidate=_finite(mine), champion=_finite(theirs), gain=gain)
    return made


def _compare_lists(evidence: Evidence) -> dict[str, PairedMetric]:
    """Return the metrics of both runs' recommendations, where the champion's were made for a rule."""
    values, mine = evidence.list_values, evidence.evaluation.ranking.published
    made = {}
    for metric in RELEVANCE:
        found = evidence.list_gain(metric, mine, CHAMPION)
        if values is None or found is None:
            continue
        candidate, champion = (_mean(values[value_column(ranker, metric)]) for ranker in (mine, CHAMPION))
        made[metric] = PairedMetric(candidate=candidate, champion=champion, gain=found)
    return made


def _mean(values: pd.Series[float]) -> float | None:
    return _finite(float(values.mean()))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
