"""The distilled member keeps the contract, and learns probabilities and rows without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tasks.models import member_class
from tests.contracts.member import BoostedContract, draw_table, member_scenario


class TestDistilled(BoostedContract):
    kind = "distilled"
    needed = "taste.dot"


def test_it_learns_probabilities_better_than_a_draw_from_them() -> None:
    scenario = member_scenario()
    train, tune, unseen = (draw_table(rows, seed) for rows, seed in ((600, 1), (300, 2), (400, 3)))
    signal = [
        table.features["taste.dot"].fillna(0) + table.features["item.like.mean"].fillna(0)
        for table in (train, tune, unseen)
    ]
    probability = [1 / (1 + np.exp(-values.to_numpy())) for values in signal]
    soft = [
        replace(table, labels={**table.labels, "like": values.astype(np.float32)})
        for table, values in zip((train, tune), probability, strict=False)
    ]
    drawn = [
        replace(
            table,
            labels={
                **table.labels,
                "like": (np.random.default_rng(5).random(len(values)) < values).astype(np.float32),
            },
        )
        for table, values in zip((train, tune), probability, strict=False)
    ]
    errors = [
        np.abs(
            member_class("distilled").fit(*tables, scenario).predict(unseen.features)["like"] - probability[2]
        ).mean()
        for tables in (soft, drawn)
    ]
    assert errors[0] < errors[1] / 2


def test_its_size_is_that_of_the_section_compression() -> None:
    scenario = member_scenario(seeds=2)
    small = scenario.compression.model_copy(update={"rounds": 3, "num_leaves": 4})
    fitted = member_class("distilled").fit(
        draw_table(600, 1), draw_table(300, 2), scenario.model_copy(update={"compression": small})
    )
    names = [name for name in fitted.files() if name.endswith(".txt")]
    assert sorted(names) == sorted(f"{task}.0.lightgbm.txt" for task in scenario.tasks)
    assert all(entry["rounds"] <= 3 for entry in fitted.describe()["tasks"].values())
    assert all(b"num_leaves=5" not in data for name, data in fitted.files().items() if name.endswith(".txt"))
