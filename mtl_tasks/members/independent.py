"""One LightGBM a task: the multi-output structure in which tasks share features and factors but no trees."""

from __future__ import annotations

from typing import Self

from mtl_tasks.boosting.encoding import Encoder
from mtl_tasks.boosting.trees import fit_task
from mtl_tasks.members.base import Table
from mtl_tasks.members.boosted import BoostedMember, Learnt
from mtl_tasks.scenario import Scenario


class IndependentMember(BoostedMember):
    """A LightGBM model a task (several, averaged, where ``boosting.seeds`` says so)."""

    kind = "independent"
    note = "LightGBM"

    @classmethod
    def _learn(cls, train: Table, tune: Table | None, scenario: Scenario, device: str, chosen: Self | None) -> Learnt:
        encoder = Encoder.learn(train.features)
        binned = encoder.binned(encoder.matrix(train.features))
        held = None if tune is None else encoder.binned(encoder.matrix(tune.features), reference=binned)
        trees = {}
        for name, task in scenario.tasks.items():
            rows = train.rows(name).binned(binned)
            held_rows = None if tune is None or held is None else tune.rows(name).binned(held)
            known = None if chosen is None else chosen._trees[name]
            trees[name] = fit_task(rows, held_rows, task.kind, scenario.boosting, device, scenario.seed, known)
        return Learnt(trees, encoder)
