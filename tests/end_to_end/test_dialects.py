"""Small logs in many dialects, met as an unknown log is: drafted, checked, run; no row goes without being counted."""

from __future__ import annotations

import contextlib
import csv
import datetime
import gzip
import io
import json
import random
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import Phase, event, given, note, settings
from hypothesis import strategies as st

from mtl_tasks.cli import main as cli
from mtl_tasks.cli import options as terminal

NAME: Final = "drafted"
NOW: Final = datetime.datetime(2024, 3, 1, 15, tzinfo=datetime.UTC)
DAY: Final = 86_400
FIRST_DAYS: Final = ("2013-05-01", "2024-02-01", "2024-02-10")  # the last logs go on until the clock, or beyond it
IMPLAUSIBLE: Final = {
    "0001-01-01": -62_135_596_800,
    "9999-12-31": 253_402_214_400,
    "year 55,970": 1_704_067_200_000,  # milliseconds taken for seconds
}
TEXT_TIMES: Final = ("iso", "offset", "mixed", "naive", "dates")
UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SETTINGS: Final = tuple(
    word
    for one in (
        "members=[popularity]",
        "recommend.ranking.days=0",  # no trees that rank
        "gate.replicates=100",
        "validation.max_bad_fraction=0.3",
    )
    for word in ("--set", one)
)
NAMES: Final = (
    {},
    {"person": "User ID", "film": "Item: code", "seen_at": "Event Time", "stars": "Rating (1-5)", "liked": "on"},
    {"person": "userId", "film": "asin", "seen_at": "timestamp", "stars": "оценка", "liked": "return"},
    {"stars": "ranking", "liked": "taken"},
)


@dataclass(frozen=True)
class Dialect:
    """The form in which a log is written.

    Attributes
    ----------
    ids
        How users and items are spelled; ``floats`` are whole numbers with a point.
    time
        A form of text, a unit of whole numbers, or of Parquet ``date`` or ``UNIT`` or ``UNIT ZONE``.
    null
        The word for what is missing, in text files.
    odd, null_ids, copies
        How many rows have an implausible time, no user or no item or no time, or are there twice.
    early
        By how many days ``as_of`` is before the end of the log; 0 leaves it to the check.
    """

    file: str
    daily: bool
    separator: str
    ids: tuple[str, str]
    time: str
    null: str
    blanks: bool
    labels: tuple[str, ...]
    label_kind: str
    names: dict[str, str]
    extra: str
    encoding: str
    empty_day: bool
    odd: int
    null_ids: int
    copies: int
    first_day: str
    days: int
    users: int
    early: int
    seed: int

    @property
    def text(self) -> bool:
        return self.file.startswith("csv")


