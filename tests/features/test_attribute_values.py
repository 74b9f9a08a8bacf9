"""A row knows of its user and its item what their tables said before its day."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.features.attribute_values import MODERATE, AttributeLookup, MultiValued
from mtl_tasks.features.builder import Tables, build_features, fit_factor_models
from mtl_tasks.scenario import UserTable
from tests.support.worlds import END, ITEMS, START, canonical, item_table, random_events, random_rows, world_scenario

IDS = np.array([3, 5, 9])
SECTION = UserTable(
    path="people.parquet",
    id="id",
    numeric={"fans": "fans"},
    categorical={"segment": "segment"},
    multi={"hobbies": "hobbies"},
    times={"joined": "joined"},
)


def moments(*days: float) -> pd.Series:
    return pd.Series(pd.to_datetime(np.array(days) * 86_400, unit="s", utc=True)).astype("datetime64[us, UTC]")


def people(valid: pd.Series | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            columns.USER: [3, 3, 7, 9],
            "fans": np.array([1, 2, 3, 4], dtype=np.float32),
            "segment": ["a", "b", "a", ""],
            "hobbies": ["chess", "chess|film", "", "film"],
            "joined": moments(10, 10, 10.5, 12.5),
        }
    )
    return frame.iloc[1:].reset_index(drop=True) if valid is None else frame.assign(**{columns.VALID: valid})


def test_without_versions_a_row_holds_on_every_day() -> None:
    side = AttributeLookup.prepare(people(), SECTION, columns.USER, IDS)
    codes, days = np.array([0, 1, 2, 0]), np.array([11, 11, 11, 15_000])
    assert side.numbers(codes, days)["fans"].tolist() == pytest.approx([2, np.nan, 4, 2], nan_ok=True)
    assert side.categories(codes, days)["segment"].tolist() == ["b", np.nan, np.nan, "b"]


def test_a_version_is_known_from_the_day_after_it() -> None:
    valid = moments(10.0, 12.9, 0, 0)
    side = AttributeLookup.prepare(people(valid), SECTION, columns.USER, IDS)
    codes, days = np.zeros(5, dtype=np.int64), np.array([9, 10, 11, 12, 13])
    fans = side.numbers(codes, days)["fans"]
    np.testing.assert_equal(fans, [np.nan, np.nan, 1, 1, 2])
    owner, value = side.listed[0].of(codes, days)
    assert owner.tolist() == [2, 3, 4, 4]
    assert value.tolist() == [0, 0, 0, 1]  # chess 0, film 1


def test_a_time_is_an_age_and_nothing_before_it() -> None:
    side = AttributeLookup.prepare(people(), SECTION, columns.USER, IDS)
    joined = side.numbers(np.array([2, 2, 2, 1]), np.array([11, 12, 20, 20]))["joined"]
    np.testing.assert_equal(joined, [np.nan, 0, 8, np.nan])


def test_an_attribute_of_very_many_kinds_makes_no_shares() -> None:
    table = pd.DataFrame({columns.USER: range(MODERATE + 1)})
    many = table.assign(name=[f"kind {place}" for place in range(MODERATE + 1)])
    section = UserTable(path="people.parquet", id="id", categorical={"name": "name"})
    ids = np.arange(MODERATE + 1)
    assert AttributeLookup.prepare(many, section, columns.USER, ids).listed == []
    assert len(AttributeLookup.prepare(many.iloc[1:], section, columns.USER, ids).listed) == 1


def features(users: pd.DataFrame, section: dict[str, object]) -> tuple[pd.DataFrame, pd.DataFrame]:
    scenario = world_scenario(source__users={"path": "people.parquet", "id": "person", **section})
    events, rows = canonical(random_events(np.random.default_rng(3))), random_rows(np.random.default_rng(4), 80)
    tables = Tables(users, item_table([10 + 2 * code for code in range(ITEMS)]))
    return rows, build_features(events, tables, rows, fit_factor_models(events, scenario, START, END), scenario)


def test_kinds_are_categories_and_an_item_has_its_audience() -> None:
    users = pd.DataFrame({columns.USER: [100, 102, 104, 106], "segment": ["a", "b", "a", "b"]})
    rows, made = features(users, {"categorical": {"segment": "segment"}})
    known = rows[columns.USER].isin(users[columns.USER]).to_numpy()
    assert isinstance(made["user.segment"].dtype, pd.CategoricalDtype)
    assert made["user.segment"].notna().tolist() == known.tolist()
    share = made["item_x_segment.share"]
    assert share.notna().tolist() == known.tolist()
    assert share[known].nunique() > 2
    assert share[known].between(0, 1).all()


def test_an_attribute_named_like_a_feature_is_refused() -> None:
    users = pd.DataFrame({columns.USER: [100], "count": np.array([1], dtype=np.float32)})
    with pytest.raises(ConfigError, match=r"would be the feature 'user\.count', which is built in"):
        features(users, {"numeric": {"count": "count"}})


def parse(*texts: str | None) -> MultiValued:
    return MultiValued.parse("genres", pd.Series(texts, index=range(10, 10 + len(texts)), dtype="str"))


def test_values_keep_their_item_and_order() -> None:
    parsed = parse("Drama|War", "Comedy", "War")
    owner, value = parsed.of(np.array([0, 2, 0]))
    assert owner.tolist() == [0, 0, 1, 2, 2]
    assert value.tolist() == [1, 2, 2, 1, 2]  # Comedy 0, Drama 1, War 2
    assert parsed.size == 3


def test_empty_and_missing_texts_have_no_value() -> None:
    parsed = parse("", "War", None, "|", "War|")
    assert np.diff(parsed.starts).tolist() == [0, 1, 0, 0, 1]
    assert parsed.of(np.arange(5))[1].tolist() == [0, 0]


def test_a_table_without_any_value_parses() -> None:
    assert parse("", None).size == 0
    assert parse().starts.tolist() == [0]
