"""The section `publish`: targets of the recommendations beside the store."""

from __future__ import annotations

import os
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from mtl_tasks.scenario.base import Line, Model, Whole, refuse_password

VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_TABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"  # PostgreSQL cuts longer names


class _Server(Model):
    """A server that is found by a URL."""

    url: Line | None = Field(default=None, description="URL without a password; give either this or `url_env`")
    url_env: Annotated[str, Field(max_length=200, pattern=VARIABLE)] | None = Field(
        default=None, description="environment variable that holds the URL"
    )

    @model_validator(mode="after")
    def _findable(self) -> _Server:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give exactly one of `url` and `url_env`")
        refuse_password(self.url)
        return self

    @property
    def address(self) -> tuple[str, str]:
        """The URL and the name of the variable; one of the two is empty."""
        return self.url or "", self.url_env or ""


class SqlTarget(_Server):
    """A table in a database, with the recommendations of the last days."""

    table: Annotated[str, Field(pattern=_TABLE)] = Field(
        default="recommendations", description="name of the table; it is created if there is none"
    )
    schema_name: Annotated[str, Field(pattern=_TABLE)] | None = Field(
        default=None, description="schema of the table; null: the connection's default"
    )
    keep: Whole = Field(default=7, ge=1, le=1000, description="newest as_of days whose recommendations are kept")


class RedisTarget(_Server):
    """A Redis server, with a hash for each user."""

    prefix: Line = Field(default="recommendations:", description="start of the keys; the user's id follows it")
    expire_hours: Whole = Field(
        default=72, ge=1, le=87_600, description="hours after which a user's hash expires unless it is written again"
    )

    @field_validator("prefix")
    @classmethod
    def _no_braces(cls, prefix: str) -> str:
        if "{" in prefix or "}" in prefix:
            raise ValueError("braces put all keys into one slot of a cluster: use another prefix")
        return prefix


class ParquetTarget(Model):
    """A Parquet file at a path that does not change."""

    path: Line = Field(description="path of the file, relative to the project or a URL such as s3://shop/today.parquet")


class Publish(Model):
    """Targets of the recommendations of today's champion, beside the store; each is optional."""

    sql: SqlTarget | None = Field(default=None, description="a table in a database")
    redis: RedisTarget | None = Field(default=None, description="a hash for each user in Redis")
    parquet: ParquetTarget | None = Field(default=None, description="a Parquet file at a path that does not change")

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """What each delivery replaces, by the key that names it; two scenarios must not have one in common."""
        places: dict[str, tuple[str, ...]] = {}
        if self.sql is not None:
            places["sql.table"] = (*self.sql.address, self.sql.schema_name or "", self.sql.table)
        if self.redis is not None:
            places["redis.prefix"] = (*self.redis.address, self.redis.prefix)
        if self.parquet is not None:
            path = self.parquet.path
            places["parquet.path"] = (path if "://" in path else os.path.normpath(path),)
        return places

    @property
    def active(self) -> bool:
        """Whether there is a target."""
        return any((self.sql, self.redis, self.parquet))
