"""The section `source`: where the log and the tables beside it are, and what their columns mean."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from mtl_tasks.core.errors import nearest
from mtl_tasks.scenario.base import Days, Flag, Line, Model, Name, Real, Value, refuse_password

CALENDAR = ("hour", "weekday")
Content = Literal["text", "vectors"]
RESERVED = ("user_id", "item_id", "title", "valid_from")  # columns of the attribute tables that are not attributes


class Columns(Model):
    """The log's own names for the canonical columns."""

    user: Line = Field(description="column of user ids")
    item: Line = Field(description="column of item ids")
    time: Line = Field(description="column of the interaction's time")


class AttributeTable(Model):
    """Attributes of users or items: one row for each id, or for each version of it."""

    path: Line = Field(description="a Parquet or CSV file")
    id: Line = Field(description="column of the ids, as in the log")
    numeric: dict[Name, Line] = Field(default={}, description="attribute -> column of numbers")
    categorical: dict[Name, Line] = Field(
        default={}, description="attribute -> column of categories: strings, integers or booleans"
    )
    multi: dict[Name, Line] = Field(
        default={}, description="attribute -> column of several values: a list, or a text with `separator`"
    )
    separator: str = Field(default="|", min_length=1, max_length=3, description="text between the values of `multi`")
    times: dict[Name, Line] = Field(default={}, description="attribute -> column of times; becomes an age in days")
    valid_from: Line | None = Field(
        default=None, description="column of the time from which a version holds; null: each row has always held"
    )

    @model_validator(mode="after")
    def _distinct(self) -> AttributeTable:
        names = [*self.numeric, *self.categorical, *self.multi, *self.times]
        for name in names:
            if names.count(name) > 1 or name in RESERVED:
                raise ValueError(f"attribute {name!r} is duplicated or has a reserved name: give it another name")
        return self


class UserTable(AttributeTable):
    """Attributes of users; a user who is not in the table has none."""


def _several(columns: Any) -> Any:
    return (columns,) if isinstance(columns, str) else columns


class ItemTable(AttributeTable):
    """Attributes of items."""

    title: Line | None = Field(default=None, description="column of the title shown in recommendations and reports")
    text: Annotated[tuple[Line, ...], Field(max_length=20), BeforeValidator(_several)] = Field(
        default=(), description="column of free text, or several columns, whose words become features"
    )
    vectors: Line | None = Field(
        default=None,
        description="column of embeddings computed elsewhere, lists of numbers of one length; Parquet only. They must "
        "not be learned from the log's test window",
    )
    missing: Literal["quarantine", "allow"] = Field(
        default="quarantine",
        description="rows of items that are not in the table: quarantine sets them aside as bad rows, allow keeps them "
        "without attributes",
    )

    @model_validator(mode="after")
    def _text_once(self) -> ItemTable:
        for column in self.text:
            if self.text.count(column) > 1:
                raise ValueError(f"`text` lists column {column!r} twice: list each column once")
        return self

    @property
    def contents(self) -> tuple[Content, ...]:
        """Descriptions of an item beside attributes."""
        return (*(("text",) if self.text else ()), *(("vectors",) if self.vectors is not None else ()))


class Context(Model):
    """Context of an exposure, known before it happens: columns of its row."""

    numeric: dict[Name, Line] = Field(default={}, description="name -> column of numbers")
    categorical: dict[Name, Line] = Field(default={}, description="name -> column of categories")
    calendar: Flag = Field(default=False, description="add hour and weekday, in `source.timezone` (UTC without one)")
    serve: dict[Name, Literal["item", "user"] | None] = Field(
        default={},
        description="name -> source of the value when recommendations are made: the last value of the item or of the "
        "user. A name that is null or absent is missing then",
    )
    propensity: Name | None = Field(
        default=None,
        description="name of a numeric context that is the probability, above 0 and up to 1, with which the exposure "
        "was chosen: 1 if it was drawn at random, missing where unknown. It is not a feature; models are judged by it",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Context:
        names = [*self.numeric, *self.categorical, *(CALENDAR if self.calendar else ())]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is duplicated: give one of them another name")
        if self.propensity is not None and self.propensity not in self.numeric:
            hint = nearest(self.propensity, list(self.numeric))
            raise ValueError(f"`propensity` names {self.propensity!r}, which is not a numeric context{hint}")
        for name in self.serve:
            if name not in names:
                raise ValueError(f"`serve` names {name!r}, which is not a context{nearest(name, names)}")
        return self

    @property
    def numbers(self) -> list[str]:
        """Names of the numeric context, including the calendar's."""
        return [*self.numeric, *(CALENDAR if self.calendar else ())]

    @property
    def feature_numbers(self) -> list[str]:
        """Names of the numbers that are features."""
        return [name for name in self.numbers if name != self.propensity]


class Prior(Model):
    """Exposures from before the log, of which the times are not known."""

    path: Line = Field(description="a Parquet or CSV file, one row a user and item")
    user: Line = Field(description="column of user ids")
    item: Line = Field(description="column of item ids")
    labels: dict[Name, Line] = Field(
        default={}, description="task or signal -> column of its label; the labels of all others are unknown"
    )
    days_before: Days = Field(
        default=1, description="all rows count as of one day, this many days before the log's first day"
    )


def no_number(day: Any) -> Any:
    """Refuse what pydantic would take for seconds since 1970: `20130501` without its hyphens."""
    if isinstance(day, (int, float)) or (isinstance(day, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day)):
        raise ValueError("write the day as YYYY-MM-DD")
    return day


class Sql(Model):
    """A database that holds the log, asked day by day."""

    url: Line | None = Field(
        default=None, description="SQLAlchemy URL without a password; give either this or `url_env`"
    )
    url_env: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the URL, for example AIRFLOW_CONN_SHOP",
    )
    query: str = Field(
        max_length=20_000,
        description="one SELECT of the rows with :start <= time < :end, in the unit of the time column",
    )
    start: Annotated[datetime.date, BeforeValidator(no_number)] = Field(
        ge=datetime.date(1900, 1, 1), le=datetime.date(2200, 1, 1), description="first day of the log (UTC)"
    )

    @model_validator(mode="after")
    def _askable(self) -> Sql:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give exactly one of `url` and `url_env`")
        refuse_password(self.url)
        for name in (":start", ":end"):
            if not re.search(rf"(?<![:\w]){name}\b", self.query):
                raise ValueError(f"`query` must hold {name}, so that no more is asked for than a run needs")
        return self

    @property
    def name(self) -> str:
        """Name of the database in messages."""
        return f"source.sql.url_env {self.url_env}" if self.url is None else f"source.sql.url {self.url}"


