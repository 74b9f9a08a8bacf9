"""Recommendations in a real PostgreSQL, SQLite and Redis, and in a file on a disk and in a bucket."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from sqlalchemy import create_engine, text

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.top_lists import SCORE, UTILITY
from mtl_tasks.integrations.targets import Delivery, deliver
from mtl_tasks.scenario import Scenario
from tests.support.buckets import empty_bucket, s3_server
from tests.support.databases import PASSWORD, free_port, postgres_cluster, redis_server
from tests.support.logs import tiny_scenario

FIRST, SECOND = AsOf.parse("2013-08-25"), AsOf.parse("2013-08-26")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    url = request.getfixturevalue("postgres")
    yield url
    query(url, "DROP TABLE IF EXISTS recommendations")


def lists(*users: int | str, items: int = 2, score: float = 0.5) -> pd.DataFrame:
    rows = [(user, rank, 100 * rank) for user in users for rank in range(1, items + 1)]
    frame = pd.DataFrame(rows, columns=[columns.USER, columns.RANK, columns.ITEM])
    made = {columns.TITLE: "A film", SCORE: score, UTILITY: 1.5, columns.prediction("stars"): 3.25}
    return frame.assign(**made)


def scenario(**publish: Any) -> Scenario:
    return tiny_scenario(publish=publish)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def to_sql(database: str, made: pd.DataFrame, as_of: AsOf = FIRST, **settings: Any) -> Delivery:
    target = scenario(sql={"url_env": "SHOP_URL", **settings})
    (delivery,) = deliver(made, target, as_of, ".", {"SHOP_URL": database})
    return delivery


def test_a_table_holds_the_recommendations_with_the_names_of_the_tasks(database: str) -> None:
    assert to_sql(database, lists(7)) == Delivery(target="publish.sql", rows=2)
    found = query(database, "SELECT as_of, user_id, rank, item_id, title, score, stars FROM recommendations ORDER BY 3")
    assert found == [("2013-08-25", 7, 1, 100, "A film", 0.5, 3.25), ("2013-08-25", 7, 2, 200, "A film", 0.5, 3.25)]


def test_the_same_as_of_again_replaces_its_rows(database: str) -> None:
    to_sql(database, lists(7, 8))
    to_sql(database, lists(8, score=0.25))
    assert query(database, "SELECT user_id, score FROM recommendations") == [(8, 0.25), (8, 0.25)]


def test_the_newest_days_are_kept_and_a_later_one_goes_after_a_rollback(database: str) -> None:
    days = [AsOf.parse(f"2013-08-{day}") for day in (20, 21, 22, 23)]
    for day in days:
        to_sql(database, lists(7, items=1), day, keep=3)
    assert [row[0] for row in query(database, "SELECT as_of FROM recommendations ORDER BY 1")] == [
        "2013-08-21",
        "2013-08-22",
        "2013-08-23",
    ]
    to_sql(database, lists(7, items=1), days[2], keep=3)
    assert query(database, "SELECT max(as_of) FROM recommendations") == [("2013-08-22",)]


def test_text_ids_are_written_as_text(database: str) -> None:
    to_sql(database, lists("anna", items=1))
    assert query(database, "SELECT user_id FROM recommendations") == [("anna",)]


def test_a_table_with_other_columns_stays_as_it_is_and_is_named(database: str) -> None:
    query(database, "CREATE TABLE recommendations (as_of VARCHAR(10), user_id BIGINT)")
    query(database, "INSERT INTO recommendations VALUES ('2013-08-25', 1)")
    delivery = to_sql(database, lists(7))
    assert delivery.rows == 0
    assert delivery.fault is not None
    assert "table recommendations" in delivery.fault
    assert "nothing was changed" in delivery.fault
    assert PASSWORD not in delivery.fault
    assert query(database, "SELECT * FROM recommendations") == [("2013-08-25", 1)]


def test_each_user_has_a_hash_that_expires(redis_url: str) -> None:
    target = scenario(redis={"url_env": "CACHE", "prefix": "films:", "expire_hours": 2})
    (delivery,) = deliver(lists(7, "anna"), target, FIRST, ".", {"CACHE": redis_url})
    assert delivery == Delivery(target="publish.redis", rows=4)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        stored: dict[str, str] = client.hgetall("films:anna")  # type: ignore[assignment]
        assert stored["as_of"] == "2013-08-25"
        assert json.loads(stored["items"]) == [100, 200]
        assert json.loads(stored["scores"]) == [0.5, 0.5]
        assert 0 < int(client.ttl("films:7")) <= 7200  # type: ignore[arg-type]


def test_a_later_day_replaces_a_users_hash(redis_url: str) -> None:
    target = scenario(redis={"url_env": "CACHE"})
    deliver(lists(7), target, FIRST, ".", {"CACHE": redis_url})
    deliver(lists(7, items=1), target, SECOND, ".", {"CACHE": redis_url})
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        stored: dict[str, str] = client.hgetall("recommendations:7")  # type: ignore[assignment]
        assert (stored["as_of"], stored["items"]) == ("2013-08-26", "[100]")


def test_more_users_than_a_transaction_takes_are_all_written(redis_url: str) -> None:
    target = scenario(redis={"url_env": "CACHE", "prefix": "many:"})
    deliver(lists(*range(1201), items=1), target, FIRST, ".", {"CACHE": redis_url})
    with redis.Redis.from_url(redis_url) as client:
        assert len(list(client.scan_iter("many:*", count=1000))) == 1201


def test_a_file_on_a_disk_is_replaced(tmp_path: Path) -> None:
    target = scenario(parquet={"path": "served/today.parquet"})
    deliver(lists(7, 8), target, FIRST, str(tmp_path), {})
    deliver(lists(9), target, SECOND, str(tmp_path), {})
    found = pd.read_parquet(tmp_path / "served" / "today.parquet")
    assert list(found) == ["as_of", "user_id", "rank", "item_id", "title", "score", "utility", "stars"]
    assert found["user_id"].tolist() == [9, 9]
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["today.parquet"]


def test_a_file_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as server, empty_bucket(server, monkeypatch) as files:
        (delivery,) = deliver(lists(7), scenario(parquet={"path": "s3://shop/served/today.parquet"}), FIRST, ".", {})
        assert delivery.fault is None
        with files.open("shop/served/today.parquet") as handle:
            assert len(pd.read_parquet(handle)) == 2


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "today.parquet").mkdir()
    (delivery,) = deliver(lists(7), scenario(parquet={"path": "today.parquet"}), FIRST, str(tmp_path), {})
    assert delivery.fault is not None
    assert "is a folder: name a file" in delivery.fault


@pytest.mark.parametrize(
    ("target", "scheme"),
    [
        ("sql", "postgresql+psycopg://tiny:{password}@127.0.0.1:{port}/x"),
        ("redis", "redis://:{password}@127.0.0.1:{port}"),
    ],
)
def test_a_server_that_does_not_answer_is_one_warning_without_its_password(
    target: str, scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.data.files._FIRST_PAUSE", 0.0)
    url = scheme.format(password=PASSWORD, port=free_port())
    with caplog.at_level(logging.WARNING):
        (delivery,) = deliver(lists(7), scenario(**{target: {"url_env": "SHOP"}}), FIRST, ".", {"SHOP": url})
    assert delivery.rows == 0
    assert delivery.fault is not None
    assert f"publish.{target}.url_env SHOP" in delivery.fault
    assert "the recommendations are in the store" in delivery.fault
    assert PASSWORD not in caplog.text


def test_a_wrong_password_is_named_without_being_shown(redis_url: str) -> None:
    url = redis_url.replace(PASSWORD, "wr0ng-word")
    (delivery,) = deliver(lists(7), scenario(redis={"url_env": "CACHE"}), FIRST, ".", {"CACHE": url})
    assert delivery.fault is not None
    assert "check the URL, the network, the password" in delivery.fault
    assert "wr0ng-word" not in delivery.fault


@pytest.mark.parametrize("target", ["sql", "redis"])
def test_a_missing_variable_and_a_text_that_is_no_url_are_named(target: str) -> None:
    for environment, said in (({}, "no such environment variable"), ({"SHOP": "nonsense s3cret"}, "not a URL like")):
        (delivery,) = deliver(lists(7), scenario(**{target: {"url_env": "SHOP"}}), FIRST, ".", environment)
        assert delivery.fault is not None
        assert said in delivery.fault
        assert "s3cret" not in delivery.fault


def test_an_option_that_the_client_does_not_know_is_a_warning_that_does_not_show_the_url() -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0?unknown=1"
    (delivery,) = deliver(lists(7), scenario(redis={"url_env": "CACHE"}), FIRST, ".", {"CACHE": url})
    assert delivery.rows == 0
    assert delivery.fault is not None
    assert delivery.fault.startswith("publish.redis in ")
    assert "the recommendations are in the store" in delivery.fault
    assert PASSWORD not in delivery.fault


def test_one_failed_target_keeps_no_other_from_its_rows(tmp_path: Path) -> None:
    target = scenario(parquet={"path": "today.parquet"}, sql={"url_env": "NOWHERE"})
    made = deliver(lists(7), target, FIRST, str(tmp_path), {})
    assert [(delivery.target, delivery.rows) for delivery in made] == [("publish.parquet", 2), ("publish.sql", 0)]


@pytest.mark.parametrize(
    ("publish", "said"),
    [
        ({"sql": {"url": "postgresql://a:b@c/d"}}, "holds a password"),
        ({"redis": {"url": "redis://:b@c"}}, "holds a password"),
        ({"redis": {"url": "redis://:b/d@c"}}, "holds a password"),
        ({"sql": {"url": "postgresql://c/d?sslPassword=b"}}, "holds a password"),
        ({"redis": {}}, "give exactly one of `url` and `url_env`"),
        ({"sql": {"url_env": "X", "table": "a b"}}, "publish.sql.table"),
        ({"redis": {"url_env": "X", "prefix": "{a}"}}, "braces"),
        ({"kafka": {}}, "kafka"),
    ],
)
def test_a_wrong_section_is_refused_when_the_scenario_is_read(publish: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        scenario(**publish)
