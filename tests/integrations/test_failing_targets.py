"""Targets of recommendations that are unreachable, slow, closed to this user, or fail halfway: one warning each."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
import s3fs
from sqlalchemy import create_engine, text

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.top_lists import SCORE, UTILITY
from mtl_tasks.integrations.targets import Delivery, deliver
from tests.support.buckets import empty_bucket, s3_server
from tests.support.databases import PASSWORD, free_port, postgres_cluster, redis_server
from tests.support.logs import tiny_scenario
from tests.support.receivers import HookServer, mute_server, serving

FIRST, SECOND = AsOf.parse("2013-08-25"), AsOf.parse("2013-08-26")
HIDDEN = "s3cret-key"
OBJECT = "s3://shop/served/today.parquet"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


@pytest.fixture
def table(postgres: str) -> Iterator[str]:
    """A database whose table has the recommendations of the first day."""
    assert deliver_to(postgres, "sql", FIRST).fault is None
    yield postgres
    execute(postgres, "DROP TABLE recommendations")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def mute() -> Iterator[int]:
    with mute_server() as port:
        yield port


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as short as the clients can."""
    monkeypatch.setattr("mtl_tasks.data.connections._CONNECT_SECONDS", 2)
    monkeypatch.setattr("mtl_tasks.integrations.sql_table._STATEMENT_SECONDS", 1)
    monkeypatch.setattr("mtl_tasks.integrations.redis_hashes._SECONDS", 0.5)
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 1)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def lists(users: int = 1) -> pd.DataFrame:
    rows = [(user, rank, 100 * rank) for user in range(users) for rank in (1, 2)]
    frame = pd.DataFrame(rows, columns=[columns.USER, columns.RANK, columns.ITEM])
    return frame.assign(**{columns.TITLE: "A film", SCORE: 0.5, UTILITY: 1.5})


def deliver_to(url: str, target: str, as_of: AsOf, users: int = 1) -> Delivery:
    (delivery,) = deliver(lists(users), tiny_scenario(publish={target: {"url_env": "SHOP"}}), as_of, ".", {"SHOP": url})
    return delivery


def to_file(path: str, as_of: AsOf, root: Path | str = ".", users: int = 1) -> Delivery:
    (delivery,) = deliver(lists(users), tiny_scenario(publish={"parquet": {"path": path}}), as_of, str(root), {})
    return delivery


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Return the rows of the last statement, if it has any."""
    engine = create_engine(url)
    with engine.begin() as connection:
        results = [connection.execute(text(statement)) for statement in statements]
        rows = [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    engine.dispose()
    return rows


@contextmanager
def one_warning(caplog: pytest.LogCaptureFixture, *parts: str) -> Iterator[None]:
    """Require that the block logs exactly one warning, with some parts and the remedy, and nothing secret at all."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        yield
    (warning,) = [found.getMessage() for found in caplog.records if found.levelno >= logging.WARNING]
    for part in (*parts, "the recommendations are in the store"):
        assert part in warning
    for secret in (PASSWORD, HIDDEN):
        assert secret not in caplog.text


@pytest.mark.parametrize("fault", ["unreachable", "mute", "wrong password", "locked table"])
def test_a_database_that_fails_is_one_warning_and_keeps_its_rows(
    fault: str, table: str, mute: int, caplog: pytest.LogCaptureFixture
) -> None:
    port = {"unreachable": free_port(), "mute": mute}.get(fault)
    url = table if port is None else f"postgresql+psycopg://tiny:{PASSWORD}@127.0.0.1:{port}/x"
    if fault == "wrong password":
        url = table.replace(PASSWORD, HIDDEN)
    engine = create_engine(table)
    with engine.connect() as other, one_warning(caplog, "publish.sql.url_env SHOP", "check" if port else ""):
        if fault == "locked table":
            other.execute(text("LOCK TABLE recommendations IN ACCESS EXCLUSIVE MODE"))
        assert deliver_to(url, "sql", SECOND).rows == 0
    engine.dispose()
    assert execute(table, "SELECT DISTINCT as_of FROM recommendations") == [("2013-08-25",)]


