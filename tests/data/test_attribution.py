"""The long layout: an event counts for the exposure it follows, and a label is used only once it is final."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core.columns import DAY, ITEM, KNOWN, REASON, TIME, USER, WINDOW, label
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.attribution import TYPE, VALUE, join_labels
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.splits import Windows, make_rows
from mtl_tasks.data.validation import ValidationResult, validate_interactions
from mtl_tasks.onboarding.check import inspect
from mtl_tasks.scenario import Scenario
from tests.support.logs import AS_OF, AS_OF_DAY, DAYS, DOCUMENT, FIRST_DAY, list_sources, tiny_log, tiny_scenario

RATING, BUY = label("rating"), label("buy")


def long_scenario(hours: float = 24, **settings: Any) -> Scenario:
    long = {"type": "what", "value": "how_much", "exposure": "view", "attribution_hours": hours}
    tasks = {
        "rating": {"kind": "regression", "label": "rate", "range": [0, 10]},
        "buy": {"kind": "binary", "label": "buy", "negatives": {"how": "logged"}},
    }
    source = {**DOCUMENT["source"], "layout": "long", "long": long, **settings.pop("source", {})}
    source.pop("items")
    return tiny_scenario(source=source, tasks=tasks, **settings)


def story(*events: tuple[str, str, float] | tuple[str, str, float, float]) -> pd.DataFrame:
    """Return events told as (what, user-item, hours since the first day, value)."""
    rows = [(*event, np.nan)[:4] for event in events]
    return pd.DataFrame(
        {
            USER: [int(pair[0]) for _, pair, _, _ in rows],
            ITEM: [int(pair[1]) for _, pair, _, _ in rows],
            TIME: (FIRST_DAY + pd.to_timedelta([hours for _, _, hours, _ in rows], unit="h")).astype("M8[us, UTC]"),
            TYPE: pd.Series([what for what, _, _, _ in rows], dtype="str"),
            VALUE: np.array([value for _, _, _, value in rows], dtype=np.float32),
        }
    )


def joined(events: pd.DataFrame, hours: float = 24) -> pd.DataFrame:
    scenario = long_scenario(hours)
    assert scenario.source.long is not None
    return join_labels(events, scenario, scenario.source.long)[0]


ELSEWHERE = (("buy", "99", 0.0), ("rate", "99", 0.0, 1.0))  # every type is in the log, for an item never shown


def test_an_event_counts_for_the_last_exposure_before_it_within_the_hours() -> None:
    made = joined(story(("view", "11", 0), ("view", "11", 5), ("view", "12", 6), ("buy", "11", 7), *ELSEWHERE))
    assert made[BUY].tolist() == [0, 1, 0]
    assert made[RATING].isna().all()


@pytest.mark.parametrize(("hours", "counts"), [(0, True), (24, True), (24.01, False), (-0.01, False)])
def test_the_window_is_closed_on_both_sides(hours: float, counts: bool) -> None:
    made = joined(story(("view", "11", 1), ("buy", "11", 1 + hours), *ELSEWHERE))
    assert made[BUY].tolist() == [float(counts)]


def test_another_users_or_items_event_does_not_count() -> None:
    made = joined(story(("view", "11", 0), ("buy", "21", 1), ("buy", "12", 1), ("rate", "12", 1, 5.0)))
    assert made[BUY].tolist() == [0]
    assert made[RATING].isna().all()


def test_of_several_events_the_first_gives_the_value() -> None:
    made = joined(story(("view", "11", 0), ("rate", "11", 3, 9.0), ("rate", "11", 2, 4.0), *ELSEWHERE))
    assert made[RATING].tolist() == [4]


def test_of_repeated_exposures_the_one_that_validation_keeps_has_the_label(tmp_path: Path) -> None:
    rows = story(("view", "11", 1), ("view", "11", 1), ("buy", "11", 2), ("rate", "11", 2, 3.0))
    made = joined(rows)
    assert made[BUY].tolist() == [1, 1]  # whichever copy that is: the first may be a bad row


def test_exposures_that_cannot_be_told_apart_are_kept_without_labels() -> None:
    rows = story(("view", "11", 0), ("view", "21", 0), ("buy", "11", 1), *ELSEWHERE).astype({USER: "Int64"})
    rows.loc[1, USER] = pd.NA
    made = joined(rows)
    assert made[BUY].isna().tolist() == [False, True]
    assert made.loc[0, BUY] == 1


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("view", r"no event of the type 'view' \(it holds rate, buy\): correct source\.long\.exposure"),
        ("buy", r"no event of the type 'buy' \(.*\): correct tasks\.buy\.label"),
    ],
)
def test_a_type_that_the_log_has_not_is_named(missing: str, problem: str) -> None:
    rows = story(("view", "11", 0), ("rate", "11", 1, 2.0), ("rate", "11", 1, 2.0), ("buy", "11", 1))
    with pytest.raises(DataError, match=rf"^log: column 'what' \(source\.long\.type in .*\) holds {problem}"):
        joined(rows[rows[TYPE] != missing])


def became(events: pd.DataFrame, hours: float = 24, before: pd.Timestamp | None = None) -> dict[str, Any]:
    scenario = long_scenario(hours)
    assert scenario.source.long is not None
    return join_labels(events, scenario, scenario.source.long, before)[1]


def test_of_events_that_follow_no_exposure_the_reasons_are_counted() -> None:
    rows = story(
        ("view", "11", 50), ("buy", "11", 50), ("buy", "11", 60),  # two that follow it
        ("buy", "11", 48),  # a clock two hours behind
        ("buy", "11", 80), ("buy", "11", 90),  # too late
        ("view", "12", 10), ("view", "12", 60), ("buy", "12", 59),  # behind, though there is an earlier one
        ("view", "13", 90), ("buy", "13", 1),  # long before the only one
        ("buy", "21", 50),
        ("buy", "11", 50), ("buy", "11", 50),
        ("rate", "99", 0, 1.0), ("Buy ", "11", 51), ("scroll", "11", 51), ("scroll", "12", 51),
    ).astype({USER: "Int64"})  # fmt: skip
    rows.loc[12, USER] = pd.NA
    rows.loc[13, TIME] = pd.Timestamp("9999-12-31", tz="UTC")
    found = became(rows)
    assert found["labels"]["buy"] == {
        "type": "buy",
        "events": 10,
        "joined": 2,
        "incomplete": 2,
        "before_exposure": 3,
        "outside_window": 2,
        "no_exposure": 1,
    }
    assert found["labels"]["rating"]["no_exposure"] == 1
    assert found["unread"] == {"types": 2, "events": 3, "most": {"scroll": 2, "Buy ": 1}}


def test_what_became_of_events_does_not_depend_on_what_happens_from_as_of_on() -> None:
    rows = story(("view", "11", 0), ("buy", "11", 1), ("rate", "11", 1, 2.0), ("buy", "12", 2), ("scroll", "11", 3))
    later = story(("buy", "11", 48), ("rate", "13", 50, 2.0), ("scroll", "11", 49))
    as_of = FIRST_DAY + pd.Timedelta(days=1)
    both = pd.concat([rows, later], ignore_index=True)
    assert became(both, before=as_of) == became(rows, before=as_of) == became(rows)


def slow_clock(share: float) -> pd.DataFrame:
    """Return the tiny log of events, in which a share of the purchases stand two hours before their views."""
    rows = long_log()
    bought = np.flatnonzero(rows["what"] == "buy")
    moved = bought[: round(share * len(bought))]
    times = rows["seen_at"].copy()
    times.iloc[moved] -= pd.Timedelta(hours=22)
    return rows.assign(seen_at=times)


def judged(root: Path, rows: pd.DataFrame, **settings: Any) -> ValidationResult:
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), root / "log.parquet")
    scenario = long_scenario(source={"events": "log.parquet"}, **settings)
    files, attribution = list_sources(scenario, root, AS_OF_DAY), {}
    log = read_log(scenario, files, root, AS_OF, attribution=attribution)
    items = read_items(scenario, files, root, log[ITEM])
    return validate_interactions(log, items, scenario, AS_OF, attribution=attribution)


def test_a_log_in_which_most_events_follow_no_exposure_is_refused_with_the_remedy(tmp_path: Path) -> None:
    problem = (
        r"^buy: 27 of 28 events of the type 'buy' \(96\.4%, the limit is 50\.0%\) follow no exposure and.*: 27 before"
        r" their exposure:.*source\.long\.attribution_hours or validation\.max_unattributed in include/scenarios/tiny"
    )
    with pytest.raises(DataError, match=problem):
        judged(tmp_path, slow_clock(0.9))


@pytest.mark.parametrize(
    ("limit", "refused"), [(0.9, False), ({"buy": 0.9}, False), ({"rating": 0.9}, True), (0, True)]
)
def test_the_limit_is_the_scenarios_for_all_labels_or_one(tmp_path: Path, limit: Any, refused: bool) -> None:
    validation = {"max_bad_fraction": 0.1, "max_unattributed": limit}
    if refused:
        with pytest.raises(DataError, match="events of the type"):
            judged(tmp_path, slow_clock(0.8), validation=validation)
    else:
        assert judged(tmp_path, slow_clock(0.8), validation=validation).report["success"]


def test_fewer_are_a_warning_and_in_the_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = slow_clock(0.3)
    rows.loc[rows.index[rows["what"] == "buy"][12:15], "what"] = "Buy"
    report = judged(tmp_path, rows).report
    assert report["attribution"]["labels"]["buy"]["before_exposure"] > 0
    assert report["attribution"]["unread"] == {"types": 1, "events": 3, "most": {"Buy": 3}}
    hidden = {"max_bad_fraction": 0.1, "quote_rows": False}
    unread = judged(tmp_path, rows, validation=hidden).report["attribution"]["unread"]
    assert unread == {"types": 1, "events": 3, "most": {}}
    assert "follow no exposure" in caplog.text
    assert "'Buy' 3 (differs in spelling from 'buy')" in caplog.text


def test_an_unknown_label_in_the_limits_is_named() -> None:
    with pytest.raises(ConfigError, match=r"validation\.max_unattributed: 'buys' has no label, did you mean 'buy'\?"):
        long_scenario(validation={"max_unattributed": {"buys": 0.2}})


def test_a_check_says_it_too(tmp_path: Path) -> None:
    rows = slow_clock(0.9)
    rows.loc[rows.index[rows["what"] == "buy"][-3:], "what"] = "Buy"
    rows.to_parquet(tmp_path / "log.parquet", index=False)
    found = inspect(long_scenario(source={"events": "log.parquet"}), AS_OF, tmp_path, 1_000_000, {})
    assert any("follow no exposure" in problem for problem in found.problems)
    assert any("differs in spelling from 'buy'" in note for note in found.notes)


def long_log() -> pd.DataFrame:
    """Return the tiny log as events: what a view led to comes 3 hours later, for every third film 20."""
    rows = tiny_log()
    later = rows["seen_at"] + pd.to_timedelta(np.where(rows["film"] % 3 == 0, 20, 3), unit="h")
    common = rows[["person", "film"]]
    views = common.assign(seen_at=rows["seen_at"], what="view", how_much=np.nan)
    rates = common.assign(seen_at=later, what="rate", how_much=rows["stars"].astype(float))
    buys = common.assign(seen_at=later, what="buy", how_much=1.0)[rows["liked"] == 1]
    return pd.concat([views, rates, buys]).sort_values("seen_at", kind="stable", ignore_index=True)


def validated(root: Path, rows: pd.DataFrame, as_of: pd.Timestamp = AS_OF) -> pd.DataFrame:
    """Write the events as one file, read and judge them."""
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), root / "log.parquet")
    scenario = long_scenario(source={"events": "log.parquet"})
    day = (as_of - pd.Timestamp(0, tz="UTC")).days
    files = list_sources(scenario, root, day)
    log = read_log(scenario, files, root)
    return validate_interactions(log, read_items(scenario, files, root, log[ITEM]), scenario, as_of).events


def test_a_log_of_events_becomes_exposures_with_labels(tmp_path: Path) -> None:
    events, wide = validated(tmp_path, long_log()), tiny_log()
    over = wide["seen_at"] + pd.Timedelta(hours=24) < AS_OF
    assert events[USER].tolist() == wide["person"].tolist()
    np.testing.assert_array_equal(events[RATING], np.where(over, wide["stars"], np.nan))
    np.testing.assert_array_equal(events[BUY], np.where(over, wide["liked"], np.nan))
    assert (events[KNOWN] - events[DAY]).tolist() == [1] * len(wide)


@pytest.mark.faults(12)
@pytest.mark.parametrize("changed", [3, 4, 5])
def test_what_happens_from_as_of_on_changes_no_label(tmp_path: Path, changed: int) -> None:
    rows, as_of = long_log(), FIRST_DAY + pd.Timedelta(days=changed)
    future = rows["seen_at"] >= as_of
    other = rows.assign(how_much=rows["how_much"].where(~future, 0.0))[~future | (rows["what"] != "buy")]
    other = pd.concat([other, rows[rows["what"] == "view"].assign(seen_at=as_of, what="buy")])
    pd.testing.assert_frame_equal(validated(tmp_path, rows, as_of), validated(tmp_path, other, as_of))


def test_a_label_that_is_not_final_at_the_end_of_its_rows_window_is_not_learned(tmp_path: Path) -> None:
    rows = pd.concat([tiny_log()] * 20).assign(person=lambda log: log["person"] + 1000 * np.arange(len(log)) // 60)
    scenario = long_scenario(windows={"train": 2, "tune": 1, "blend": 1, "test": 1, "min_history": 1})
    events = rows.rename(columns={"person": USER, "film": ITEM, "stars": RATING, "liked": BUY})
    events[DAY] = ((rows["seen_at"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(days=1)).astype("int32")
    windows = Windows.cut(scenario, AS_OF_DAY, AS_OF_DAY - DAYS)
    known = events.assign(**{KNOWN: events[DAY]})
    assert make_rows(known, scenario, windows)[BUY].notna().all()
    late = events[ITEM] == 3
    made = make_rows(known.assign(**{KNOWN: events[DAY] + late.astype("int32")}), scenario, windows)
    last = made[DAY].isin([windows[name][1] - 1 for name in ("train", "tune", "blend", "test")])
    assert (made[BUY].isna() == ((made[ITEM] == 3) & last)).all()
    assert set(made.loc[made[BUY].isna(), WINDOW]) == {"train", "tune", "blend", "test"}


@given(st.integers(0, 2**16))
@settings(max_examples=25)
def test_labels_are_those_of_a_search_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = story(
        *(
            (
                str(rng.choice(["view", "buy", "rate"])),
                f"{rng.integers(1, 3)}{rng.integers(1, 3)}",
                float(hour),
                1.0 * n,
            )
            for n, hour in enumerate(rng.permutation(200)[:40])
        ),
        ("view", "11", 300),
        ("buy", "11", 301),
        ("rate", "11", 301, 5.0),
    )
    made = joined(rows)
    views = rows[rows[TYPE] == "view"].reset_index(drop=True)
    for what, name in (("buy", BUY), ("rate", RATING)):
        owners: dict[int, tuple[pd.Timestamp, float]] = {}
        for event in rows[rows[TYPE] == what].itertuples():
            mine = views[(views[USER] == event.user_id) & (views[ITEM] == event.item_id)]
            mine = mine[(mine[TIME] <= event.event_time) & (event.event_time - mine[TIME] <= pd.Timedelta(hours=24))]
            if len(mine):
                owner = int(mine[TIME].idxmax())
                owners[owner] = min(
                    owners.get(owner, (pd.Timestamp.max.tz_localize("UTC"), 0.0)), (event.event_time, event.event_value)
                )
        none = 0.0 if what == "buy" else np.nan
        expected = [(1.0 if what == "buy" else owners[n][1]) if n in owners else none for n in range(len(views))]
        np.testing.assert_array_equal(made[name], np.array(expected, dtype=np.float32))


def test_a_row_that_is_bad_is_set_aside_as_in_the_wide_layout(tmp_path: Path) -> None:
    rows = long_log()
    rows.loc[rows["what"] == "rate", "how_much"] += np.where(np.arange((rows["what"] == "rate").sum()) == 7, 100, 0)
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), tmp_path / "log.parquet")
    scenario = long_scenario(source={"events": "log.parquet"})
    files = list_sources(scenario, tmp_path, AS_OF_DAY)
    log = read_log(scenario, files, tmp_path)
    result = validate_interactions(log, read_items(scenario, files, tmp_path, log[ITEM]), scenario, AS_OF)
    assert result.quarantine[REASON].tolist() == ["label_out_of_range:rating"]
