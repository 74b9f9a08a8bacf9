"""Reading a log: good ones arrive under the canonical names, bad ones are refused by name."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from mtl_tasks.core.columns import FILE, ITEM, PARTITION, TIME, TITLE, USER, label
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.interactions import read_log
from mtl_tasks.scenario import Scenario
from tests.support.logs import (
    AS_OF_DAY,
    DAYS,
    list_sources,
    tiny_items,
    tiny_log,
    tiny_scenario,
    write_log,
    write_partition,
)

FIRST = "log/dt=2013-05-01/part-0.parquet"
SECOND = "log/dt=2013-05-02/part-0.parquet"


def read(root: Path, scenario: Scenario) -> pd.DataFrame:
    return read_log(scenario, list_sources(scenario, root, AS_OF_DAY), root)


def read_single(root: Path, rows: pd.DataFrame | pa.Table, **settings: Any) -> pd.DataFrame:
    """Write the rows as one file of the scenario's format and read them."""
    suffix = settings.get("source__format", "parquet")
    path = root / f"log.{suffix}"
    if isinstance(rows, pa.Table):
        pq.write_table(rows, path)
    elif suffix == "csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_parquet(path, index=False)
    return read(root, tiny_scenario(source__events=path.name, source__items=None, **settings))


def with_times(times: list[str] | pd.Series) -> pd.DataFrame:
    rows = tiny_log().head(len(times))
    return rows.assign(seen_at=pd.Series(times, index=rows.index))


