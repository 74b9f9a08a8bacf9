"""Connections to databases by SQLAlchemy, with errors that never quote a password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Connection, create_engine, exc, make_url
from sqlalchemy.pool import NullPool

from mtl_tasks.core.errors import ConfigError, SourceError
from mtl_tasks.data.files import one_line

_CONNECT_SECONDS: Final = 10
# Dialects as Airflow's connections and most users write them, with the driver that the project installs.
_DRIVERS: Final = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def database_url(name: str, given: str | None, variable: str | None, environment: Mapping[str, str], place: str) -> URL:
    """Return the URL of a database, given as text or by the name of an environment variable.

    Parameters
    ----------
    name
        Name of the database in messages, such as ``source.sql.url_env SHOP``.
    place
        The file of the setting.

    Raises
    ------
    ConfigError
        If the variable is not set, or the text is not a URL.
    """
    text = given if variable is None else environment.get(variable)
    if not text:
        raise ConfigError(f"{name} in {place}: no such environment variable: set it to the database's URL")
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ConfigError(  # the parser's own message may quote the URL
            f"{name} in {place}: not a URL like postgresql://user:password@host:5432/database: correct it"
        ) from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


@contextmanager
def connected(url: URL, where: str) -> Iterator[Connection]:
    """Connect for the time of the block.

    Raises
    ------
    ConfigError
        If the driver is not installed.
    SourceError
        If the database does not answer or denies access.
    """
    seconds = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=seconds)
    except (exc.ArgumentError, ImportError) as error:
        message = masked(one_line(error), url)
        raise ConfigError(f"{where}: {url.drivername} cannot be used ({message}): install its driver") from None
    try:
        connection = engine.connect()
    except exc.DBAPIError as error:
        raise SourceError(
            f"{where}: the database does not answer or denies access ({masked(one_line(cause_of(error)), url)}):"
            " check the URL, the network and the password"
        ) from None
    with connection:
        yield connection


def cause_of(error: exc.StatementError) -> Exception:
    """Return the driver's own error: SQLAlchemy's repeats the query."""
    return error.orig if isinstance(error.orig, Exception) else error


def masked(message: str, url: URL) -> str:
    """Return a message without the secrets of the URL."""
    secrets = [str(url.password or ""), *(str(value) for key, value in url.query.items() if "pass" in key.lower())]
    for secret in filter(None, secrets):
        message = message.replace(secret, "***")
    return message
