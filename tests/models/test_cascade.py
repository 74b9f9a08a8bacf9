"""The member that chains tasks keeps the contract, and never tells a row what was learned from it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Member, Table, member_class
from tests.contracts.member import BoostedContract, draw_table, member_scenario


class TestCascade(BoostedContract):
    kind = "cascade"
    needed = "taste.dot"

    def test_a_later_task_is_told_of_every_earlier_one(self, fitted: Member) -> None:
        for task, told in (("rating", []), ("like", ["rating"]), ("purchase", ["rating", "like"])):
            names = fitted._trees[task].boosters[0].feature_name()  # type: ignore[attr-defined]
            assert [name for name in names if name.startswith("cascade.")] == [f"cascade.{name}" for name in told]

    def test_the_order_can_be_turned_round(self, unseen: Table) -> None:
        order = ["purchase", "like", "rating"]
        member = self.fit(member_scenario(cascade={"order": order}))
        assert list(member.predict(unseen.features)) == ["rating", "like", "purchase"]
        names = member._trees["rating"].boosters[0].feature_name()  # type: ignore[attr-defined]
        assert names[-2:] == ["cascade.purchase", "cascade.like"]

    def test_rows_without_users_are_refused(self, scenario) -> None:
        table = replace(draw_table(300, 1), users=None)
        with pytest.raises(DataError, match="cascade: the table names no users"):
            member_class("cascade").fit(table, table, scenario)


def test_an_order_that_leaves_a_task_out_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"boosting\.cascade\.order must name every task once: it names like, the tasks"
    ):
        member_scenario(cascade={"order": ["like"]})


def test_what_a_row_is_told_was_not_learned_from_its_user() -> None:
    """Labels that only a user's own rows tell: a told score that had seen them would predict the next task."""
    rng = np.random.default_rng(3)
    train, tune, unseen = (draw_table(rows, seed) for rows, seed in ((3000, 1), (1500, 2), (1500, 3)))
    tables = []
    for table in (train, tune, unseen):
        luck = rng.random(int(table.users.max()) + 1) < 0.5
        features = table.features.assign(**{"user.count": table.users.astype(np.float32) * 37 % 1009})
        label = luck[table.users].astype(np.float32)
        tables.append(replace(table, source=features, labels={**table.labels, "like": label, "purchase": label}))
    scenario = member_scenario(num_leaves=63, min_data_in_leaf=5, rounds=60)
    member = member_class("cascade").fit(tables[0], tables[1], scenario)
    importance = dict(member.describe()["tasks"]["purchase"]["importance"])
    # Told in-sample, `cascade.like` would be all that the trees of `purchase` split on.
    assert importance.get("cascade.like", 0.0) < 0.5
    facts = json.loads(member.files()["cascade.json"])
    assert set(facts["tasks"]) == {"rating", "like", "purchase"}
    auc = compute(
        "auc", tables[2].labels["purchase"].astype(np.float64), member.predict(tables[2].features)["purchase"]
    )
    assert auc is not None
    assert 0.4 < auc < 0.6
