"""An objective on drawn rows, whose trials take tenths of a second."""

from __future__ import annotations

import numpy as np

from mtl_tasks.models import Table
from mtl_tasks.scenario import MemberKind, Scenario
from mtl_tasks.tuning.objective import Fold, Objective, Window, floor_losses
from tests.contracts.member import draw_table
from tests.support.logs import tiny_scenario

USERS = 60


def drawn_scenario(**boosting: object) -> Scenario:
    settings = {"rounds": 15, "patience": 5, "threads": 1, "min_data_in_leaf": 20, "num_leaves": 7, **boosting}
    return tiny_scenario(members=["popularity", "independent"], boosting=settings)


def drawn_fold(seed: int, as_of: str = "2013-05-07") -> Fold:
    tables: dict[Window, Table] = {
        "train": draw_table(400, seed),
        "tune": draw_table(150, seed + 1),
        "blend": draw_table(300, seed + 2),
    }
    users = np.random.default_rng(seed).integers(USERS, size=300)
    labels = {task: label.astype(np.float64) for task, label in tables["blend"].labels.items()}

    def read(kind: MemberKind) -> dict[Window, Table]:
        return tables

    return Fold(as_of, read, labels, users)


def drawn_objective(scenario: Scenario, folds: int = 2) -> Objective:
    made = tuple(drawn_fold(10 * number, f"2013-05-{7 + number:02d}") for number in range(folds))
    return Objective(scenario, made, tuple(floor_losses(fold, scenario) for fold in made))
