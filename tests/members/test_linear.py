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


def test_a_rate_is_believed_as_it_is_however_small() -> None:
    train, tune, unseen = (draw_table(rows, seed) for rows, seed in ((20_000, 1), (2_000, 2), (2_000, 3)))
    rng = np.random.default_rng(4)
    for table in (train, tune, unseen):
        rate = np.exp(rng.uniform(np.log(0.001), np.log(0.9), len(table.features)))
        for name in [name for name in table.features if ".like.mean" in name]:
            table.features[name] = rate.astype(np.float32)
        table.labels["like"] = (rng.random(len(rate)) < rate).astype(np.float32)
    predicted = (
        member_class("popularity").fit(train, tune, member_scenario()).predict(unseen.features, ["like"])["like"]
    )
    ratio = predicted / unseen.features["user.like.mean"]
    assert ratio.between(0.7, 1.4).all()
