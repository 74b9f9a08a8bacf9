"""Recommendations use the last observed context value where the scenario says so."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.recommend.serving_context import ServingContext
from tests.support.logs import tiny_scenario

DAY = 15_830
PRICE, TAB = columns.context("price"), columns.context("tab")


def past() -> pd.DataFrame:
    return pd.DataFrame(
        {
            columns.USER: [1, 1, 2, 1],
            columns.ITEM: [7, 8, 8, 7],
            columns.TIME: pd.to_datetime([4, 3, 2, 1], unit="h", utc=True),
            PRICE: np.array([np.nan, 8.0, 9.0, 6.0], dtype=np.float32),
            TAB: pd.Categorical(["home", None, "search", "feed"]),
            columns.context("hour"): np.float32(3),
            columns.context("weekday"): np.float32(3),
        }
    )


def test_the_last_value_of_item_or_user_stands_in_and_else_nothing_does() -> None:
    context = {
        "numeric": {"price": "price"},
        "categorical": {"tab": "tab"},
        "calendar": True,
        "serve": {"price": "item", "tab": "user"},
    }
    scenario = tiny_scenario(source__context=context, source__timezone="Asia/Shanghai")
    rows = pd.DataFrame({columns.USER: [1, 2, 3], columns.ITEM: [7, 8, 9], columns.DAY: DAY}, index=[5, 6, 7])
    made = ServingContext.of(past(), scenario, DAY).add(rows)
    np.testing.assert_equal(made[PRICE].to_numpy(), np.array([6, 8, np.nan], dtype=np.float32))
    assert made[TAB].tolist() == ["home", "search", np.nan]
    assert made[TAB].dtype == past()[TAB].dtype
    assert made[columns.context("hour")].isna().all()
    weekday = pd.Timestamp(DAY, unit="D", tz="UTC").tz_convert("Asia/Shanghai").weekday()
    assert (made[columns.context("weekday")] == weekday).all()
    assert {str(made[columns.context(name)].dtype) for name in ("price", "hour", "weekday")} == {"float32"}


def test_without_context_rows_stay_as_they_are() -> None:
    rows = pd.DataFrame({columns.USER: [1], columns.ITEM: [7]})
    pd.testing.assert_frame_equal(ServingContext.of(past(), tiny_scenario(), DAY).add(rows), rows)