PARQUET_TIMES: Final = ("date", *UNITS, *(f"{unit} {zone}" for unit in UNITS for zone in ("UTC", "Europe/Paris")))
TIMES: Final = {
    "csv": (*TEXT_TIMES, "int s", "int ms", "int us"),
    "csv.gz": (*TEXT_TIMES, "int s", "int ms"),
    "parquet": (*PARQUET_TIMES, "int s", "int ms", "int us", "iso", "naive", "dates"),
    "db": ("iso", "naive", "dates", "int s", "int ms"),
}
LABEL_KINDS: Final = ("integers", "floats", "infinite", "words")
TEXT_EXTRAS: Final = ("", "quotes", "huge", "empty", "constant", "spaces")
EXTRAS: Final[dict[str, tuple[list[Any], pa.DataType]]] = {  # columns that no scenario names, and their two values
    "": ([], pa.null()),
    "null": ([None, None], pa.null()),
    "list": ([["a"], ["b", None]], pa.list_(pa.string())),
    "struct": ([{"a": 1}, None], pa.struct({"a": pa.int64()})),
    "map": ([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "binary": ([b"\xff", None], pa.binary()),
    "decimal": ([Decimal("1.5"), Decimal("2.5")], pa.decimal128(5, 2)),
    "time of day": ([1, 2], pa.time64("us")),
    "duration": ([1, None], pa.duration("s")),
    "boolean": ([True, False], pa.bool_()),
    "kinds": (["a", "b"], pa.dictionary(pa.int32(), pa.string())),
    "unsigned": ([2**64 - 1, 0], pa.uint64()),
    "half": ([float("nan"), 1.5], pa.float16()),
    "nothing but nan": ([float("nan"), float("nan")], pa.float64()),
    "view": (["a", "b"], pa.string_view()),
    "fixed": ([b"ab", b"cd"], pa.binary(2)),
    "far": ([2**52, -(2**52)], pa.timestamp("s", "UTC")),
    "date64": ([0, 86_400_000], pa.date64()),
}
IDS: Final = (*("int64", "int32", "text", "padded", "long") * 3, "floats", "stray")


def dialect_of(chance: random.Random) -> Dialect:
    """Return a dialect by chance alone: what Hypothesis draws value by value is mostly the simplest dialect again."""
    file = chance.choice(("csv", "csv", "parquet", "parquet", "csv.gz", "db"))
    text = file.startswith("csv")
    return Dialect(
        file=file,
        daily=chance.random() < 0.5 and file != "db",
        separator=chance.choice("," * 18 + ";\t") if text else ",",
        ids=(chance.choice(IDS), chance.choice(IDS)),
        time=chance.choice(TIMES[file]),
        null=chance.choice(("", "NULL", "nan", "None", r"\N")),
        blanks=chance.random() < 0.5,
        labels=chance.choice((("stars", "liked"), ("stars", "liked"), ("stars",), ("liked",), ())),
        label_kind=chance.choice(LABEL_KINDS),
        names=chance.choice(NAMES),
        extra=chance.choice(TEXT_EXTRAS if text else tuple(EXTRAS)) if file != "db" else "",
        encoding=chance.choice((*["utf-8"] * 8, "utf-8-sig", "latin-1", "utf-16")),
        empty_day=chance.random() < 0.5,
        odd=chance.randint(0, 3),
        null_ids=chance.randint(0, 4),
        copies=chance.randint(0, 5),
        first_day=chance.choice(FIRST_DAYS),
        days=chance.choice((chance.randint(1, 15), *[chance.randint(20, 30)] * 3)),
        users=chance.choice((chance.randint(1, 7), *[chance.randint(8, 20)] * 3)),
        early=chance.choice((0, 0, 0, 1, 5)),
        seed=chance.randint(0, 999),
    )


# ---------------------------------------------------------------------------------- the rows as they are meant


def log_rows(dialect: Dialect) -> pd.DataFrame:
    """Return rows with their time in seconds since 1970 (null: missing), and the day of the partition they go to."""
    rng = np.random.default_rng(dialect.seed)
    count = 40 * dialect.days
    first = pd.Timestamp(dialect.first_day, tz="UTC").timestamp()
    rows = pd.DataFrame(
        {
            "person": rng.integers(0, dialect.users, count),
            "film": rng.integers(0, 120, count),
            "seen_at": np.sort(first + rng.integers(0, DAY * dialect.days, count)),
            "stars": rng.integers(1, 6, count),
            "liked": rng.integers(0, 2, count),
        }
    ).astype("Int64")
    if dialect.time == "dates" or dialect.time == "date":
        rows["seen_at"] = rows["seen_at"] // DAY * DAY
    rows["day"] = rows["seen_at"] // DAY
    for label in ("stars", "liked"):
        rows.loc[rng.random(count) < 0.1, label] = pd.NA
    spoilt = iter(rng.permutation(count))
    odd = [seconds for name, seconds in IMPLAUSIBLE.items() if can_write(dialect, name)]
    for position in range(min(dialect.odd, dialect.days) if odd else 0):
        rows.loc[next(spoilt), "seen_at"] = odd[position % len(odd)]
    for position in range(dialect.null_ids):
        rows.loc[next(spoilt), ("person", "film", "seen_at")[position % 3]] = pd.NA
    return pd.concat([rows, rows.iloc[: dialect.copies]], ignore_index=True)


def can_write(dialect: Dialect, odd: str) -> bool:
    """Whether a column of the dialect's times can hold an implausible one."""
    if odd == "year 55,970":
        return dialect.time.startswith("int") or dialect.time.partition(" ")[0] in ("s", "ms", "us")
    return not dialect.time.startswith("ns")


# ---------------------------------------------------------------------------------- the rows as they are written


def ids_of(numbers: pd.Series, how: str, text: bool) -> list[Any]:
    made = {
        "text": lambda n: f"é-{n}",
        "padded": lambda n: f"{n:05}",
        "long": lambda n: 1_000_000_000_000_000_000 + int(n),
        "floats": lambda n: f"{n}.0" if text else float(n),
        "stray": lambda n: f"{n}.0" if n == 0 else str(n),
    }.get(how, lambda n: int(n) + 100)
    return [None if pd.isna(n) else made(n) for n in numbers]


def times_of(seconds: pd.Series, how: str) -> list[Any]:
    return [None if pd.isna(s) else time_of(int(s), how) for s in seconds]


def time_of(seconds: int, how: str) -> Any:
    kind, _, unit = how.partition(" ")
    if kind == "int":
        return seconds * UNITS[unit]
    if kind in UNITS:
        return seconds * UNITS[kind]
    if kind == "date":
        return seconds // DAY
    offset = "" if seconds == IMPLAUSIBLE["9999-12-31"] or seconds < 0 else "+02:00" if how == "offset" else ""
    if how == "mixed" and seconds % 3 == 0:
        offset = "+01:00"
    moment = np.datetime64(seconds + {"": 0, "+01:00": 3600, "+02:00": 7200}[offset], "s")
    if how == "dates":
        return str(moment.astype("datetime64[D]"))
    zone = "" if how == "naive" else offset or ("+00:00" if how == "offset" else "Z")
    return f"{moment}{zone}" if how != "naive" else str(moment).replace("T", " ")


def columns_of(rows: pd.DataFrame, dialect: Dialect) -> dict[str, list[Any]]:
    made = {
        "person": ids_of(rows["person"], dialect.ids[0], dialect.text),
        "film": ids_of(rows["film"], dialect.ids[1], dialect.text),
        "seen_at": times_of(rows["seen_at"], dialect.time),
    }
    made |= {name: labels_of(rows[name], dialect) for name in dialect.labels}
    if dialect.extra:
        made["other"] = [extras_of(dialect)[n % 2] for n in range(len(rows))]
    return {dialect.names.get(name, name): values for name, values in made.items()}


def labels_of(numbers: pd.Series, dialect: Dialect) -> list[Any]:
    kind = dialect.label_kind
    if kind == "words" and numbers.name == "liked":
        made = [None if pd.isna(n) else bool(n) for n in numbers]
    elif kind in ("floats", "infinite"):
        made = [None if pd.isna(n) else float(n) for n in numbers]
    else:
        made = [None if pd.isna(n) else int(n) for n in numbers]
    return [float("inf") if kind == "infinite" and position == 7 else value for position, value in enumerate(made)]


def extras_of(dialect: Dialect) -> list[Any]:
    if not dialect.text:
        return EXTRAS[dialect.extra][0]
    texts = {
        "quotes": ['a "b", c', "two\nlines"],
        "huge": ["1e400", "-1e400"],
        "empty": ["", ""],
        "spaces": [" ", "x "],
    }
    return texts.get(dialect.extra, ["7", "7"])


def write(path: Path, rows: pd.DataFrame, dialect: Dialect) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if dialect.text:
        content = csv_text(columns_of(rows, dialect), dialect).encode(dialect.encoding, "replace")
        path.write_bytes(gzip.compress(content) if dialect.file == "csv.gz" else content)
    else:
        pq.write_table(arrow_table(columns_of(rows, dialect), dialect), path, row_group_size=100)


def csv_text(columns: dict[str, list[Any]], dialect: Dialect) -> str:
    kept = io.StringIO()
    writer = csv.writer(kept, delimiter=dialect.separator)
    writer.writerow(columns)
    blank, when = " " if dialect.blanks else "", dialect.names.get("seen_at", "seen_at")
    for row in zip(*columns.values(), strict=True):
        cells = [dialect.null if value is None else str(value) for value in row]
        writer.writerow([cell if name == when else cell + blank for name, cell in zip(columns, cells, strict=True)])
    return kept.getvalue()


def arrow_table(columns: dict[str, list[Any]], dialect: Dialect) -> pa.Table:
    named = {"person": id_type(dialect.ids[0]), "film": id_type(dialect.ids[1]), "seen_at": time_type(dialect.time)}
    named["other"] = EXTRAS[dialect.extra][1]
    named |= {label: label_type(label, dialect) for label in dialect.labels}
    kinds = {dialect.names.get(name, name): kind for name, kind in named.items()}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def label_type(label: str, dialect: Dialect) -> pa.DataType:
    if dialect.label_kind in ("floats", "infinite"):
        return pa.float64()
    return pa.bool_() if dialect.label_kind == "words" and label == "liked" else pa.int64()


def id_type(how: str) -> pa.DataType:
    kinds = {"int32": pa.int32(), "int64": pa.int64(), "long": pa.int64(), "floats": pa.float64()}
    return kinds.get(how, pa.string())


def time_type(how: str) -> pa.DataType:
    kind, _, zone = how.partition(" ")
    if kind in UNITS:
        return pa.timestamp(kind, zone or None)
    return {"int": pa.int64(), "date": pa.date32()}.get(kind, pa.string())


def write_log(rows: pd.DataFrame, dialect: Dialect) -> str:
    """Write the log, in the working directory, and return the path that it is drafted from."""
    suffix = "parquet" if dialect.file == "db" else dialect.file
    if not dialect.daily:
        write(Path(f"log.{suffix}"), rows, dialect)
        return f"log.{suffix}"
    for day, part in rows.groupby("day"):
        write(day_path(int(day), suffix), part, dialect)
    if dialect.empty_day:
        write(day_path(int(rows["day"].min()) - 1, suffix), rows.iloc[:0], dialect)
    return "log"


def day_path(day: int, suffix: str) -> Path:
    return Path(f"log/dt={np.datetime64(day, 'D')}/part-0.{suffix}")


def move_to_database(rows: pd.DataFrame, dialect: Dialect) -> None:
    """Write the rows into a database, and have the drafted scenario read them there."""
    columns = columns_of(rows, dialect)
    with contextlib.closing(sqlite3.connect("log.db")) as database, database:
        listed = ", ".join(f'"{name}"' for name in columns)
        database.execute(f"CREATE TABLE log ({listed})")
        values = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO log VALUES ({values})", zip(*columns.values(), strict=True))  # noqa: S608 - question marks
    path = Path(f"include/scenarios/{NAME}.yaml")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    del document["source"]["events"], document["source"]["format"]
    when = dialect.names.get("seen_at", "seen_at")
    query = f'SELECT * FROM log WHERE "{when}" >= :start AND "{when}" < :end ORDER BY rowid'  # noqa: S608 - a name of ours
    document["source"]["sql"] = {"url": "sqlite:///log.db", "query": query, "start": dialect.first_day}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


# ---------------------------------------------------------------------------------- the chain of commands


def asked(*arguments: str) -> tuple[int, str, str]:
    """Return a command's exit code, and what it printed on stdout and on stderr."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        code = cli.main(list(arguments))
    assert "Traceback" not in error.getvalue()
    return code, out.getvalue(), error.getvalue()


def is_draftable(dialect: Dialect) -> bool:
    """Whether a run could read the log at all: ids as floats, dates of Parquet, other separators are refused."""
    readable = dialect.separator == "," and dialect.encoding in ("utf-8", "utf-8-sig") if dialect.text else True
    pointed = "floats" in dialect.ids or (dialect.text and "stray" in dialect.ids)
    return readable and not pointed and dialect.time != "date"


def last_as_of(rows: pd.DataFrame, early: int) -> pd.Timestamp:
    """The day after the newest event, or some days before that; no day after the clock's."""
    after = pd.Timestamp(int(rows["day"].max()) + 1 - early, unit="D", tz="UTC")
    return min(after, pd.Timestamp(NOW).normalize())


def rows_before(rows: pd.DataFrame, dialect: Dialect, as_of: pd.Timestamp) -> int:
    """The number of rows that a run as of a day must account for."""
    if dialect.daily:
        return int((rows["day"] < as_of.timestamp() // DAY).sum())
    late = rows["seen_at"].ge(int(as_of.timestamp())).fillna(False)
    if dialect.file == "db":
        first = int(pd.Timestamp(dialect.first_day, tz="UTC").timestamp())
        return int((rows["seen_at"].ge(first).fillna(False) & ~late).sum())
    return int((~(late & ~rows["seen_at"].isin(IMPLAUSIBLE.values()))).sum())


def implausible(rows: pd.DataFrame, dialect: Dialect, as_of: pd.Timestamp) -> int:
    """The number of them whose only fault is an implausible time; a database is not asked for such rows."""
    if dialect.file == "db":
        return 0
    odd = rows["seen_at"].isin(IMPLAUSIBLE.values()) & rows[["person", "film"]].notna().all(axis=1)
    return int((odd & (rows["day"] < as_of.timestamp() // DAY)).sum()) if dialect.daily else int(odd.sum())


@pytest.fixture(scope="module", autouse=True)
def _clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "now", lambda: NOW)
        yield


@settings(derandomize=True, max_examples=25, phases=[Phase.generate])  # a run takes seconds to shrink
@given(st.randoms(use_true_random=True).map(dialect_of))
def test_a_log_in_any_dialect_is_drafted_checked_and_run_and_every_row_is_accounted_for(dialect: Dialect) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        hold(dialect)


def hold(dialect: Dialect) -> None:
    """Draft, check and run the log of a dialect in the working directory."""
    rows = log_rows(dialect)
    code, _, error = asked("init", NAME, "--events", write_log(rows, dialect))
    if code == 2:
        assert re.fullmatch(r"error: \S.*\n", error), error
        assert not is_draftable(dialect), error
        event("not drafted")
        return
    assert code == 0
    if dialect.file == "db":
        move_to_database(rows, dialect)
    found = checked(rows, dialect)
    event(f"ready: {found['ready']}")
    if found["ready"]:
        ran(rows, dialect, found)


def checked(rows: pd.DataFrame, dialect: Dialect) -> dict[str, Any]:
    """Return what a check found; it must not refuse what a draft says, and it reads every row that there is."""
    day = last_as_of(rows, dialect.early)
    asks = ("--as-of", f"{day:%Y-%m-%d}") if dialect.early or dialect.file == "db" else ()
    code, out, error = asked("check", NAME, *asks, *SETTINGS, "--json")
    assert code in (0, 1), error
    found: dict[str, Any] = json.loads(out)
    note(f"{found['problems']}")
    assert found["ready"] == (code == 0)
    assert all(problem and "\n" not in problem for problem in found["problems"])
    if found["as_of"] is not None:
        assert found["as_of"] == f"{day:%Y-%m-%d}"
    if dialect.file != "db" and found["read"] != "nothing":
        written = int((rows["day"] < day.timestamp() // DAY).sum()) if dialect.daily else len(rows)
        assert found["read"].startswith(f"all {written:,} rows of ")
    if dialect.seed % 2:
        assert asked("check", NAME, *asks, *SETTINGS)[0] == code  # the same as tables
    return found


def ran(rows: pd.DataFrame, dialect: Dialect, found: dict[str, Any]) -> None:
    """Run what a check called ready, and count its rows: those that were written, and those that the check kept."""
    assert found["complete"]
    as_of = found["as_of"]
    code, out, error = asked("run", NAME, "--as-of", as_of, *SETTINGS, "--json")
    assert code == 0, error
    assert json.loads(out)["verdict"]["decision"] in ("promote", "reject")
    [path] = Path(".store").glob(f"{NAME}/{as_of}/validate/**/validation.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["rows_read"] == rows_before(rows, dialect, pd.Timestamp(as_of, tz="UTC"))
    left_out = report["duplicates"]["rows"] + sum(report["quarantined"].values())
    assert report["rows_read"] == report["rows_kept"] + left_out
    assert report["quarantined"].get("implausible_time", 0) == implausible(rows, dialect, pd.Timestamp(as_of, tz="UTC"))
    drawn = "liked" not in dialect.labels or (dialect.text and dialect.label_kind == "infinite")
    if not drawn:  # without a column of 0 and 1 negatives are drawn, and are rows of the windows too
        assert report["rows_kept"] == sum(window["rows"] for window in found["windows"].values())
