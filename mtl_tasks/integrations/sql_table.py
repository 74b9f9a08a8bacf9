"""Recommendations as a table in a database."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, MetaData, String, Table, delete, exc, select

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError, SourceError
from mtl_tasks.data.connections import cause_of, connected, database_url, masked
from mtl_tasks.data.files import about_content, with_retries

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.core.days import AsOf
    from mtl_tasks.scenario.publish import SqlTarget

AS_OF: Final = "as_of"
_KEY: Final = (AS_OF, columns.USER, columns.RANK)
_BATCH: Final = 20_000  # rows of a statement
_STATEMENT_SECONDS: Final = 60  # of PostgreSQL, which else waits for a lock without end


def write_table(
    table: pd.DataFrame, target: SqlTarget, as_of: AsOf, environment: Mapping[str, str], place: str
) -> None:
    """Replace the recommendations of an as_of in one transaction.

    Those of a later as_of are removed, since their run is no longer the champion. The newest ``keep`` values of as_of
    stay. A reader that takes the greatest as_of always finds one whole set.

    Raises
    ------
    ConfigError
        If the URL is not in the environment or cannot be used.
    SourceError
        If the database does not answer or the connection is lost; nothing is then changed.
    DataError
        If the table has other columns or the statement is refused; nothing is then changed.
    """
    name = f"publish.sql.url_env {target.url_env}" if target.url is None else f"publish.sql.url {target.url}"
    url = database_url(name, target.url, target.url_env, environment, place)
    where = f"{name}, table {target.table}, in {place}"

    def write() -> None:
        with connected(url, where) as connection:
            try:
                with connection.begin():
                    _replace(connection, _described(table, target), table, as_of.iso, target.keep)
            except exc.OperationalError as error:
                raise SourceError(
                    f"{where}: the connection was lost or the table is locked ({masked(_about(error), url)}); nothing "
                    "was changed: make the recommendations again"
                ) from None
            except exc.SQLAlchemyError as error:
                raise DataError(
                    f"{where}: the recommendations cannot be written ({masked(_about(error), url)}); nothing was "
                    f"changed: grant the right to write, and see that the table is new or has the columns "
                    f"{', '.join(map(str, table.columns))}"
                ) from None

    with_retries(write, level=logging.INFO)  # the last failure is the warning


def _described(table: pd.DataFrame, target: SqlTarget) -> Table:
    """Return the definition of the database's table."""
    typed = [Column(str(name), _type(table[name]), primary_key=name in _KEY) for name in table.columns]
    return Table(target.table, MetaData(schema=target.schema_name), *typed)


def _type(values: pd.Series[Any]) -> Any:
    if values.name == columns.RANK:
        return Integer()
    if values.dtype.kind in "iu":
        return BigInteger()
    return Double() if values.dtype.kind == "f" else String()


def _replace(connection: Connection, described: Table, table: pd.DataFrame, as_of: str, keep: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'")
    described.metadata.create_all(connection)
    dated = described.c[AS_OF]
    connection.execute(delete(described).where(dated >= as_of))
    for start in range(0, len(table), _BATCH):
        rows: list[dict[str, Any]] = table.iloc[start : start + _BATCH].to_dict("records")  # type: ignore[assignment]
        connection.execute(described.insert(), rows)
    newest = connection.scalars(select(dated).distinct().order_by(dated.desc()).limit(keep)).all()
    connection.execute(delete(described).where(dated < newest[-1]))


def _about(error: exc.SQLAlchemyError) -> str:
    return about_content(cause_of(error) if isinstance(error, exc.StatementError) else error)
