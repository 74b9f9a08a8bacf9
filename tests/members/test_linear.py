"""The members that are a linear model of a few columns keep the contract."""

from __future__ import annotations

import numpy as np

from mtl_tasks.members import member_class
from tests.members.contract import MemberContract, draw_table, member_scenario


class TestPopularity(MemberContract):
    kind = "popularity"
    needed = "item.count"

    def test_it_is_not_personal(self, fitted) -> None:
        table = draw_table(50, 8).features
        other = table.assign(**{name: 0.0 for name in table if name.startswith(("taste.", "user_x_item."))})
        before, after = fitted.predict(table), fitted.predict(other)
        assert all(np.array_equal(before[task], after[task]) for task in before)


class TestAls(MemberContract):
    kind = "als"
    needed = "taste.dot"


def test_a_column_that_is_always_missing_in_training_does_no_harm() -> None:
    train, tune = draw_table(200, 1), draw_table(100, 2)
    for table in (train, tune):
        table.features["taste.recent_cosine"] = np.float32("nan")
    fitted = member_class("als").fit(train, tune, member_scenario())
    for values in fitted.predict(draw_table(50, 3).features).values():
        assert np.isfinite(values).all()