class TestListSources:
    def test_days_before_as_of_are_taken_in_order_and_the_item_table_last(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        files = list_sources(tiny_scenario(), tmp_path, AS_OF_DAY - 2)
        assert [file.day for file in files] == [*range(AS_OF_DAY - DAYS, AS_OF_DAY - 2), None]
        assert [files[0].path, files[-1].path] == [FIRST, "films.parquet"]
        content = (tmp_path / FIRST).read_bytes()
        assert (files[0].size, files[0].sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_what_is_listed_does_not_depend_on_where_the_root_is(self, tmp_path: Path) -> None:
        for place in ("a", "b"):
            (tmp_path / place).mkdir()
            write_log(tmp_path / place)
        scenario = tiny_scenario()
        assert list_sources(scenario, tmp_path / "a", AS_OF_DAY) == list_sources(
            scenario, str(tmp_path / "b"), AS_OF_DAY
        )

    def test_a_single_file_has_no_day(self, tmp_path: Path) -> None:
        tiny_log().to_parquet(tmp_path / "log.parquet")
        files = list_sources(tiny_scenario(source__events="log.parquet", source__items=None), tmp_path, AS_OF_DAY)
        assert [(file.path, file.day) for file in files] == [("log.parquet", None)]

    def test_markers_of_other_tools_are_ignored(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / "log/_SUCCESS").touch()
        (tmp_path / "log/dt=2013-05-01/.part-0.parquet.crc").touch()
        assert len(list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)) == DAYS + 1

    def test_an_object_store_is_read_like_a_disk(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        bucket = UPath(f"memory://{tmp_path.name}")
        for path in (tmp_path / "log").rglob("*.parquet"):
            target = bucket / str(path.relative_to(tmp_path))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        remote = tiny_scenario(source__events=f"memory://{tmp_path.name}/log")
        files = list_sources(remote, tmp_path, AS_OF_DAY)
        assert files[0].path == f"memory://{tmp_path.name}/{FIRST}"
        local = read(tmp_path, tiny_scenario())
        pd.testing.assert_frame_equal(read_log(remote, files, tmp_path).drop(columns=FILE), local.drop(columns=FILE))

    @pytest.mark.parametrize("missing", ["nowhere", "nowhere/log.parquet"])
    def test_a_missing_log_names_the_key_and_the_file(self, tmp_path: Path, missing: str) -> None:
        with pytest.raises(DataError, match=rf"source\.events '{missing}' in include/scenarios/tiny\.yaml: no such"):
            list_sources(tiny_scenario(source__events=missing), tmp_path, AS_OF_DAY)

    def test_a_missing_item_table_names_its_key(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / "films.parquet").unlink()
        with pytest.raises(DataError, match=r"source\.items\.path 'films\.parquet'.*: no such file"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_an_item_table_that_is_a_folder_is_refused(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / "films.parquet").rename(tmp_path / "part-0.parquet")
        (tmp_path / "films.parquet").mkdir()
        with pytest.raises(DataError, match=r"source\.items\.path 'films\.parquet'.*: cannot be read as a file"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "log").mkdir()
        with pytest.raises(DataError, match="log: the folder is empty"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    @pytest.mark.parametrize("name", ["dt=2013-5-1", "dt=2013-02-30", "2013-05-01", "day=2013-05-01"])
    def test_a_folder_that_is_not_a_day_is_named(self, tmp_path: Path, name: str) -> None:
        write_log(tmp_path)
        (tmp_path / "log" / name).mkdir()
        with pytest.raises(DataError, match=f"log: '{name}' is not a partition folder named dt=YYYY-MM-DD"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_a_file_among_the_partitions_is_named(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / "log/dt=2013-05-09").touch()
        with pytest.raises(DataError, match="'dt=2013-05-09' is not a partition folder"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_no_partition_before_as_of_says_what_there_is(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        with pytest.raises(DataError, match="no partition before 2013-05-01, there are 2013-05-01 to 2013-05-06"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY - DAYS)

    def test_a_partition_without_a_file_is_refused(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / SECOND).unlink()
        with pytest.raises(DataError, match="log/dt=2013-05-02: the partition has no file"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_a_file_of_another_format_is_refused_rather_than_skipped(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        (tmp_path / SECOND).with_suffix(".json").touch()
        with pytest.raises(DataError, match=r"dt=2013-05-02/part-0\.json: not a \.parquet file"):
            list_sources(tiny_scenario(), tmp_path, AS_OF_DAY)

    def test_an_unknown_protocol_is_a_configuration_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nosuch://bucket/log: this kind of path cannot be opened"):
            list_sources(tiny_scenario(source__events="nosuch://bucket/log"), tmp_path, AS_OF_DAY)


class TestReadLog:
    def test_columns_arrive_under_canonical_names_and_types(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        frame = read(tmp_path, tiny_scenario())
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            USER: "int64",
            ITEM: "int64",
            TIME: "datetime64[us, UTC]",
            label("rating"): "float32",
            label("like"): "float32",
            FILE: "category",
            PARTITION: "int32",
        }
        expected = tiny_log()
        np.testing.assert_array_equal(frame[TIME], expected["seen_at"])
        np.testing.assert_array_equal(frame[label("rating")], expected["stars"])
        assert frame.loc[0, FILE] == FIRST
        assert frame[PARTITION].unique().tolist() == list(range(AS_OF_DAY - DAYS, AS_OF_DAY))

    def test_a_single_file_has_no_partition_day(self, tmp_path: Path) -> None:
        assert PARTITION not in read_single(tmp_path, tiny_log())

    def test_string_ids_stay_strings_even_if_they_look_like_numbers(self, tmp_path: Path) -> None:
        frame = read_single(tmp_path, tiny_log().astype({"person": "str"}))
        assert (str(frame[USER].dtype), frame.loc[0, USER]) == ("str", "100")

    def test_categorical_ids_are_read_as_strings(self, tmp_path: Path) -> None:
        frame = read_single(tmp_path, tiny_log().astype({"person": "str"}).astype({"person": "category"}))
        assert frame.loc[0, USER] == "100"

    def test_a_missing_integer_id_does_not_turn_the_others_into_floats(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"person": "Int64"})
        rows.loc[0, "person"], rows.loc[1, "person"] = pd.NA, 2**53 + 1
        frame = read_single(tmp_path, rows)
        assert str(frame[USER].dtype) == "Int64"
        assert frame.loc[0, USER] is pd.NA
        assert frame.loc[1, USER] == 2**53 + 1

    def test_an_empty_string_is_a_missing_id(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"film": "str"})
        rows.loc[3, "film"] = ""
        assert read_single(tmp_path, rows)[ITEM].isna().sum() == 1

    def test_a_boolean_label_is_zero_or_one_and_null_is_nan(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"liked": "boolean"})
        rows.loc[0, "liked"] = pd.NA
        likes = read_single(tmp_path, rows)[label("like")]
        assert np.isnan(likes[0])
        assert set(likes[1:]) == {0.0, 1.0}

    def test_a_number_above_the_threshold_is_one_and_a_missing_one_stays_missing(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"stars": "float32"})
        rows.loc[:2, "stars"] = [np.nan, 6.0, 6.5]
        signals = {"praise": {"column": "stars", "above": 6}, "hit": "liked"}
        frame = read_single(tmp_path, rows, source__signals=signals)
        np.testing.assert_array_equal(frame[label("praise")], [np.nan, 0, 1, *(rows["stars"][3:] > 6)])
        np.testing.assert_array_equal(frame[label("hit")], rows["liked"])
        np.testing.assert_array_equal(frame[label("rating")], rows["stars"])

    def test_nanoseconds_are_cut_to_microseconds(self, tmp_path: Path) -> None:
        times = tiny_log()["seen_at"].astype("datetime64[ns, UTC]") + pd.Timedelta(999, unit="ns")
        frame = read_single(tmp_path, tiny_log().assign(seen_at=times))
        np.testing.assert_array_equal(frame[TIME], tiny_log()["seen_at"])

    def test_another_zone_is_converted_to_utc(self, tmp_path: Path) -> None:
        rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].dt.tz_convert("Asia/Tokyo"))
        np.testing.assert_array_equal(read_single(tmp_path, rows)[TIME], tiny_log()["seen_at"])

    @pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
    def test_integer_times_are_read_in_the_scenarios_unit(self, tmp_path: Path, unit: str, per_second: int) -> None:
        seconds = tiny_log()["seen_at"].astype("int64") // 1_000_000
        frame = read_single(tmp_path, tiny_log().assign(seen_at=seconds * per_second), source__time_unit=unit)
        np.testing.assert_array_equal(frame[TIME], tiny_log()["seen_at"])

    def test_times_without_a_zone_get_the_scenarios(self, tmp_path: Path) -> None:
        local = tiny_log()["seen_at"].dt.tz_convert("Europe/Paris").dt.tz_localize(None)
        frame = read_single(tmp_path, tiny_log().assign(seen_at=local), source__timezone="Europe/Paris")
        np.testing.assert_array_equal(frame[TIME], tiny_log()["seen_at"])

    @pytest.mark.faults(13)
    def test_a_missing_column_suggests_the_nearest(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        write_partition(tmp_path, "2013-05-02", tiny_log().rename(columns={"person": "persons"}))
        with pytest.raises(
            DataError,
            match=rf"^{SECOND}: column 'person' \(source\.columns\.user in include/scenarios/tiny\.yaml\) is not in the"
            r" file, did you mean 'persons'\? \(the file has persons, film, seen_at, stars, liked\)$",
        ):
            read(tmp_path, tiny_scenario())

    def test_a_missing_label_column_names_the_task(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"column 'stars' \(tasks\.rating\.label .* is not in the file"):
            read_single(tmp_path, tiny_log().drop(columns="stars"))

    def test_iso_texts_are_times_in_parquet_as_in_csv(self, tmp_path: Path) -> None:
        texts = tiny_log()["seen_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        frame = read_single(tmp_path, tiny_log().assign(seen_at=texts))
        np.testing.assert_array_equal(frame[TIME], tiny_log()["seen_at"])

    def test_whole_numbers_that_are_rounded_are_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        read_single(tmp_path, tiny_log().assign(stars=2**24), tasks__rating__range=[0, 2**30])
        assert "rounded" not in caplog.text
        read_single(tmp_path, tiny_log().assign(stars=2**24 + 1), tasks__rating__range=[0, 2**30])
        assert "column 'stars'" in caplog.text
        assert "has 60 whole numbers that are rounded to seven digits, such as 16777217" in caplog.text

    def test_kinds_of_floats_may_be_missing_as_nan(self, tmp_path: Path) -> None:
        table = pa.Table.from_pandas(tiny_log(), preserve_index=False)
        codes = pa.array([float("nan") if n % 3 == 0 else float(n % 4) for n in range(60)])
        context = {"categorical": {"code": "code"}}
        frame = read_single(tmp_path, table.append_column("code", codes), source__context=context)
        assert set(frame["context:code"]) == {"", "0", "1", "2", "3"}

    def test_a_column_that_occurs_twice_is_refused(self, tmp_path: Path) -> None:
        table = pa.Table.from_pandas(tiny_log())
        with pytest.raises(DataError, match=r"column 'stars' .* occurs 2 times in the file, which is ambiguous"):
            read_single(tmp_path, table.append_column("stars", table["stars"]))

    @pytest.mark.faults(13)
    @pytest.mark.parametrize(
        ("column", "values", "problem"),
        [
            ("person", np.linspace(1, 2, 60), "holds double, ids must be integers or strings"),
            ("film", [True] * 60, "holds bool, ids must be integers or strings"),
            ("person", ["x" * 1001] * 60, "has an id of 1,001 characters, at most 1,000 are read"),
            ("person", np.full(60, 2**63, dtype=np.uint64), "do not fit 64 signed bits"),
            ("stars", ["8"] * 60, "holds large_string, expected numbers or booleans"),
            ("liked", pd.to_datetime(["2013-05-01"] * 60), "expected numbers or booleans"),
            ("seen_at", ["yesterday"] * 60, "are not ISO 8601"),
            ("seen_at", np.full(60, 1367409600), r"holds integers: set source\.time_unit"),
            ("seen_at", np.full(60, 1367409600.5), "holds double, expected timestamps"),
        ],
    )
    def test_a_wrong_type_is_named(self, tmp_path: Path, column: str, values: Any, problem: str) -> None:
        with pytest.raises(DataError, match=rf"log\.parquet: column '{column}' .*{problem}"):
            read_single(tmp_path, tiny_log().assign(**{column: values}))

    @pytest.mark.parametrize(
        ("values", "unit", "problem"),
        [
            (1367409600_000, "s", r"reads as the year 4\d{4} \(median\) in the unit 's'"),
            (1367409600, "us", r"reads as the year 1970 \(median\) in the unit 'us'"),
            (1367409600_000_000_000, "s", r"reads as the year 4\d{10} \(median\) in the unit 's'"),
        ],
    )
    def test_a_wrong_time_unit_is_noticed(self, tmp_path: Path, values: int, unit: str, problem: str) -> None:
        with pytest.raises(DataError, match=problem):
            read_single(tmp_path, tiny_log().assign(seen_at=np.full(60, values)), source__time_unit=unit)

    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    @pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
    @pytest.mark.parametrize("far", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
    def test_a_time_far_from_all_others_is_read_as_such(
        self, tmp_path: Path, far: str, zone: str | None, kind: str
    ) -> None:
        times = tiny_log()["seen_at"].dt.tz_localize(None) if zone else tiny_log()["seen_at"]
        times.iloc[7] = pd.Timestamp(far, tz=None if zone else "UTC")
        settings = {"source__timezone": zone} if zone else {}
        frame = read_single(tmp_path, tiny_log().assign(seen_at=times), source__format=kind, **settings)
        assert frame.loc[7, TIME].year == pd.Timestamp(far).year
        assert (frame[TIME].drop(7).dt.year == 2013).all()

    def test_a_csv_time_to_the_nanosecond_does_not_limit_the_others(self, tmp_path: Path) -> None:
        rows = with_times(["2013-05-01T12:00:00.123456789Z", "9999-12-31T00:00:00Z"])
        assert read_single(tmp_path, rows, source__format="csv")[TIME].dt.year.tolist() == [2013, 9999]

    def test_a_time_of_an_old_engine_does_not_wrap_round(self, tmp_path: Path) -> None:
        times = tiny_log()["seen_at"].dt.tz_localize(None)
        times.iloc[7] = pd.Timestamp("9999-12-31")
        table = pa.Table.from_pandas(tiny_log().assign(seen_at=times), preserve_index=False)
        path = tmp_path / "log.parquet"
        pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False)
        frame = read(tmp_path, tiny_scenario(source__events=path.name, source__items=None, source__timezone="UTC"))
        assert frame.loc[7, TIME] == pd.Timestamp("9999-12-31", tz="UTC")
        assert frame[TIME].drop(7).tolist() == tiny_log()["seen_at"].drop(7).tolist()

    def test_a_time_beyond_the_calendar_is_held_as_its_last_day(self, tmp_path: Path) -> None:
        times = pa.array([2**60] * 60).cast(pa.timestamp("ms", "UTC"))
        table = pa.Table.from_pandas(tiny_log()).set_column(2, "seen_at", times)
        assert (read_single(tmp_path, table)[TIME] == pd.Timestamp("9999-12-31", tz="UTC")).all()

    def test_of_seconds_beside_milliseconds_the_rarer_are_far_from_the_others(self, tmp_path: Path) -> None:
        seconds = tiny_log()["seen_at"].astype("int64") // 1_000_000
        for unit, per, year in (("s", 1_000, 9999), ("ms", 1, 1970)):
            mixed = seconds * (1 if unit == "s" else 1_000)
            mixed.iloc[:18] = seconds.iloc[:18] * per
            frame = read_single(tmp_path, tiny_log().assign(seen_at=mixed), source__time_unit=unit)
            assert (frame[TIME].dt.year == year).tolist() == [True] * 18 + [False] * 42

    def test_a_time_unit_for_timestamps_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"but source\.time_unit says integers"):
            read_single(tmp_path, tiny_log(), source__time_unit="s")

    def test_times_without_a_zone_are_refused(self, tmp_path: Path) -> None:
        rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].dt.tz_localize(None))
        with pytest.raises(DataError, match=r"times without a time zone: write them in UTC, or set source\.timezone"):
            read_single(tmp_path, rows)

    @pytest.mark.faults(15)
    @pytest.mark.parametrize("change", ["2013-03-31", "2013-10-27"])
    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_local_times_on_both_sides_of_a_clock_change_keep_their_distance(
        self, tmp_path: Path, change: str, kind: str
    ) -> None:
        start = pd.Timestamp(change, tz="UTC") - pd.Timedelta(hours=12)
        hours = [hour for hour in range(30) if hour not in (12, 13)]  # those of the change itself name no one instant
        times = pd.Series([start + pd.Timedelta(hours=hour) for hour in hours]).astype("datetime64[us, UTC]")
        local = times.dt.tz_convert("Europe/Paris").dt.tz_localize(None)
        rows = tiny_log().head(len(times)).assign(seen_at=local)
        frame = read_single(tmp_path, rows, source__timezone="Europe/Paris", source__format=kind)
        assert frame[TIME].tolist() == times.tolist()

    @pytest.mark.faults(15)
    @pytest.mark.parametrize("time", ["2013-10-27T02:30:00", "2013-03-31T02:30:00"])
    def test_an_hour_of_the_clock_change_is_refused(self, tmp_path: Path, time: str) -> None:
        rows = with_times(pd.Series(pd.to_datetime([time, "2013-06-01T12:00:00"])))
        with pytest.raises(DataError, match=r"has 1 values that occur twice or never in Europe/Paris.* 02:30:00"):
            read_single(tmp_path, rows, source__timezone="Europe/Paris")

    def test_an_unknown_zone_is_a_configuration_error(self, tmp_path: Path) -> None:
        rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].dt.tz_localize(None))
        with pytest.raises(ConfigError, match="unknown zone 'Europe/Pariss'"):
            read_single(tmp_path, rows, source__timezone="Europe/Pariss")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"person": tiny_log()["person"].astype("str")}, "holds strings, but .* holds integers"),
            ({"seen_at": tiny_log()["seen_at"].dt.tz_convert("Asia/Tokyo")}, "in Asia/Tokyo, but .* timestamps in UTC"),
            ({"seen_at": tiny_log()["seen_at"].dt.tz_localize(None)}, "timestamps without a time zone, but"),
        ],
    )
    def test_a_partition_of_another_type_than_the_first_is_named(
        self, tmp_path: Path, change: dict[str, pd.Series], problem: str
    ) -> None:
        write_log(tmp_path)
        write_partition(tmp_path, "2013-05-02", tiny_log().assign(**change))
        with pytest.raises(DataError, match=f"^{SECOND}: .*{problem}"):
            read(tmp_path, tiny_scenario(source__timezone="UTC"))

    def test_a_partition_may_have_more_columns_and_another_order(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        expected = read(tmp_path, tiny_scenario())
        second = tiny_log().iloc[10:20].assign(device="phone")
        write_partition(tmp_path, "2013-05-02", second[second.columns[::-1]])
        pd.testing.assert_frame_equal(read(tmp_path, tiny_scenario()), expected)

    def test_ids_of_another_width_are_the_same_ids(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        write_partition(tmp_path, "2013-05-02", tiny_log().iloc[10:20].astype({"person": "int16", "film": "uint32"}))
        frame = read(tmp_path, tiny_scenario())
        assert (str(frame[USER].dtype), frame[USER].tolist()) == ("int64", tiny_log()["person"].tolist())

    @pytest.mark.parametrize("column", ["person", "film", "seen_at", "stars"])
    def test_a_partition_in_which_a_column_is_null_throughout_leaves_it_missing(
        self, tmp_path: Path, column: str
    ) -> None:
        write_log(tmp_path)
        first = tiny_log().head(10).drop(columns=column)
        table = pa.Table.from_pandas(first, preserve_index=False).append_column(column, pa.nulls(10))
        pq.write_table(table, tmp_path / FIRST)
        frame = read(tmp_path, tiny_scenario())
        name = {"person": USER, "film": ITEM, "seen_at": TIME, "stars": label("rating")}[column]
        assert frame[name].isna().tolist() == [True] * 10 + [False] * 50

    def test_ids_that_are_null_in_every_file_are_refused(self, tmp_path: Path) -> None:
        table = pa.Table.from_pandas(tiny_log().drop(columns="film"), preserve_index=False)
        with pytest.raises(DataError, match=r"^log\.parquet: column 'film' .* has no value in any row"):
            read_single(tmp_path, table.append_column("film", pa.nulls(60)))

    @pytest.mark.parametrize("keep", [0, 3, 200, -1])
    def test_a_truncated_file_is_named(self, tmp_path: Path, keep: int) -> None:
        write_log(tmp_path)
        path = tmp_path / SECOND
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(
            DataError, match=f"^{SECOND}: not a readable Parquet file, truncated or corrupt: .*write it"
        ):
            read(tmp_path, tiny_scenario())

    def test_garbage_inside_a_file_is_named(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        path = tmp_path / SECOND
        content = bytearray(path.read_bytes())
        content[4:600] = b"\xff" * 596
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{SECOND}: not a readable Parquet file"):
            read(tmp_path, tiny_scenario())

    def test_a_file_that_changed_since_it_was_listed_is_refused(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        scenario = tiny_scenario()
        files = list_sources(scenario, tmp_path, AS_OF_DAY)
        write_partition(tmp_path, "2013-05-02", tiny_log().head(3))
        with pytest.raises(DataError, match=f"^{SECOND}: changed since the run listed its sources: run again"):
            read_log(scenario, files, tmp_path)

    def test_a_file_that_vanished_since_it_was_listed_is_named(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        scenario = tiny_scenario()
        files = list_sources(scenario, tmp_path, AS_OF_DAY)
        (tmp_path / SECOND).unlink()
        with pytest.raises(DataError, match=f"^{SECOND}: no such file"):
            read_log(scenario, files, tmp_path)


class TestRowGroups:
    """A single Parquet file, of which a run reads the row groups that hold something from before its as_of."""

    BEFORE = pd.Timestamp("2013-05-04", tz="UTC")

    def read(self, root: Path, rows: pd.DataFrame, **settings: Any) -> pd.DataFrame:
        rows.to_parquet(root / "log.parquet", row_group_size=10, index=False)  # a group a day
        scenario = tiny_scenario(source__events="log.parquet", source__items=None, **settings)
        return read_log(scenario, list_sources(scenario, root, AS_OF_DAY), root, self.BEFORE)

    def forms(self, rows: pd.DataFrame) -> Iterator[tuple[pd.Series, dict[str, Any]]]:
        time = rows["seen_at"]
        yield time, {}
        yield time.astype("int64") // 1000, {"source__time_unit": "ms"}
        yield time.dt.tz_convert("Asia/Tokyo").dt.tz_localize(None), {"source__timezone": "Asia/Tokyo"}

    def test_groups_of_the_future_are_not_read_whatever_the_form_of_the_times(self, tmp_path: Path) -> None:
        for times, settings in self.forms(tiny_log()):
            frame = self.read(tmp_path, tiny_log().assign(seen_at=times), **settings)
            assert frame[TIME].tolist() == tiny_log()["seen_at"].head(30).tolist()

    def test_a_group_with_one_earlier_row_or_one_missing_time_is_read(self, tmp_path: Path) -> None:
        rows = tiny_log()
        rows.loc[45, "seen_at"] = rows.loc[0, "seen_at"]
        rows.loc[55, "seen_at"] = pd.NaT
        assert len(self.read(tmp_path, rows)) == 50

    def test_a_group_with_a_time_that_no_row_can_have_is_read(self, tmp_path: Path) -> None:
        rows = tiny_log()
        rows.loc[45, "seen_at"] = pd.Timestamp("9999-12-31", tz="UTC")
        assert len(self.read(tmp_path, rows)) == 40

    def test_a_file_without_statistics_is_read_whole(self, tmp_path: Path) -> None:
        pq.write_table(pa.Table.from_pandas(tiny_log()), tmp_path / "log.parquet", write_statistics=False)
        scenario = tiny_scenario(source__events="log.parquet", source__items=None)
        assert len(read_log(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path, self.BEFORE)) == 60

    def test_a_file_of_the_future_alone_has_no_row(self, tmp_path: Path) -> None:
        frame = self.read(tmp_path, tiny_log().tail(20))
        assert (len(frame), str(frame[TIME].dtype)) == (0, "datetime64[us, UTC]")


class TestCsv:
    def test_csv_gives_the_same_table_as_parquet(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"stars": "float64"})
        rows.loc[0, "stars"] = np.nan
        from_csv = read_single(tmp_path, rows, source__format="csv").drop(columns=FILE)
        pd.testing.assert_frame_equal(from_csv, read_single(tmp_path, rows).drop(columns=FILE))

    def test_a_compressed_file_gives_the_same_table(self, tmp_path: Path) -> None:
        tiny_log().to_csv(tmp_path / "log.csv.gz", index=False)
        scenario = tiny_scenario(source__events="log.csv.gz", source__items=None, source__format="csv")
        plain = read_single(tmp_path, tiny_log(), source__format="csv")
        pd.testing.assert_frame_equal(read(tmp_path, scenario).drop(columns=FILE), plain.drop(columns=FILE))

    def test_partitions_may_be_compressed_in_part(self, tmp_path: Path) -> None:
        for day, part in tiny_log().groupby(tiny_log()["seen_at"].dt.strftime("%Y-%m-%d")):
            (tmp_path / f"log/dt={day}").mkdir(parents=True)
            suffix = "csv.gz" if str(day) > "2013-05-03" else "csv"
            part.to_csv(tmp_path / f"log/dt={day}/part-0.{suffix}", index=False)
        frame = read(tmp_path, tiny_scenario(source__format="csv", source__items=None))
        assert frame[USER].tolist() == tiny_log()["person"].tolist()

    @pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"person,film" + data])
    def test_a_damaged_compressed_file_is_named(self, tmp_path: Path, damage: Any) -> None:
        tiny_log().to_csv(tmp_path / "log.csv.gz", index=False)
        (tmp_path / "log.csv.gz").write_bytes(damage((tmp_path / "log.csv.gz").read_bytes()))
        scenario = tiny_scenario(source__events="log.csv.gz", source__items=None, source__format="csv")
        with pytest.raises(DataError, match=r"^log\.csv\.gz: not a readable CSV file, truncated or corrupt"):
            read(tmp_path, scenario)

    def test_columns_that_nothing_asks_for_take_no_memory(self, tmp_path: Path) -> None:
        rows = pd.concat([tiny_log()] * 1000, ignore_index=True)
        rows.assign(note="never read " * 50).to_csv(tmp_path / "log.csv", index=False)
        scenario = tiny_scenario(source__events="log.csv", source__items=None, source__format="csv")
        files = list_sources(scenario, tmp_path, AS_OF_DAY)
        pool = pa.system_memory_pool()
        before, pa_default = pool.bytes_allocated(), pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            frame = read_log(scenario, files, tmp_path)
            peak = pool.max_memory() - before
        finally:
            pa.set_memory_pool(pa_default)
        assert len(frame) == len(rows)
        assert peak < files[0].size / 2

    def test_ids_of_any_script_are_ids(self, tmp_path: Path) -> None:
        rows = tiny_log().head(3).assign(person=["Zoë", "用户 7", "🦊"])
        assert read_single(tmp_path, rows, source__format="csv")[USER].tolist() == ["Zoë", "用户 7", "🦊"]
        assert read_single(tmp_path, rows)[USER].tolist() == ["Zoë", "用户 7", "🦊"]

    @pytest.mark.parametrize("good_rows", [0, 60_000])
    def test_a_line_without_an_end_is_refused_rather_than_held(self, tmp_path: Path, good_rows: int) -> None:
        with gzip.open(tmp_path / "log.csv.gz", "wt", compresslevel=1) as handle:
            handle.write("person,film,seen_at,stars,liked\n" + "1,2,2013-05-01T12:00:00Z,3,1\n" * good_rows)
            handle.writelines("x" * (1 << 20) for _ in range(64))
        scenario = tiny_scenario(source__events="log.csv.gz", source__items=None, source__format="csv")
        files = list_sources(scenario, tmp_path, AS_OF_DAY)
        pool, default = pa.system_memory_pool(), pa.default_memory_pool()
        before = pool.bytes_allocated()
        pa.set_memory_pool(pool)
        try:
            with pytest.raises(DataError, match=r"^log\.csv\.gz: a line is longer than 1 MiB, .*: fix the file"):
                read_log(scenario, files, tmp_path)
        finally:
            peak = pool.max_memory() - before
            pa.set_memory_pool(default)
        assert peak < 32 << 20  # of the 64 MiB

    def test_a_quoted_value_may_hold_line_ends_wherever_they_fall(self, tmp_path: Path) -> None:
        rows = pd.concat([tiny_log()] * 1000, ignore_index=True)
        frame = read_single(tmp_path, rows.assign(note="two\nlines"), source__format="csv")
        assert frame[USER].tolist() == rows["person"].tolist()

    def test_an_id_with_a_leading_zero_keeps_it(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"person": "str"})
        rows.loc[59, "person"] = "007"
        users = read_single(tmp_path, rows, source__format="csv")[USER]
        assert (users[0], users[59]) == ("100", "007")

    def test_the_id_na_is_an_id(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"person": "str"})
        rows.loc[0, "person"] = "NA"
        assert read_single(tmp_path, rows, source__format="csv").loc[0, USER] == "NA"

    def test_booleans_are_labels(self, tmp_path: Path) -> None:
        likes = read_single(tmp_path, tiny_log().astype({"liked": "bool"}), source__format="csv")[label("like")]
        assert set(likes) == {0.0, 1.0}

    def test_integer_times_are_read_in_the_scenarios_unit(self, tmp_path: Path) -> None:
        rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].astype("int64") // 1000)
        frame = read_single(tmp_path, rows, source__format="csv", source__time_unit="ms")
        np.testing.assert_array_equal(frame[TIME], tiny_log()["seen_at"])

    def test_an_offset_is_converted_to_utc(self, tmp_path: Path) -> None:
        frame = read_single(
            tmp_path, with_times(["2013-05-01T14:30+02:00", "2013-05-01 15:00:00.5+0200"]), source__format="csv"
        )
        assert [f"{time:%H:%M:%S.%f}" for time in frame[TIME]] == ["12:30:00.000000", "13:00:00.500000"]

    @pytest.mark.faults(15)
    @pytest.mark.parametrize(
        ("times", "problem"),
        [
            (["2013-05-01T12:00:00Z", "2013-05-01T12:00:00+02:00"], r"mixes time zones \(\+0200, UTC\)"),
            (["2013-05-01T12:00:00Z", "2013-05-01T12:00:00"], r"mixes time zones \(none, UTC\)"),
            (["2013-05-01T12:00:00", "2013-05-01T12:00:00"], "has times without a time zone"),
            (["2013-05-01T12:00:00Z", "01/05/2013 12:00"], "has 1 values that are not ISO 8601.*'01/05/2013 12:00'"),
            (
                ["2013-02-28T12:00:00Z", "2013-02-30T12:00:00Z"],
                "1 values that are not calendar dates.*2013-02-30",
            ),
        ],
    )
    def test_times_that_are_not_one_instant_are_refused(self, tmp_path: Path, times: list[str], problem: str) -> None:
        with pytest.raises(DataError, match=rf"^log\.csv: column 'seen_at' .*{problem}"):
            read_single(tmp_path, with_times(times), source__format="csv")

    def test_a_file_without_any_time_leaves_them_missing(self, tmp_path: Path) -> None:
        frame = read_single(tmp_path, with_times(["", ""]), source__format="csv")
        assert frame[TIME].isna().all()
        assert str(frame[TIME].dtype) == "datetime64[us, UTC]"

    @pytest.mark.faults(15)
    def test_partitions_of_different_offsets_are_refused(self, tmp_path: Path) -> None:
        for day, zone in (("2013-05-01", "Z"), ("2013-05-02", "+02:00")):
            (tmp_path / f"log/dt={day}").mkdir(parents=True)
            with_times([f"{day}T12:00:00{zone}"]).to_csv(tmp_path / f"log/dt={day}/a.csv", index=False)
        with pytest.raises(DataError, match=r"dt=2013-05-02/a\.csv: .* times in \+0200, but .* holds times in UTC"):
            read(tmp_path, tiny_scenario(source__format="csv", source__items=None))

    @pytest.mark.parametrize(
        ("column", "value", "problem"),
        [
            ("stars", "good", "has 1 values that are not numbers; the first is 'good'"),
            ("person", "1.0", "holds floats such as '1.0'"),
        ],
    )
    def test_a_value_of_the_wrong_type_is_shown(self, tmp_path: Path, column: str, value: str, problem: str) -> None:
        rows = tiny_log().head(1).astype({column: "str"})
        rows[column] = value
        with pytest.raises(DataError, match=problem):
            read_single(tmp_path, rows, source__format="csv")

    @pytest.mark.parametrize("word", ["NULL", "nan", "None", r"\N", "", " ", "null "])
    def test_a_word_for_what_is_missing_is_missing_in_every_column(self, tmp_path: Path, word: str) -> None:
        rows = tiny_log().astype("str").assign(tab="home", seen_at=tiny_log()["seen_at"].dt.strftime("%Y-%m-%dT%XZ"))
        rows.loc[7] = word
        context = {"categorical": {"tab": "tab"}}
        frame = read_single(tmp_path, rows, source__format="csv", source__context=context)
        assert frame.loc[7, [USER, ITEM, TIME, label("rating"), label("like")]].isna().all()
        assert frame.loc[7, "context:tab"] == ""
        assert str(frame[USER].dtype) == "Int64"
        assert frame.drop(index=7).notna().all(axis=None)

    def test_blanks_around_an_id_are_no_part_of_it(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"person": "str", "film": "str"})
        rows.loc[::2, "person"] += " "
        rows.loc[::3, "film"] = " " + rows.loc[::3, "film"]
        for kind, dtype in (("csv", "int64"), ("parquet", "str")):
            frame = read_single(tmp_path, rows, source__format=kind)
            assert frame[USER].tolist() == tiny_log()["person"].astype(dtype).tolist()
            assert frame[ITEM].tolist() == tiny_log()["film"].astype(dtype).tolist()

    def test_ids_with_a_decimal_point_beside_ids_without_one_are_refused(self, tmp_path: Path) -> None:
        rows = tiny_log().astype({"person": "str"})
        rows.loc[::2, "person"] += ".0"
        problem = r"column 'person' .* spells 30 ids with a decimal point such as '100\.0'; the same id without one"
        with pytest.raises(DataError, match=problem):
            read_single(tmp_path, rows, source__format="csv")
        rows.loc[1, "person"] = "guest"
        with pytest.raises(DataError, match="spells 30 ids with a decimal point"):
            read_single(tmp_path, rows.assign(person=rows["person"].replace("101", "100")), source__format="csv")

    def test_texts_that_look_like_versions_stay_texts(self, tmp_path: Path) -> None:
        rows = tiny_log().assign(person=["v1", "2.0", "1.10"] * 20)
        assert read_single(tmp_path, rows, source__format="csv")[USER].tolist() == ["v1", "2.0", "1.10"] * 20

    @pytest.mark.parametrize(("shift", "kind"), [(2**63 - 110, "int64"), (2**63 - 105, "str"), (10**19, "str")])
    def test_ids_are_integers_as_long_as_they_fit(self, tmp_path: Path, shift: int, kind: str) -> None:
        people = [str(shift + person) for person in tiny_log()["person"].tolist()]
        frame = read_single(tmp_path, tiny_log().assign(person=people), source__format="csv")
        assert str(frame[USER].dtype) == kind
        assert frame[USER].astype("str").tolist() == people

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"column 'film' .* is not in the file, did you mean 'films'"):
            read_single(tmp_path, tiny_log().rename(columns={"film": "films"}), source__format="csv")

    @pytest.mark.parametrize("content", ["", "person,film,seen_at,stars,liked\n1,2\n", "person\xff"])
    def test_a_broken_file_is_named_in_one_line(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "log.csv").write_bytes(content.encode("latin-1"))
        scenario = tiny_scenario(source__format="csv", source__events="log.csv", source__items=None)
        with pytest.raises(DataError, match=r"^log\.csv: [^\n]*$"):
            read(tmp_path, scenario)


