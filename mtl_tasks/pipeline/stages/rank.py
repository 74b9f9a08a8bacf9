"""The stage `rank`: fits the rankers on lists of days before the test window, and chooses one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.pipeline.engine import Inputs, Run, jax_versions
from mtl_tasks.pipeline.stages.config import sections
from mtl_tasks.pipeline.stages.inputs import (
    RANK,
    TOWERS,
    load_events,
    load_scorer,
    load_tables,
    load_windows,
    prefixed,
    ranker_prefix,
)
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.store.artifacts import Payload

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.features.builder import Tables
    from mtl_tasks.recommend.scorer import Scorer


def rank_config(run: Run) -> dict[str, Any]:
    """Return the configuration of the stage; two towers depend on the versions of JAX too."""
    own = sections("recommend", "boosting", "seed")(run)
    return {**own, "libraries": jax_versions()} if run.scenario.recommend.sources.two_tower else own


def rank(run: Run, inputs: Inputs) -> Payload:
    """Fit the rankers on lists made as recommendations are, and choose one on a later day."""
    from mtl_tasks.recommend.rankers.choice import fit_rankers
    from mtl_tasks.recommend.training_lists import ListDays, ListSampler

    scenario, windows = run.scenario, load_windows(inputs["split"])
    days = ListDays.of(windows, scenario)
    events = load_events(run, inputs).before(windows["test"][0])
    tables, scorer = load_tables(inputs), load_scorer(scenario, inputs, before_refit=True)
    sampler = ListSampler(events.frame, tables, scenario)
    towers = _towers(scorer, events.frame, tables)
    # Towers are fitted before the first of the lists that they find candidates for.
    early = sampler.make(towers(days.early), days.early, days.horizon, predicted=False) if days.early else []
    blend = sampler.make(towers((days.blend,)), (days.blend,), days.horizon, predicted=True)
    made = fit_rankers(days, early, blend[0] if blend else None, scenario)
    payload = Payload(rows=sum(len(day.lists.gain) for day in [*early, *blend]))
    payload.summary = {"chosen": made.document.chosen, "note": made.document.note, "degraded": made.document.degraded}
    for name, ranker in made.rankers.items():
        payload.files |= prefixed(ranker.files(), ranker_prefix(name))
    payload.add_json(RANK, made.document.to_stored())
    final = towers((windows["test"][0],)).towers
    if final is not None:
        payload.files |= prefixed(final.files(), TOWERS)
        payload.summary["two_tower"] = {"before": final.document.before, "losses": list(final.document.losses)}
    return payload


def _towers(scorer: Scorer, events: pd.DataFrame, tables: Tables) -> Callable[[tuple[int, ...]], Scorer]:
    """Return the function that returns the scorer for lists of some days, with towers fitted before the first."""

    def fitted(days: tuple[int, ...]) -> Scorer:
        if not scorer.scenario.recommend.sources.two_tower:
            return scorer
        from mtl_tasks.recommend.towers import fit_towers

        return replace(scorer, towers=fit_towers(events, tables, scorer.factor_models, scorer.scenario, min(days)))

    return fitted


WORK: Final = {"rank": Work(rank_config, rank)}
