"""The member of shared and then own trees keeps the contract, and takes own trees only where tune gains by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_tasks.models import Member, member_class
from mtl_tasks.models.boosting.trees import TaskTrees
from tests.contracts.member import BoostedContract, draw_table, member_scenario


def trees_of(member: Member, task: str) -> TaskTrees:
    made = member._trees[task]  # type: ignore[attr-defined]
    assert isinstance(made, TaskTrees)
    return made


class TestSharedTail(BoostedContract):
    kind = "shared_tail"
    needed = "taste.dot"

    def test_it_is_no_worse_on_tune_than_the_shared_trees_alone(self, fitted: Member, scenario) -> None:
        alone = member_class("shared").fit(draw_table(600, 1), draw_table(300, 2), scenario)
        for task in scenario.tasks:
            ours, theirs = (min(trees_of(member, task).curve.tune) for member in (fitted, alone))
            assert ours <= theirs

    def test_after_checkpoint_none_all_trees_are_the_tasks_own(self, unseen) -> None:
        member = self.fit(member_scenario(shared={"checkpoints": [0]}))
        assert trees_of(member, "like").shared == [0]
        refitted = member.refit(draw_table(900, 4))
        assert trees_of(refitted, "like").shared == [0]
        assert refitted.describe()["sharing"] == member.describe()["sharing"]

    def test_own_trees_follow_the_shared_ones_in_one_model_file(self, unseen) -> None:
        scenario = member_scenario(shared={"checkpoints": [0.5], "learning_rate": 0.02}, seeds=2)
        member = self.fit(scenario)
        trees = trees_of(member, "purchase")
        for booster, rounds, shared in zip(trees.boosters, trees.rounds, trees.shared, strict=True):
            assert booster.num_trees() == rounds
            assert 0 < shared < rounds
        raw = member.raw_scores(unseen.features, ["purchase"])["purchase"]  # type: ignore[attr-defined]
        values = unseen.features.to_numpy(dtype=np.float32)
        native = np.mean([booster.predict(values, raw_score=True) for booster in trees.boosters], axis=0)
        assert np.abs(raw - native).max() < 1e-12

    def test_its_gain_is_told_apart_by_shared_and_own_trees(self, unseen) -> None:
        member = self.fit(member_scenario(shared={"checkpoints": [0.5], "learning_rate": 0.02}))
        split = member.explain(unseen.features, seed=0)["purchase"]["gain"]
        shared, own = np.array([parts for _, *parts in split]).T
        assert shared.sum() > 0.05
        assert own.sum() > 0.05
        assert shared.sum() + own.sum() <= 1 + 1e-4
        # The same trees and order as in the importance of all of them.
        whole = dict(member.describe()["tasks"]["purchase"]["importance"])
        assert [name for name, *_ in split][:5] == list(whole)[:5]

    def test_refit_keeps_the_numbers_of_shared_and_own_trees(self, fitted: Member) -> None:
        refitted = fitted.refit(draw_table(900, 4))
        for task in ("rating", "like", "purchase"):
            before, after = trees_of(fitted, task), trees_of(refitted, task)
            assert (before.rounds, before.shared, before.curve) == (after.rounds, after.shared, after.curve)


def test_a_task_that_sharing_harms_opts_out_and_one_that_it_helps_does_not() -> None:
    rng = np.random.default_rng(8)
    tables = []
    for rows, seed in ((4000, 1), (4000, 2)):
        table = draw_table(rows, seed)
        # The rating hangs on a column that says nothing of the other tasks, which drown it in a sum of gradients.
        level = np.sin(3 * table.features["user.count"].fillna(0).to_numpy()) * 3 + 5
        rating = (level + 0.1 * rng.standard_normal(rows)).astype(np.float32)
        tables.append(replace(table, labels={**table.labels, "rating": rating}))
    settings = {
        "rounds": 60,
        "learning_rate": 0.2,
        "shared": {"combine": "alternate", "leaf_l2": 3000.0, "checkpoints": [1.0, 0.0]},
    }
    scenario = member_scenario(**settings)
    member = member_class("shared_tail").fit(*tables, scenario)
    assert trees_of(member, "rating").shared == [0]
    kept = member_scenario(**{**settings, "shared": {**settings["shared"], "checkpoints": [1.0]}})
    assert trees_of(member_class("shared_tail").fit(*tables, kept), "rating").shared != [0]
    roomy = member_scenario(rounds=300, patience=20, shared={"checkpoints": [1.0, 0.0]})
    plain = member_class("shared_tail").fit(draw_table(4000, 1), draw_table(2000, 2), roomy)
    assert trees_of(plain, "like").shared[0] > 0
