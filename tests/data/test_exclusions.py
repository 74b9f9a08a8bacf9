"""The table of exclusions: which items on which days, and what is refused by name."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from mtl_tasks.core.columns import ITEM
from mtl_tasks.core.errors import DataError, quoting_rows
from mtl_tasks.data.exclusions import FROM, UNTIL, excluded_ids, read_exclusions
from mtl_tasks.data.files import source_file
from mtl_tasks.scenario.reranking import ExclusionTable
from tests.support.logs import tiny_scenario

ALWAYS = np.iinfo(np.int32)
LOG_IDS = pd.Series([1, 2, 3], name=ITEM)


def day(text: str) -> int:
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


def gone(**columns: Any) -> pd.DataFrame:
    made = {"film": [1, 2, 1], "start": ["2013-05-02", None, "2013-06-01"], "end": ["2013-05-04", "2013-05-03", None]}
    return pd.DataFrame({**made, **columns})


def read(
    root: Path, table: pd.DataFrame, name: str = "gone.csv", log_ids: pd.Series = LOG_IDS, **settings: Any
) -> pd.DataFrame:
    path = root / name
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    section = {"path": name, "item": "film", "from": "start", "until": "end", **settings.pop("section", {})}
    exclusions = ExclusionTable.model_validate({key: value for key, value in section.items() if value is not None})
    return read_exclusions(exclusions, tiny_scenario(**settings), [source_file(UPath(path), name, None)], root, log_ids)


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet"])
@pytest.mark.parametrize("dates", [False, True], ids=["texts", "dates"])
def test_an_item_is_excluded_from_the_first_day_until_before_the_last(tmp_path: Path, name: str, dates: bool) -> None:
    table = gone()
    if dates:
        table = table.assign(**{key: pd.to_datetime(table[key]).dt.date for key in ("start", "end")})
        table = table.astype(object).where(table.notna(), None).astype({"film": "int64"})
    frame = read(tmp_path, table, name)
    assert {key: str(kind) for key, kind in frame.dtypes.items()} == {ITEM: "int64", FROM: "int32", UNTIL: "int32"}
    assert frame[FROM].tolist() == [day("2013-05-02"), ALWAYS.min, day("2013-06-01")]
    assert frame[UNTIL].tolist() == [day("2013-05-04"), day("2013-05-03"), ALWAYS.max]
    expected = {"2013-05-01": [2], "2013-05-02": [1, 2], "2013-05-03": [1], "2013-05-04": [], "2023-01-01": [1]}
    assert {text: sorted(excluded_ids(frame, day(text)).tolist()) for text in expected} == expected


@pytest.mark.parametrize(
    ("left_out", "excluded"), [(["from"], [2, 1]), (["until"], [1, 2, 3]), (["from", "until"], [1, 2, 3])]
)
def test_a_column_that_is_not_named_leaves_that_end_open(
    tmp_path: Path, left_out: list[str], excluded: list[int]
) -> None:
    table = gone(film=[1, 2, 3], start="2013-05-01", end=["2013-05-04", None, "2013-05-02"])
    frame = read(tmp_path, table, section=dict.fromkeys(left_out))
    assert set(excluded_ids(frame, day("2013-05-02"))) == set(excluded)


def test_a_day_that_a_period_covers_in_part_is_excluded(tmp_path: Path) -> None:
    frame = read(tmp_path, gone(start="2013-05-02T23:00:00Z", end="2013-05-03T01:00:00Z"))
    assert frame[[FROM, UNTIL]].to_numpy()[0].tolist() == [day("2013-05-02"), day("2013-05-04")]
    frame = read(tmp_path, gone(start="2013-05-02 22:00", end="2013-05-04 00:00"), source__timezone="America/New_York")
    assert frame[[FROM, UNTIL]].to_numpy()[0].tolist() == [day("2013-05-03"), day("2013-05-05")]


@pytest.mark.parametrize("kind", ["str", "category", "date32[pyarrow]"])
def test_a_date_is_a_day_of_the_run_in_every_time_zone(tmp_path: Path, kind: str) -> None:
    table = gone(start="2013-05-02", end="2013-05-03").astype({"start": kind, "end": kind})
    frame = read(tmp_path, table, "gone.parquet", source__timezone="America/New_York")
    assert frame[[FROM, UNTIL]].to_numpy()[0].tolist() == [day("2013-05-02"), day("2013-05-03")]


def test_periods_of_an_item_add_up_and_far_ends_are_kept(tmp_path: Path) -> None:
    frame = read(tmp_path, gone(film=1, start=["2013-05-01", "2013-05-02", "0900-01-01"], end="9999-12-31"))
    assert excluded_ids(frame, day("2013-05-05")).tolist() == [1]
    assert frame[UNTIL].tolist() == [day("9999-12-31")] * 3


def test_an_empty_table_excludes_nothing(tmp_path: Path) -> None:
    for name in ("gone.csv", "gone.parquet"):
        frame = read(tmp_path, gone()[:0], name)
        assert frame.empty
        assert frame[ITEM].dtype == "int64"
        assert not len(excluded_ids(frame, 0))


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet"])
def test_ids_have_the_type_of_the_log(tmp_path: Path, name: str) -> None:
    frame = read(tmp_path, gone(film=["1", "b", "1"]), name, pd.Series(["1", "b"]))
    assert excluded_ids(frame, day("2013-05-02")).tolist() == ["1", "b"]
    with pytest.raises(DataError, match=r"column 'film' .* holds strings, but the log's item ids are integers: cast"):
        read(tmp_path, gone(film=["1", "b", "1"]), name)


def test_a_table_that_names_no_item_of_the_log_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, gone(film=[7, 8, 9]))
    assert "gone.csv: column 'film'" in caplog.text
    assert "names no item of the log" in caplog.text


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (
            {"film": ["1", None, "2"]},
            r"column 'film' \(recommend\.reranking\.exclude_table\.item in .* has 1 missing ids",
        ),
        ({"start": "May 2nd"}, r"column 'start' .*exclude_table\.from .* has 3 values that are not ISO 8601"),
        ({"end": "2013-02-30"}, r"column 'end' .*exclude_table\.until .* that are not calendar dates"),
        ({"start": "2013-05-02 10:00"}, r"column 'start' .* has times without a time zone: .* or set source\.timezone"),
        (
            {"end": ["2013-05-02", "2013-05-01", "2013-05-31"]},
            r"'start' .* has 2 times that are not before their 'end'",
        ),
    ],
)
def test_a_spoilt_table_is_refused_by_name(tmp_path: Path, spoilt: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^gone\.csv: .*{message}") as caught:
        read(tmp_path, gone(**spoilt))
    assert "\n" not in str(caught.value)


def test_numbers_are_no_days(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'start' .* holds int64, expected dates or timestamps: cast"):
        read(tmp_path, gone(start=20130502), "gone.parquet")


def test_a_reversed_period_is_shown_where_rows_may_be_quoted(tmp_path: Path) -> None:
    table = gone(end="2013-05-02")
    with pytest.raises(DataError, match=r"has 2 times .*, the first of item 1 from 2013-05-02 .* until 2013-05-02"):
        read(tmp_path, table)
    with quoting_rows(False), pytest.raises(DataError, match=r"are not before their 'end': correct the periods$"):
        read(tmp_path, table)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'start' .* is not in the file, did you mean 'starts'\?"):
        read(tmp_path, gone().rename(columns={"start": "starts"}))
    gone().to_csv(tmp_path / "gone.csv", index=False)
    file = source_file(UPath(tmp_path / "gone.csv"), "gone.csv", None)
    (tmp_path / "gone.csv").unlink()
    table = ExclusionTable(path="gone.csv", item="film")
    with pytest.raises(DataError, match=r"gone\.csv: no such file or folder: correct the path or put the data there"):
        read_exclusions(table, tiny_scenario(), [file], tmp_path, LOG_IDS)
