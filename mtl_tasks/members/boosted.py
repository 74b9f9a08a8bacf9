"""What boosted members have in common: ordinary LightGBM models of every task."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import pandas as pd

from mtl_tasks.boosting.trees import Curve, TaskTrees, from_bytes, to_bytes
from mtl_tasks.errors import ArtifactError
from mtl_tasks.members.base import Member, Predictions, model_file, require_columns, within_range
from mtl_tasks.scenario import Scenario
from mtl_tasks.store import to_json


class BoostedMember(Member):
    """A LightGBM model a task (several, averaged, where ``boosting.seeds`` says so), however they were grown."""

    note: ClassVar[str]

    def __init__(self, scenario: Scenario, trees: dict[str, TaskTrees], device: str) -> None:
        super().__init__(scenario)
        self._trees = trees
        self._device = device

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
        return files | {f"{self.kind}.json": to_json(facts)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`."""
        facts = json.loads(model_file(files, f"{cls.kind}.json", cls.kind))
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
                "note": f"{self.note}, {len(trees.boosters)} seed(s), rounds chosen on tune: {trees.rounds}",
                "rounds": trees.rounds[0],
                "curve": asdict(trees.curve) if trees.curve else None,
                "importance": trees.importance(),
            }
            for task, trees in self._trees.items()
        }
        return {"kind": self.kind, "device": self._device, "tasks": tasks}