class TestReadItems:
    def read(self, root: Path, items: pd.DataFrame, ids: pd.Series | None = None) -> pd.DataFrame:
        write_log(root, items=items)
        scenario = tiny_scenario()
        ids = tiny_log()["film"] if ids is None else ids
        return read_items(scenario, list_sources(scenario, root, AS_OF_DAY), root, ids)

    def test_attributes_arrive_under_their_names_and_types(self, tmp_path: Path) -> None:
        items = tiny_items()
        items.loc[0, "name"], items.loc[1, "genres"], items.loc[2, "year"] = None, None, np.nan
        frame = self.read(tmp_path, items)
        types = {name: str(dtype) for name, dtype in frame.dtypes.items()}
        assert types == {ITEM: "int64", TITLE: "str", "year": "float32", "genres": "str"}
        assert (frame.loc[0, TITLE], frame.loc[1, "genres"]) == ("", "")
        assert frame["year"].isna().tolist() == [False, False, True] + [False] * 5

    def test_without_a_table_the_logs_items_have_no_attributes(self, tmp_path: Path) -> None:
        ids = pd.Series([3, 1, 3, pd.NA], dtype="Int64")
        frame = read_items(tiny_scenario(source__items=None), [], tmp_path, ids)
        assert frame.to_dict("list") == {ITEM: [1, 3], TITLE: ["", ""]}
        assert str(frame[ITEM].dtype) == "int64"

    def test_a_csv_table_takes_the_logs_id_type(self, tmp_path: Path) -> None:
        write_log(tmp_path)
        tiny_items().to_csv(tmp_path / "films.csv", index=False)
        source = {"path": "films.csv", "id": "film", "title": "name", "numeric": {"year": "year"}}
        scenario = tiny_scenario(source__items=source)
        files = list_sources(scenario, tmp_path, AS_OF_DAY)
        for ids in (tiny_log()["film"], tiny_log()["film"].astype("str")):
            frame = read_items(scenario, files, tmp_path, ids)
            assert frame[ITEM].dtype == ids.dtype
            assert str(frame["year"].dtype) == "float32"

    def test_ids_that_occur_twice_are_counted_and_shown(self, tmp_path: Path) -> None:
        items = pd.concat([tiny_items(), tiny_items().head(2)])
        with pytest.raises(DataError, match=r"^films\.parquet: .* has 2 ids more than once, for example 1, 2"):
            self.read(tmp_path, items)

    def test_ids_of_another_type_than_the_logs_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds integers, but the log's item ids are strings"):
            self.read(tmp_path, tiny_items(), tiny_log()["film"].astype("str"))

    def test_a_missing_id_is_refused(self, tmp_path: Path) -> None:
        items = tiny_items().astype({"film": "Int64"})
        items.loc[0, "film"] = pd.NA
        with pytest.raises(DataError, match="has 1 missing ids"):
            self.read(tmp_path, items)

    def test_an_infinite_attribute_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"column 'year' \(source\.items\.numeric\.year .* has 8 infinite values"):
            self.read(tmp_path, tiny_items().assign(year=np.inf))

    @pytest.mark.parametrize("far", ["0001-01-01", "9999-12-31"])
    def test_a_time_that_stands_for_a_missing_one_is_refused_but_as_the_begin_of_a_version(
        self, tmp_path: Path, far: str
    ) -> None:
        times = pd.Series([pd.Timestamp(far), *[pd.Timestamp("1995-01-01")] * 7]).astype("datetime64[us]").dt.date
        items = tiny_items().assign(released=times)
        write_log(tmp_path, items=items)
        table = {"path": "films.parquet", "id": "film"}
        for key in ({"times": {"released": "released"}}, {"valid_from": "released"}):
            scenario = tiny_scenario(source__items={**table, **key})
            files = list_sources(scenario, tmp_path, AS_OF_DAY)
            if "times" in key:
                with pytest.raises(
                    DataError, match=r"column 'released' .* has 1 times outside 1000-01-01 to 2200-01-01"
                ):
                    read_items(scenario, files, tmp_path, tiny_log()["film"])
            else:
                assert len(read_items(scenario, files, tmp_path, tiny_log()["film"])) == 8

    def test_a_text_attribute_of_numbers_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"column 'genres' .* holds int64, expected strings"):
            self.read(tmp_path, tiny_items().assign(genres=3))

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"column 'name' \(source\.items\.title .* is not in the file"):
            self.read(tmp_path, tiny_items().drop(columns="name"))
