"""Tables of users and items: every kind of attribute, versions of them, and what is refused by name."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.columns import ITEM, TEXT, TITLE, USER, VALID, vector
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.attribute_tables import newest, read_items, read_users
from tests.support.logs import AS_OF_DAY, list_sources, tiny_items, tiny_log, tiny_scenario, write_log

PEOPLE = {
    "path": "people.parquet",
    "id": "person",
    "numeric": {"fans": "fans"},
    "categorical": {"segment": "segment"},
    "multi": {"hobbies": "hobbies"},
    "times": {"joined": "joined_on"},
}


def people(**columns: Any) -> pd.DataFrame:
    made: dict[str, Any] = {
        "person": [100, 101, 102],
        "fans": [5, None, 7],
        "segment": ["new", None, "old"],
        "hobbies": ["chess|film", None, "film"],
        "joined_on": [datetime.date(2013, 4, 1), None, datetime.date(2013, 5, 3)],
    }
    return pd.DataFrame({**made, **columns})


def read(root: Path, table: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    write_log(root)
    source = {**PEOPLE, **settings}
    path = root / source["path"]
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    scenario = tiny_scenario(source__users=source)
    return read_users(scenario, list_sources(scenario, root, AS_OF_DAY), root, tiny_log()["person"].rename(USER))


@pytest.mark.parametrize("path", ["people.parquet", "people.csv"])
def test_every_kind_of_attribute_arrives_under_its_name_and_type(tmp_path: Path, path: str) -> None:
    frame = read(tmp_path, people(), path=path)
    types = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    strings = {"segment": "str", "hobbies": "str"}
    assert types == {USER: "int64", "fans": "float32", **strings, "joined": "datetime64[us, UTC]"}
    assert frame["segment"].tolist() == ["new", "", "old"]
    assert frame["joined"].dt.strftime("%Y-%m-%d").tolist()[::2] == ["2013-04-01", "2013-05-03"]
    assert frame["joined"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("codes", "written"),
    [([3, 4, 3], ["3", "4", "3"]), ([3.0, None, 4.0], ["3", "", "4"]), ([True, False, None], None)],
)
def test_kinds_may_be_codes(tmp_path: Path, codes: list[Any], written: list[str] | None) -> None:
    frame = read(tmp_path, people(segment=pd.Series(codes, dtype="boolean" if written is None else None)))
    assert frame["segment"].tolist() == (written or ["true", "false", ""])


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"segment": [0.5, 1.0, 2.0]}, r"column 'segment' \(source\.users\.categorical\.segment .* holds fractions"),
        ({"fans": ["a", "b", "c"]}, r"column 'fans' .* expected numbers"),
        ({"fans": pd.Series([None] * 3, dtype="float64")}, r"column 'fans' .* has no value in any row: map the right"),
        ({"segment": pd.Series([None] * 3, dtype="str")}, r"column 'segment' .* has no value in any row"),
        ({"joined_on": [1.5, 2.5, 3.5]}, r"column 'joined_on' .* holds double, expected timestamps"),
        ({"person": ["a", "b", "c"]}, "holds strings, but the log's user ids are integers"),
        ({"person": [100, 100, 102]}, "has 1 ids more than once, for example 100: keep one row an id, or name valid"),
    ],
)
def test_a_spoilt_table_is_refused_by_name(tmp_path: Path, spoilt: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^people\.parquet: .*{message}") as caught:
        read(tmp_path, people(**spoilt))
    assert "\n" not in str(caught.value)


def versions(times: list[str | None]) -> pd.DataFrame:
    since = pd.Series(pd.to_datetime(times, utc=True, format="ISO8601")).astype("datetime64[us, UTC]")
    return people(person=[101, 100, 100], since=since)


@pytest.mark.parametrize(
    ("path", "hobbies", "separator"),
    [
        ("people.parquet", [["chess", "film"], None, ["film"]], "|"),
        ("people.parquet", ["chess, film", None, "film"], ","),
        ("people.csv", ["chess; film", None, "film"], ";"),
        ("people.csv", ["chess|film", None, "film"], "|"),
    ],
)
def test_several_values_come_as_lists_or_with_a_separator(
    tmp_path: Path, path: str, hobbies: list[Any], separator: str
) -> None:
    frame = read(tmp_path, people(hobbies=hobbies), path=path, separator=separator)
    assert frame["hobbies"].tolist() == ["chess|film", "", "film"]


def test_a_list_of_other_things_than_texts_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"people\.parquet.*hobbies.*holds list<.*a list of texts or numbers is needed"):
        read(tmp_path, people(hobbies=[[{"name": "chess"}], None, []]))


def test_versions_stand_in_order_and_the_newest_from_before_a_day_counts(tmp_path: Path) -> None:
    frame = read(tmp_path, versions(["2013-05-01", "2013-05-03T10:00", "2013-05-02"]), valid_from="since")
    assert frame[USER].tolist() == [100, 100, 101]
    assert frame[VALID].is_monotonic_increasing is False
    day = (pd.Timestamp("2013-05-03") - pd.Timestamp(0)).days
    assert newest(frame, USER, day)["segment"].tolist() == ["old", "new"]
    assert newest(frame, USER, day + 1)["segment"].tolist() == ["", "new"]
    assert newest(frame, USER, day - 2).empty


def test_versions_of_one_time_or_of_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="has 1 ids more than once at one time, for example 100: keep one row a version"
    ):
        read(tmp_path, versions(["2013-05-01", "2013-05-02", "2013-05-02"]), valid_from="since")
    with pytest.raises(DataError, match=r"column 'since' \(source\.users\.valid_from .* has 1 missing times"):
        read(tmp_path, versions(["2013-05-01", None, "2013-05-02"]), valid_from="since")


def test_without_a_table_there_are_no_users(tmp_path: Path) -> None:
    assert read_users(tiny_scenario(), [], tmp_path, pd.Series(["a"], dtype="str")).dtypes.to_dict() == {USER: "str"}


def test_a_table_of_items_has_titles_beside_attributes(tmp_path: Path) -> None:
    write_log(tmp_path)
    items = {"path": "films.parquet", "id": "film", "title": "name", "categorical": {"genre": "genres"}}
    scenario = tiny_scenario(source__items=items)
    frame = read_items(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path, tiny_log()["film"].rename(ITEM))
    assert list(frame) == [ITEM, TITLE, "genre"]
    assert np.unique(frame["genre"]).tolist() == ["Comedy", "Drama|War"]


@pytest.mark.parametrize("name", ["title", "fans"])
def test_an_attribute_cannot_have_a_name_that_is_taken(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"attribute '{name}' is duplicated or has a reserved name"):
        tiny_scenario(source__users={**PEOPLE, "times": {name: "joined_on"}})


def read_films(root: Path, items: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    write_log(root, items=items)
    scenario = tiny_scenario(**{f"source__items__{key}": value for key, value in settings.items()})
    return read_items(scenario, list_sources(scenario, root, AS_OF_DAY), root, tiny_log()["film"].rename(ITEM))


def test_texts_are_joined_and_vectors_become_columns_of_numbers(tmp_path: Path) -> None:
    count = len(tiny_items())
    plots = [None, " snow ", *["a train"] * (count - 2)]
    vectors: list[Any] = [None, *[[0.5, n] for n in range(1, count)]]
    items = tiny_items().assign(plot=plots, embedding=vectors)
    frame = read_films(tmp_path, items, text=["name", "plot"], vectors="embedding")
    assert frame[TEXT].tolist()[:3] == ["Film 1", "Film 2  snow", "Film 3 a train"]
    assert frame[vector(0)].isna().tolist() == [True, *[False] * (count - 1)]
    assert frame[vector(1)].tolist()[1:] == list(range(1, count))
    assert {str(frame[vector(axis)].dtype) for axis in (0, 1)} == {"float32"}
    assert read_films(tmp_path, items, text="name")[TEXT].tolist() == items["name"].tolist()


@pytest.mark.parametrize(
    ("settings", "spoilt", "message"),
    [
        ({"text": "year"}, None, r"column 'year' \(source\.items\.text .* holds double, expected strings"),
        ({"text": "plot"}, "", r"column 'plot' \(source\.items\.text .* has no text in any row: map the right column"),
        ({"vectors": "name"}, None, r"column 'name' \(source\.items\.vectors .* lists of numbers are needed"),
        ({"vectors": "plot"}, ["a"], r"column 'plot' .* lists of numbers are needed"),
        ({"vectors": "plot"}, [], "has vectors of 0 numbers, 1 to 4,096 are supported"),
        (
            {"vectors": "plot"},
            [1.0, float("inf")],
            r"has 8 vectors with a number that is .* in row 1 \(item 1\)",
        ),
        ({"vectors": "plot"}, [1.0, None], r"has 8 vectors with a number that is missing or not finite"),
        ({"vectors": "plot"}, None, r"column 'plot' .*(has no vector in any row|lists of numbers are needed)"),
    ],
)
def test_texts_and_vectors_that_cannot_be_used_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], spoilt: Any, message: str
) -> None:
    items = tiny_items()
    with pytest.raises(DataError, match=message):
        read_films(tmp_path, items.assign(plot=[spoilt] * len(items)), **settings)


def test_vectors_of_different_lengths_are_refused_with_both_rows(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0, 3.0]] * (len(tiny_items()) - 1)
    message = r"3 numbers in row 1 \(item 1\), 2 in row 8 \(item 8\): write all with one length, and null for"
    with pytest.raises(DataError, match=message):
        read_films(tmp_path, tiny_items().assign(embedding=[*vectors, [1.0, 2.0]]), vectors="embedding")


def test_vectors_in_a_csv_file_are_refused(tmp_path: Path) -> None:
    write_log(tmp_path)
    tiny_items().assign(embedding="[1, 2]").to_csv(tmp_path / "films.csv", index=False)
    scenario = tiny_scenario(source__items__path="films.csv", source__items__vectors="embedding")
    with pytest.raises(DataError, match=r"column 'embedding' .* is in a CSV file, which has no lists of numbers"):
        read_items(scenario, list_sources(scenario, tmp_path, AS_OF_DAY), tmp_path, tiny_log()["film"].rename(ITEM))
