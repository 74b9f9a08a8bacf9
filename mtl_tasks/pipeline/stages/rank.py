"""The stage `rank`: fits the rankers on lists of days before the test window, and chooses one."""

from __future__ import annotations

from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.inputs import (
    RANK,
    load_events,
    load_scorer,
    load_tables,
    load_windows,
    prefixed,
    ranker_prefix,
)
from mtl_tasks.store.artifacts import Payload


def rank(run: Run, inputs: Inputs) -> Payload:
    """Fit the rankers on lists made as recommendations are, and choose one on a later day."""
    from mtl_tasks.recommend.rankers.choice import fit_rankers
    from mtl_tasks.recommend.training_lists import ListDays, ListSampler

    scenario, windows = run.scenario, load_windows(inputs["split"])
    days = ListDays.of(windows, scenario)
    events = load_events(run, inputs).before(windows["test"][0])
    sampler = ListSampler(events.frame, load_tables(inputs), scenario)
    scorer = load_scorer(scenario, inputs, before_refit=True)
    early = sampler.make(scorer, days.early, days.horizon, predicted=False)
    blend = sampler.make(scorer, (days.blend,), days.horizon, predicted=True)
    made = fit_rankers(days, early, blend[0] if blend else None, scenario)
    payload = Payload(rows=sum(len(day.lists.gain) for day in [*early, *blend]))
    payload.summary = {"chosen": made.document.chosen, "note": made.document.note, "degraded": made.document.degraded}
    for name, ranker in made.rankers.items():
        payload.files |= prefixed(ranker.files(), ranker_prefix(name))
    payload.add_json(RANK, made.document.to_stored())
    return payload
