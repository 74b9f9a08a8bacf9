"""Explanation of a finished run's predictions, from the artifacts of its stages; nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.inputs import load_events, load_scorer, load_tables

if TYPE_CHECKING:
    from mtl_tasks.store.documents.explanation import PairExplanation


def explain(run: Run, inputs: Inputs, pair: tuple[str, str], top: int) -> PairExplanation:
    """Return the run's explained predictions for a user and an item as of its day."""
    from mtl_tasks.recommend.explain import explain_pair

    events, tables = load_events(run, inputs), load_tables(inputs)
    return explain_pair(load_scorer(run.scenario, inputs), events.frame, tables, pair, run.as_of.day, top)
