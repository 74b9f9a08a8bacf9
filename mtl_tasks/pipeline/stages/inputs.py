"""Loaders of stage artifacts, in the form that the domain takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mtl_tasks.core import columns
from mtl_tasks.data.interaction_log import InteractionLog
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Artifact, Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.rank import RankDocument

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.features.builder import Tables
    from mtl_tasks.features.state import FeatureSnapshot
    from mtl_tasks.metrics.ranking import Values
    from mtl_tasks.recommend.rankers import Ranker
    from mtl_tasks.recommend.scorer import Scorer

MODEL = "model."  # prefix of a member's own files among those of its artifact
FITTED = "fitted."  # prefix of its files before the refit, for the rankers and for later runs to warm-start from
TOWERS = "towers."  # prefix of the files of the two towers among those of the stage `rank`
RANK = "rank"  # the stage, and its document


def load_events(run: Run, inputs: Inputs) -> InteractionLog:
    """Return the good rows of the run's log, in order of days.

    Raises
    ------
    DataError
        If a column is missing or has another dtype.
    """
    from mtl_tasks.pipeline.days.log import read_events

    return InteractionLog(read_events(run.store, inputs["validate"]))


def load_tables(inputs: Inputs) -> Tables:
    """Return the attribute tables of users and items."""
    from mtl_tasks.features.builder import Tables

    return Tables(inputs["validate"].frame("users"), inputs["validate"].frame("items"))


def load_windows(split_artifact: Artifact) -> dict[str, tuple[int, int]]:
    """Return the first day of each window and the day after its last, as the stage `split` cut them."""
    return {name: (first, end) for name, (first, end) in split_artifact.json("windows").items()}


def window_positions(rows: pd.DataFrame, windows: dict[str, tuple[int, int]]) -> dict[str, slice]:
    """Return the positions of each window's rows; rows are ordered by day."""
    days = rows[columns.DAY].to_numpy()
    return {name: slice(*np.searchsorted(days, bounds).tolist()) for name, bounds in windows.items()}


def load_test_predictions(scenario: Scenario, inputs: Inputs) -> dict[str, dict[str, Values]]:
    """Return the predictions of all members and of ``fusion`` for the test rows, by task, float64 (n,) each."""
    from mtl_tasks.evaluation.evaluate import FUSION
    from mtl_tasks.models.fusion import fuse

    fusion = inputs["fuse"].json("fusion")
    members = {name: artifact.frame("test") for name, artifact in inputs.matching("member").items()}
    made = {}
    for task, settings in scenario.tasks.items():
        made[task] = {name: part[columns.prediction(task)].to_numpy() for name, part in members.items()}
        made[task][FUSION] = fuse(fusion[task], made[task], settings.kind)
    return made


def load_memory(
    run: Run, scenario: Scenario, inputs: Inputs, events: InteractionLog, tables: Tables, day: int
) -> FeatureSnapshot | None:
    """Load the newest feature snapshot at or before ``day``, if any; a forced run uses only its own."""
    from mtl_tasks.pipeline.days.fingerprints import DayFingerprints
    from mtl_tasks.pipeline.days.log import day_digests
    from mtl_tasks.pipeline.days.snapshots import newest_snapshot, snapshot_keys

    fingerprints = DayFingerprints.of(run, scenario, day_digests(run.store, inputs["validate"]), events.frame, tables)
    return newest_snapshot(run.store, run.scenario.name, snapshot_keys(fingerprints, day), day)


def load_scorer(scenario: Scenario, inputs: Inputs, *, before_refit: bool = False) -> Scorer:
    """Return the scorer that scores any pair of user and item as the run of these artifacts does.

    Parameters
    ----------
    before_refit
        Whether to take the members as they were before the refit, which had not seen the blend window.
    """
    from mtl_tasks.models import member_class
    from mtl_tasks.models.deep.two_tower import TwoTower
    from mtl_tasks.pipeline.days.factors import load_factor_models
    from mtl_tasks.recommend.scorer import Scorer

    members = {}
    for kind in scenario.members:
        artifact = inputs[f"member:{kind}"]
        files = member_files(artifact, FITTED) if before_refit else {}
        members[str(kind)] = member_class(kind).load(files or member_files(artifact), scenario)
    scorer = Scorer(scenario, load_factor_models(inputs["factors"]), members, inputs["fuse"].json("fusion"))
    if scenario.recommend.sources.two_tower and RANK in inputs.artifacts:
        scorer = replace(scorer, towers=TwoTower.load(member_files(inputs[RANK], TOWERS)))
    rankers = load_rankers(scenario, inputs)
    return scorer if rankers is None else replace(scorer, ranker=rankers[1][rankers[0]])


def load_rankers(scenario: Scenario, inputs: Inputs) -> tuple[str, dict[str, Ranker]] | None:
    """Return the name of the chosen ranker, and all rankers by name; None for a run of a release without rankers."""
    from mtl_tasks.recommend.rankers.choice import LOADERS

    if RANK not in inputs.artifacts:
        return None
    artifact = inputs[RANK]
    document = read_document(artifact, RANK, RankDocument)
    rankers = {name: LOADERS[name](member_files(artifact, ranker_prefix(name)), scenario) for name in document.rankers}
    return document.chosen, rankers


def ranker_prefix(name: str) -> str:
    """Return the prefix of a ranker's own files among those of its artifact."""
    return f"ranker.{name}."


def member_files(artifact: Artifact, prefix: str = MODEL) -> dict[str, bytes]:
    """Return a member's own files, by the names that the member gave them."""
    return {name.removeprefix(prefix): artifact.read(name) for name in artifact.names if name.startswith(prefix)}


def prefixed(files: dict[str, bytes], prefix: str = MODEL) -> dict[str, bytes]:
    """Return the files by the names that they are stored under: the inverse of :func:`member_files`."""
    return {f"{prefix}{name}": data for name, data in files.items()}


def days_are_there(store: Store, artifact: Artifact) -> bool:
    """Whether the per-day artifacts that this one refers to are in the store."""
    from mtl_tasks.pipeline.days.features import all_there

    return all_there(store, artifact)
