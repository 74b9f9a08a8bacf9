"""A few trees that learn the predictions of a finished run instead of labels."""

from __future__ import annotations

from typing import Final

from mtl_tasks.models.boosted import BoostedMember, FitContext, FittedTrees
from mtl_tasks.models.boosting.trees import fit_task
from mtl_tasks.scenario import Boosting

# A probability as a label is a fraction: the loss is the cross-entropy with it.
SOFT: Final = {"binary": "fraction", "regression": "regression", "fraction": "fraction"}


class DistilledMember(BoostedMember):
    """One LightGBM model per task, with the size that `compression` sets.

    The labels of :meth:`fit` and :meth:`refit` are the teacher's predictions, for rows without a label too. They hold
    no noise, so that fewer trees suffice than for labels.

    Source: model compression, Bucilă, Caruana & Niculescu-Mizil, KDD 2006.
    """

    kind = "distilled"
    note = "LightGBM on its teacher's predictions"

    @property
    def settings(self) -> Boosting:
        """See :class:`~mtl_tasks.models.boosted.BoostedMember`; the section `compression` sets its size."""
        return self.scenario.compression.boosting(self.scenario.boosting)

    @classmethod
    def _learn(cls, learning: FitContext) -> FittedTrees:
        scenario, tune, held = learning.scenario, learning.tune, learning.tune_binned
        settings = scenario.compression.boosting(scenario.boosting)
        trees = {}
        for name, task in scenario.tasks.items():
            trees[name] = fit_task(
                learning.train.rows(name).binned(learning.binned),
                None if tune is None or held is None else tune.rows(name).binned(held),
                SOFT[task.objective],
                settings,
                learning.device,
                scenario.seed,
                learning.chosen_trees(name),
            )
        return FittedTrees(trees, learning.encoder)
