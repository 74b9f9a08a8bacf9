"""One LightGBM a task: the multi-output structure in which tasks share features and factors but no trees."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, Self

import pandas as pd

from mtl_tasks.boosting.trees import Curve, TaskTrees, fit_trees, from_bytes, refit_trees, resolve_device, to_bytes
from mtl_tasks.errors import ArtifactError
from mtl_tasks.members.base import Member, Predictions, Table, model_file, require_columns, within_range
from mtl_tasks.scenario import Scenario
from mtl_tasks.store import to_json

FILE = "independent.json"


class IndependentMember(Member):
    """A LightGBM model a task (several, averaged, where ``boosting.seeds`` says so)."""

    kind = "independent"

    def __init__(self, scenario: Scenario, trees: dict[str, TaskTrees], device: str) -> None:
        super().__init__(scenario)
        self._trees = trees
        self._device = device

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

    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """See :class:`Member`."""
        predictions = {}
        for task in self._trees if tasks is None else tasks:
            trees = self._trees[task]
            wanted = require_columns(features, trees.boosters[0].feature_name(), f"{self.kind}, {task}")
            values = trees.predict(wanted, self.scenario.boosting.threads)
            predictions[task] = within_range(values, self.scenario.tasks[task])
        return predictions

    def files(self) -> dict[str, bytes]:
        """See :class:`Member`; a LightGBM text file a task and seed, and what the choices were."""
        files: dict[str, bytes] = {}
        facts: dict[str, Any] = {"device": self._device, "tasks": {}}
        for task, trees in self._trees.items():
            for number, booster in enumerate(trees.boosters):
                files[f"{task}.{number}.lightgbm.txt"] = to_bytes(booster)
            facts["tasks"][task] = {"rounds": trees.rounds, "curve": asdict(trees.curve) if trees.curve else None}
        return files | {FILE: to_json(facts)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`."""
        facts = json.loads(model_file(files, FILE, cls.kind))
        if set(facts["tasks"]) != set(scenario.tasks):
            raise ArtifactError(f"{cls.kind}: has tasks {sorted(facts['tasks'])}, expected {sorted(scenario.tasks)}")
        trees = {}
        for task, entry in facts["tasks"].items():
            names = [f"{task}.{number}.lightgbm.txt" for number in range(len(entry["rounds"]))]
            boosters = [from_bytes(model_file(files, name, cls.kind), name) for name in names]
            curve = Curve(**entry["curve"]) if entry["curve"] else None
            trees[task] = TaskTrees(boosters, entry["rounds"], curve)
        return cls(scenario, trees, facts["device"])

    def describe(self) -> dict[str, Any]:
        """See :class:`Member`."""
        tasks = {
            task: {
                "note": f"LightGBM, {len(trees.boosters)} seed(s), rounds chosen on tune: {trees.rounds}",
                "rounds": trees.rounds[0],
                "curve": asdict(trees.curve) if trees.curve else None,
                "importance": trees.importance(),
            }
            for task, trees in self._trees.items()
        }
        return {"kind": self.kind, "device": self._device, "tasks": tasks}
