"""Predictions of a finished run as labels of a smaller one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.inputs import load_scorer
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.store.artifacts import Artifact
from mtl_tasks.store.champions import scoring_refs

if TYPE_CHECKING:
    from mtl_tasks.models import Table
    from mtl_tasks.recommend.scorer import Scorer
    from mtl_tasks.store.registry import RunRecord

ROWS_AT_ONCE: Final = 250_000  # bounds memory: rows whose features are held while the teacher scores them


def taught_tables(run: Run, inputs: Inputs, table: Table, blend: slice) -> tuple[Table, Table]:
    """Return the table with the teacher's predictions as labels, to fit and to refit `distilled` on.

    The predictions to fit on are the uncalibrated mean of the members with weight, before their refit: the fusion's
    weights and calibration are fitted on the labels of blend, which candidates are judged on. The choice of the members
    is all that they have of blend. The predictions to refit on are the teacher's own.

    Parameters
    ----------
    blend
        Positions of the blend window's rows. Rows from its start on have no labels to fit on, those from its end on
        none to refit on.

    Raises
    ------
    ConfigError
        If there is no teacher, it cannot be compressed, or its factors are not those of this run.
    """
    from mtl_tasks.models.fusion import uncalibrated_mean
    from mtl_tasks.models.teacher import find_teacher

    entry = find_teacher(run.scenario, run.as_of.iso, run.store)
    assert entry is not None  # a scenario with the member names it
    theirs = Inputs({name: run.store.open(ref) for name, ref in scoring_refs(entry).items()})
    _check_factors(run, inputs["features"], theirs["factors"], entry)
    scenario = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
    before = load_scorer(scenario, theirs, before_refit=True)
    before = replace(
        before, fusions={task: uncalibrated_mean(fusion).to_json() for task, fusion in before.fusions.items()}
    )
    fitting = replace(table, labels=soft_labels(run, inputs["features"], before, len(table), blend.start))
    if run.scenario.refit == "none":
        return fitting, fitting
    after = load_scorer(scenario, theirs)
    return fitting, replace(table, labels=soft_labels(run, inputs["features"], after, len(table), blend.stop))


def soft_labels(run: Run, features: Artifact, scorer: Scorer, rows: int, until: int) -> dict[str, NDArray[np.float32]]:
    """Return a scorer's predictions of the first rows as labels by task, float32 (rows,); NaN from ``until`` on."""
    from mtl_tasks.pipeline.days.features import read_days

    labels = {task: np.full(rows, np.nan, dtype=np.float32) for task in run.scenario.tasks}
    for start in range(0, until, ROWS_AT_ONCE):
        place = np.arange(start, min(start + ROWS_AT_ONCE, until))
        made = scorer.fuse(read_days(run.store, features, positions=place))
        for task, label in labels.items():
            label[place] = made[columns.prediction(task)]
    return labels


def _check_factors(run: Run, features: Artifact, theirs: Artifact, entry: RunRecord) -> None:
    """Compare the factors that the features were made with, which the key of these names, with the teacher's."""
    from mtl_tasks.pipeline.days.factors import load_factor_models, same_factors

    key = features.manifest["inputs"]["factors"]
    ours = run.store.find(run.store.folder(run.scenario.name, run.as_of.iso, "factors", key))
    if ours is None or not same_factors(load_factor_models(ours), load_factor_models(theirs)):
        raise ConfigError(
            f"compression.teacher: the factors of run {entry.run_key[:12]} are not those of this run, so that its "
            "trees would read other features: run it again with this code, and compress that run"
        )
