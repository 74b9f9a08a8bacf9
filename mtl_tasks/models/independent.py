"""One LightGBM model per task: tasks share features and factors but no trees."""

from __future__ import annotations

from mtl_tasks.models.boosted import BoostedMember, FitContext, FittedTrees
from mtl_tasks.models.boosting.trees import fit_task


class IndependentMember(BoostedMember):
    """One LightGBM model per task (several, averaged, if ``boosting.seeds`` is above 1)."""

    kind = "independent"
    note = "LightGBM"

    @classmethod
    def _learn(cls, learning: FitContext) -> FittedTrees:
        scenario, tune = learning.scenario, learning.tune
        trees = {}
        for name, task in scenario.tasks.items():
            rows = learning.train.rows(name).binned(learning.binned)
            held = learning.tune_binned
            held_rows = None if tune is None or held is None else tune.rows(name).binned(held)
            trees[name] = fit_task(
                rows,
                held_rows,
                task.objective,
                scenario.boosting,
                learning.device,
                scenario.seed,
                learning.chosen_trees(name),
                learning.earlier_of(name),
            )
        return FittedTrees(trees, learning.encoder)
