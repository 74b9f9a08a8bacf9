"""The member of shared trees keeps the contract, and its trees keep what sharing promises."""

from __future__ import annotations

import numpy as np

from mtl_tasks.models import Member, Table, member_class
from tests.contracts.member import BoostedContract, draw_table, member_scenario


class TestShared(BoostedContract):
    kind = "shared"
    needed = "taste.dot"

    def test_rows_without_a_label_move_no_leaf_of_the_task(self) -> None:
        # All rows agree on the split; only labeled ones may say what a leaf is worth.
        scenario = member_scenario(rounds=1, shared={"combine": "alternate"})
        table = draw_table(600, 1)
        told = table.labels["rating"]
        other = Table(table.features, {**table.labels, "rating": np.where(np.isnan(told), np.nan, 5.0)})
        other.labels["rating"][np.flatnonzero(~np.isnan(told))[:2]] = [4.0, 6.0]
        first = member_class("shared").fit(other, draw_table(300, 2), scenario).predict(table.features)["rating"]
        assert abs(first - 5.0).max() < 0.1

    def test_a_mean_prediction_is_the_rate_of_positives(self, fitted: Member) -> None:
        table = draw_table(600, 1)
        for task in ("like", "purchase"):
            rate, mean = table.labels[task].mean(), fitted.predict(table.features)[task].mean()
            assert abs(rate - mean) < 0.02, task
