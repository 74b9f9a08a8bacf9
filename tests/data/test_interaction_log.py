"""Stages pass on interactions whose columns and dtypes are known."""

from __future__ import annotations

import pandas as pd
import pytest

from mtl_tasks.core.columns import DAY, ITEM, KNOWN, TIME, USER, label
from mtl_tasks.core.errors import DataError
from mtl_tasks.data.interaction_log import InteractionLog


def interactions() -> pd.DataFrame:
    times = pd.to_datetime(["2013-05-01 08:00", "2013-05-02 09:30", "2013-05-02 07:00"], utc=True)
    return pd.DataFrame(
        {
            USER: [1, 2, 1],
            ITEM: ["a", "b", "b"],
            TIME: times.as_unit("us"),
            DAY: pd.Series([15826, 15827, 15827], dtype="int32"),
            label("purchase"): pd.Series([1.0, None, 0.0], dtype="float32"),
            "context:hour": pd.Series([8, 9, 7], dtype="float32"),
        }
    )


def test_the_frame_is_kept_as_it_is() -> None:
    frame = interactions()
    log = InteractionLog(frame)
    assert log.frame is frame
    assert len(log) == 3
    assert log.newest_time == "2013-05-02T09:30:00+00:00"


def test_interactions_before_a_day_have_none_of_that_day() -> None:
    log = InteractionLog(interactions())
    assert log.before(15827).frame[DAY].tolist() == [15826]
    assert log.before(15827).newest_time == "2013-05-01T08:00:00+00:00"
    assert log.before(15826).newest_time is None


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        (USER, "int32", "user_id is int32, must be int64 or str"),
        (ITEM, "category", "item_id is category, must be int64 or str"),
        (TIME, "datetime64[ns, UTC]", r"event_time is datetime64\[ns, UTC\], must be datetime64\[us, UTC\]"),
        (DAY, "int64", "day is int64, must be int32"),
        (label("purchase"), "float64", "label:purchase is float64, must be float32"),
    ],
)
def test_another_dtype_is_refused(column: str, dtype: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^interactions: {message}; validate the log again"):
        InteractionLog(interactions().astype({column: dtype}))


def test_the_day_of_the_final_label_is_checked_if_it_is_there() -> None:
    frame = interactions()
    InteractionLog(frame.assign(**{KNOWN: frame[DAY]}))
    with pytest.raises(DataError, match="known_day is float64, must be int32"):
        InteractionLog(frame.assign(**{KNOWN: 1.0}))


@pytest.mark.parametrize("column", [USER, ITEM, TIME, DAY])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(DataError, match=f"^interactions: no column {column};"):
        InteractionLog(interactions().drop(columns=column))