def test_a_database_whose_connection_breaks_in_the_transaction_keeps_its_rows(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(
        table,
        "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'",
        "CREATE TRIGGER break BEFORE INSERT ON recommendations FOR EACH ROW WHEN (NEW.rank = 2) "
        "EXECUTE FUNCTION break()",
    )
    with one_warning(caplog, "publish.sql.url_env SHOP", "nothing was changed: make the recommendations again"):
        assert deliver_to(table, "sql", SECOND).rows == 0
    assert execute(table, "SELECT as_of, rank FROM recommendations ORDER BY 2") == [
        ("2013-08-25", 1),
        ("2013-08-25", 2),
    ]
    execute(table, "DROP TRIGGER break ON recommendations", "DROP FUNCTION break()")
    assert deliver_to(table, "sql", SECOND).rows == 2
    assert execute(table, "SELECT count(*) FROM recommendations WHERE as_of = '2013-08-26'") == [(2,)]


@pytest.mark.parametrize("fault", ["unreachable", "mute", "wrong password"])
def test_a_redis_that_fails_is_one_warning(
    fault: str, redis_url: str, mute: int, caplog: pytest.LogCaptureFixture
) -> None:
    port = {"unreachable": free_port(), "mute": mute}.get(fault)
    url = redis_url.replace(PASSWORD, HIDDEN) if port is None else f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    with one_warning(caplog, "publish.redis.url_env SHOP", "check the URL, the network, the password"):
        assert deliver_to(url, "redis", FIRST).rows == 0


def test_a_redis_that_fails_halfway_has_whole_hashes_and_each_once_afterwards(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    users, first_batch = 501, [f"recommendations:{digits}" for digits in ("[0-9]", "[0-9][0-9]", "[0-4][0-9][0-9]")]
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.acl_setuser("half", enabled=True, passwords=[f"+{HIDDEN}"], keys=first_batch, commands=["+@all"])
        assert deliver_to(redis_url, "redis", FIRST, users).fault is None
        with one_warning(caplog, "publish.redis.url_env SHOP", "make the recommendations again"):
            assert deliver_to(redis_url.replace(f":{PASSWORD}", f"half:{HIDDEN}"), "redis", SECOND, users).rows == 0
        stored = [client.hgetall(f"recommendations:{user}") for user in (0, 499, 500)]
        assert [one["as_of"] for one in stored] == ["2013-08-26", "2013-08-26", "2013-08-25"]  # type: ignore[index]
        assert all(one["items"] == "[100, 200]" for one in stored)  # type: ignore[index]
        assert deliver_to(redis_url, "redis", SECOND, users).fault is None
        assert len(list(client.scan_iter("recommendations:*", count=1000))) == users
        assert client.hget("recommendations:500", "as_of") == "2013-08-26"


@pytest.mark.parametrize("fault", ["unreachable", "mute", "wrong key", "cut off"])
def test_a_bucket_that_fails_is_one_warning_and_keeps_its_file(
    fault: str, mute: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with s3_server() as server, empty_bucket(server, monkeypatch) as files, serving(HookServer()) as broken:
        assert to_file(OBJECT, FIRST).fault is None
        broken.cut, broken.status = fault == "cut off", 403
        broken.answer = b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"
        port = {"unreachable": free_port(), "mute": mute}.get(fault)
        with monkeypatch.context() as context:
            context.setenv("AWS_ENDPOINT_URL", broken.url if port is None else f"http://127.0.0.1:{port}")
            context.setenv("AWS_SECRET_ACCESS_KEY", HIDDEN)
            s3fs.S3FileSystem.clear_instance_cache()
            with one_warning(
                caplog, f"publish.parquet.path {OBJECT}", "check the path, the network and the access keys"
            ):
                assert to_file(OBJECT, SECOND).rows == 0
        s3fs.S3FileSystem.clear_instance_cache()
        with files.open("shop/served/today.parquet") as handle:
            assert pd.read_parquet(handle)["as_of"].unique().tolist() == ["2013-08-25"]


def test_a_disk_that_is_full_halfway_keeps_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert to_file("today.parquet", FIRST, tmp_path).fault is None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with one_warning(caplog, "publish.parquet.path today.parquet", "check the path"):
            assert to_file("today.parquet", SECOND, tmp_path, users=20_000).rows == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert pd.read_parquet(tmp_path / "today.parquet")["as_of"].unique().tolist() == ["2013-08-25"]
    assert [path.name for path in tmp_path.iterdir()] == ["today.parquet"]
