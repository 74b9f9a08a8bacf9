"""Recommendations as one Redis hash for each user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError, SourceError
from mtl_tasks.core.top_lists import SCORE
from mtl_tasks.data.files import one_line

if TYPE_CHECKING:
    import pandas as pd
    from redis import Redis

    from mtl_tasks.scenario.publish import RedisTarget

_SECONDS: Final = 10.0  # to connect, and to wait for an answer
_USERS: Final = 500  # of a transaction


def write_hashes(table: pd.DataFrame, target: RedisTarget, environment: Mapping[str, str], place: str) -> None:
    """Replace each user's hash in one step.

    The key is the prefix and the user's id. The fields are ``as_of``, and ``items`` and ``scores``: JSON arrays in the
    order of the recommendations. A user without recommendations keeps the last hash until it expires.

    Raises
    ------
    ConfigError
        If the client is not installed, or the URL is not in the environment or cannot be used.
    SourceError
        If the server does not answer, denies access, or refuses a write.
    """
    try:
        import redis
    except ImportError:
        raise ConfigError(
            f"publish.redis in {place}: the package redis is not installed: install requirements.txt"
        ) from None
    name = f"publish.redis.url_env {target.url_env}" if target.url is None else f"publish.redis.url {target.url}"
    with closing(_client(name, target, environment, place)) as client:
        try:
            for hashes in _batches(_hashes(table, target.prefix)):
                _write(client, hashes, target.expire_hours * 3600)
        except redis.RedisError as error:
            raise SourceError(
                f"{name} in {place}: the server does not answer or refuses the write ({one_line(error)}): check the "
                "URL, the network, the password and the server's memory, then make the recommendations again"
            ) from None


def _client(name: str, target: RedisTarget, environment: Mapping[str, str], place: str) -> Redis:
    import redis

    url = target.url if target.url_env is None else environment.get(target.url_env)
    if not url:
        raise ConfigError(f"{name} in {place}: no such environment variable: set it to the server's URL")
    try:
        return redis.Redis.from_url(url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS)
    except ValueError:  # the parser's own message may quote the URL
        raise ConfigError(f"{name} in {place}: not a URL like redis://:password@host:6379/0: correct it") from None


def _hashes(table: pd.DataFrame, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the key and the fields of each user."""
    for user, rows in table.groupby(columns.USER, sort=False):
        items, scores = rows[columns.ITEM].tolist(), rows[SCORE].tolist()
        fields = {"as_of": str(rows["as_of"].iloc[0]), "items": json.dumps(items), "scores": json.dumps(scores)}
        yield f"{prefix}{user}", fields


def _batches(hashes: Iterator[tuple[str, dict[str, str]]]) -> Iterator[dict[str, dict[str, str]]]:
    batch: dict[str, dict[str, str]] = {}
    for key, fields in hashes:
        batch[key] = fields
        if len(batch) == _USERS:
            yield batch
            batch = {}
    if batch:
        yield batch


def _write(client: Redis, hashes: Mapping[str, dict[str, str]], seconds: int) -> None:
    with client.pipeline(transaction=True) as pipeline:
        for key, fields in hashes.items():
            mapping: dict[Any, Any] = {**fields}  # the client's annotation is invariant
            pipeline.hset(key, mapping=mapping)
            pipeline.expire(key, seconds)
        pipeline.execute()