class Long(Model):
    """A log whose rows are events of several types, which become exposures with labels; a task's `label` is a type."""

    type: Line = Field(description="column of the event's type")
    value: Line | None = Field(default=None, description="column of the event's value, which a regression predicts")
    exposure: Line = Field(description="the event type whose events become the rows")
    attribution_hours: Real = Field(
        default=24,
        gt=0,
        le=24 * 90,
        description="an event counts for the user's last exposure to the item, if at most this many hours lie between",
    )


class Signal(Model):
    """A type of user behavior that is observed but not predicted."""

    column: Line = Field(description="0/1 column, or an event type in a long log")
    above: Value | None = Field(
        default=None, description="values of the column above this count as 1, all others as 0; null: the column is 0/1"
    )


def _named(signal: Any) -> Any:
    return {"column": signal} if isinstance(signal, str) else signal


# Key of `source` that names the log -> module and class of its kind in `mtl_tasks/data`, imported where it is read.
LOG_SOURCES: Final = {"events": "files:FileLog", "sql": "database:DatabaseLog"}


class Ready(Model):
    """The sign that the last day of the log before a run's as_of is complete; a run in Airflow waits for it."""

    # Other files beside the data would be refused as data of another format.
    marker: Annotated[str, Field(pattern=r"^(_|\.[A-Za-z0-9_-])[A-Za-z0-9_.-]{0,98}$")] = Field(
        default="_SUCCESS", description="name of a file in the day's folder, which a _ or a dot begins"
    )
    timeout_hours: Real = Field(
        default=6.0, ge=0.001, le=8760, description="hours after which a run without the file fails"
    )


class Source(Model):
    """Location and format of the interaction log."""

    events: Line | None = Field(
        default=None, description="a Parquet or CSV file, or a folder partitioned by dt=YYYY-MM-DD"
    )
    sql: Sql | None = Field(default=None, description="a database that holds the log, instead of `events`")
    format: Literal["parquet", "csv"] = Field(default="parquet", description="file format of `events`")
    layout: Literal["wide", "long"] = Field(
        default="wide", description="wide: a row is an interaction with its labels; long: a row is an event with a type"
    )
    long: Long | None = Field(default=None, description="how events become rows; only with `layout: long`")
    columns: Columns = Field(description="the log's names of the three columns that every log has")
    time_unit: Literal["s", "ms", "us"] | None = Field(
        default=None, description="unit of an integer epoch time column; null: the column holds timestamps"
    )
    timezone: Line | None = Field(
        default=None,
        description="time zone of timestamps that carry none, such as Europe/Paris; null refuses such timestamps",
    )
    items: ItemTable | None = Field(default=None, description="table of item attributes")
    users: UserTable | None = Field(default=None, description="table of user attributes")
    context: Context = Field(
        default=Context(), description="what is known of an exposure before it happens, from the row itself"
    )
    signals: dict[Name, Annotated[Signal, BeforeValidator(_named)]] = Field(
        default={},
        description="name -> column, or a section with `column` and `above`: user behavior that is observed but not "
        "predicted",
    )
    prior: Prior | None = Field(default=None, description="exposures from before the log, without times")
    # Left out of stored documents: a wait changes no data, and so no key.
    ready: Ready | None = Field(
        default=None,
        exclude=True,
        description="what a run in Airflow waits for before it reads the log; null: it does not wait",
    )

    @model_validator(mode="after")
    def _one_log(self) -> Source:
        if len([key for key in LOG_SOURCES if getattr(self, key) is not None]) != 1:
            raise ValueError(f"give exactly one of {' and '.join(f'`{key}`' for key in LOG_SOURCES)}")
        if self.sql is not None and self.format != "parquet":
            raise ValueError("`format` belongs to `events` only")
        if self.ready is not None and self.events is None:
            raise ValueError("`ready` belongs to `events`, a folder partitioned by day: remove it")
        if (self.layout == "long") != (self.long is not None):
            raise ValueError("the section `long` and `layout: long` go together")
        return self

    @property
    def log_key(self) -> str:
        """The key of :data:`LOG_SOURCES` that is given."""
        return next(key for key in LOG_SOURCES if getattr(self, key) is not None)

    @property
    def log(self) -> str:
        """Name of the log in messages."""
        return self.events if self.events is not None else f"source.{self.log_key}"

    @property
    def tables(self) -> dict[str, str]:
        """Path of each file beside the log, by the key of its section."""
        sections = {"source.items": self.items, "source.users": self.users, "source.prior": self.prior}
        return {key: section.path for key, section in sections.items() if section is not None}
