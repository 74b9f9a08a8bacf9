"""One LightGBM a task: the multi-output structure in which tasks share features and factors but no trees."""

from __future__ import annotations

from typing import Self

from mtl_tasks.boosting.trees import TaskTrees, fit_trees, refit_trees, resolve_device
from mtl_tasks.members.base import Table
from mtl_tasks.members.boosted import BoostedMember
from mtl_tasks.scenario import Scenario


class IndependentMember(BoostedMember):
    """A LightGBM model a task (several, averaged, where ``boosting.seeds`` says so)."""

    kind = "independent"
    note = "LightGBM"

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """See :class:`Member`; the number of rounds of each task is chosen on ``tune``."""
        device = resolve_device(scenario.boosting.device)
        trees = {
            name: fit_trees(
                train.labelled(name), tune.labelled(name), scenario.boosting, task.kind, device, scenario.seed
            )
            for name, task in scenario.tasks.items()
        }
        return cls(scenario, trees, device)

    def refit(self, table: Table) -> Self:
        """See :class:`Member`."""
        scenario = self.scenario
        trees = {}
        for name, task in scenario.tasks.items():
            fitted = self._trees[name]
            again = refit_trees(
                table.labelled(name), fitted.rounds, scenario.boosting, task.kind, self._device, scenario.seed
            )
            trees[name] = TaskTrees(again.boosters, again.rounds, fitted.curve)
        return type(self)(scenario, trees, self._device)
