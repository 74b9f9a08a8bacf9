"""Search of a store for files that hold a user's id or rows."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import escape
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ArtifactError, ConfigError, SealError, StoreError
from mtl_tasks.core.stages import SHARD, SHARD_INPUT
from mtl_tasks.pipeline.days.blocks import days_named
from mtl_tasks.store.artifacts import Artifact, Store
from mtl_tasks.store.champions import listed_days
from mtl_tasks.store.pruning import artifact_folders, day_folders
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from mtl_tasks.store.safe_files import FILE_BYTES, read_file

Kind = Literal["lists", "pages", "tables", "days", "snapshots", "log"]
KINDS: Final[tuple[Kind, ...]] = ("lists", "pages", "tables", "days", "snapshots", "log")  # the order of erasing

# First parts of the names of tables of users; "table" is that of the tables of shards.
_USERS: Final = dict.fromkeys(("events", "quarantine", "users", "rows", "recommendations", "table"), columns.USER)
_INTEGER: Final = re.compile(r"[+-]?\d{1,19}")
_BEYOND: Final = 2**63  # the least number that no integer column holds


@dataclass(frozen=True)
class Person:
    """A user's id, as text; a log may hold it as an integer."""

    id: str

    @property
    def number(self) -> int | None:
        """The id as an integer, None if it is not one."""
        number = int(self.id) if _INTEGER.fullmatch(self.id) else None
        return number if number is not None and -_BEYOND <= number < _BEYOND else None

    def among(self, ids: pd.Series[Any]) -> NDArray[np.bool_]:
        """Return a mask of the ids that are this one."""
        if pd.api.types.is_integer_dtype(ids.dtype):
            found = ids == self.number if self.number is not None else pd.Series(False, ids.index)
            return found.fillna(False).to_numpy(dtype=bool)
        return (ids.astype("str") == self.id).fillna(False).to_numpy(dtype=bool)

    def among_values(self, column: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Return a mask of the values, of any type, that are this id."""
        if pa.types.is_integer(column.type):
            return self.among(column.cast(pa.int64()).to_pandas().astype("Int64"))
        try:
            texts = column.cast(pa.large_string())
        except pa.ArrowException:  # lists and the like are not ids
            return np.zeros(len(column), dtype=bool)
        return np.asarray(pc.fill_null(pc.equal(texts, self.id), False).to_numpy(), dtype=bool)

    def is_id(self, value: int | str) -> bool:
        """Whether an id from a JSON document is this one."""
        return value == (self.id if isinstance(value, str) else self.number)

    def quoted_in(self, text: str) -> bool:
        """Whether a text contains the id as a separate word."""
        return re.search(rf"(?<!\w){re.escape(self.id)}(?!\w)", text) is not None

    def shown_on(self, page: str) -> bool:
        """Whether a page shows the id; an integer counts only in a user's cell, because counts are integers too."""
        if self.number is None:
            return str(escape(self.id)) in page
        return re.search(rf'class="person"[^>]*>{self.number}<', page) is not None


@dataclass(frozen=True)
class Holding:
    """An artifact's folder, or a snapshot's file, that holds the user's data."""

    kind: Kind
    path: UPath
    files: int
    bytes: int


@dataclass
class Holdings:
    """All of a user's data in a scenario's store.

    Attributes
    ----------
    found
        In the order of erasure, so that no readable artifact refers to one that is gone.
    rows
        Number of the user's rows by part of the log and day, including those that validation set aside.
    learned, may_have_learned
        Runs whose log contained the user; runs after the user's first day whose tables are gone.
    quoted
        Registry records whose reason or author contains the id; the registry is append-only.
    """

    found: list[Holding] = field(default_factory=list)
    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    learned: list[RunRecord] = field(default_factory=list)
    may_have_learned: list[RunRecord] = field(default_factory=list)
    quoted: list[Decision] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the number of files by kind."""
        return {kind: sum(one.files for one in self.found if one.kind == kind) for kind in KINDS}

    @property
    def log_rows(self) -> int:
        """Number of the user's rows in the log, of which the store may hold several copies."""
        most: dict[str, int] = {}
        for (_, day), rows in self.rows.items():
            most[day] = max(most.get(day, 0), rows)
        return sum(most.values())


def find_holdings(store: Store, scenario: str, person: Person, user_columns: Collection[str]) -> Holdings:
    """Search every file of a scenario that can hold user ids.

    Parameters
    ----------
    user_columns
        Names of the log's user column in the scenarios of today and of past runs; database snapshots use them.

    Raises
    ------
    ConfigError
        If the log's ids are integers and this one is not.
    StoreError
        If the store cannot be read.
    """
    try:
        return _Search(store, scenario, person).holdings(user_columns)
    except OSError as error:
        raise StoreError(f"{store.inside(scenario)}: the store cannot be read ({error})") from error


class _Search:
    def __init__(self, store: Store, scenario: str, person: Person) -> None:
        self._store, self._person, self._scenario = store, person, scenario
        self._root = store.inside(scenario)
        self._integers: list[bool] = []  # for every id column that was read
        self._days_of_rows: set[str] = set()
        self._covered: set[str] = set()  # days whose part of the log was read
        self._made = Holdings()

    def holdings(self, user_columns: Collection[str]) -> Holdings:
        artifacts, days = artifact_folders(self._store, self._scenario), day_folders(self._store, self._scenario)
        files = {folder: sorted((p for p in folder.rglob("*") if p.is_file()), key=str) for folder in artifacts + days}
        log = [folder for folder in days if self._is_part(files[folder]) and self._part_holds(folder, files[folder])]
        tables = [f for f in artifacts if _is_table(f.parent.name) and self._holds(f, files[f])]
        counts = [f for f in days if f not in log and self._holds(f, files[f])]
        lists = [f for f in artifacts if f.parent.name == "recommend" and self._holds(f, files[f])]
        pages = [f for f in artifacts if f.parent.name == "report" and self._shows(f, files[f], lists)]
        snapshots = list(self._snapshots(user_columns))
        if log or tables or counts or lists or pages or snapshots:
            held = {*log, *counts, *tables}
            counts += [f for f in days if f not in held and self._has_rows(f, files[f])]
            gone = {self._store.uri_of(folder) for folder in log + counts}
            splits = {folder.name for folder in tables if folder.parent.name == "split"}
            tables += [f for f in artifacts if f not in held and self._refers_to(f, gone, splits)]
        elif self._integers and all(self._integers) and self._person.number is None:
            raise ConfigError(f"--user {self._person.id!r}: ids of this log are integers: check the id")
        ordered: dict[Kind, list[UPath]] = {"lists": lists, "pages": pages, "tables": tables, "days": counts}
        self._made.found = [_holding(kind, f, files[f]) for kind, folders in ordered.items() for f in folders]
        self._made.found += [*snapshots, *(_holding("log", folder, files[folder]) for folder in log)]
        self._find_runs({self._store.uri_of(folder) for folder in log})
        return self._made

    def _holds(self, folder: UPath, files: list[UPath]) -> bool:
        """Whether any file of a folder, even of an interrupted write, holds the id or cannot be read."""
        user_axis = self._user_axis(folder, files)
        for path in files:
            stem = path.name.partition(".")[0]
            name = columns.USER if stem in _USERS else "label" if user_axis(stem) else None
            if name is not None and ".parquet" in path.name and self._count(path, name) != 0:
                return True
            if stem == "sample" and any(self._person.is_id(one["user_id"]) for one in self._json(path) or []):
                return True
        return False

    def _user_axis(self, folder: UPath, files: list[UPath]) -> Any:
        names = next((self._json(path) for path in files if path.name == "memory.json"), None)
        if names is None:
            return lambda stem: stem.startswith("axis-")
        return lambda stem: stem == f"axis-{names['axes'].index('user')}"

    def _count(self, path: UPath, name: str) -> int | None:
        """Return the number of the user's rows in a table; None if it cannot be read."""
        ids = self._column(path, name)
        if ids is None:
            return None
        self._integers.append(pd.api.types.is_integer_dtype(ids.dtype) or ids.empty)
        return int(self._person.among(ids).sum())

    def _column(self, path: UPath, name: str) -> pd.Series[Any] | None:
        data = self._read(path)
        try:
            return pd.read_parquet(io.BytesIO(data), columns=[name])[name]
        except (pa.ArrowException, OSError, ValueError, KeyError):  # a table that is truncated or corrupt
            return None

    def _json(self, path: UPath) -> Any:
        try:
            return json.loads(self._read(path))
        except (ValueError, RecursionError):
            return None

    def _read(self, path: UPath) -> bytes:
        data = read_file(self._store.root, self._store.uri_of(path), FILE_BYTES)
        if data is None:
            raise ArtifactError(
                f"{path}: has more than {FILE_BYTES:,} bytes, more than any file written here: remove it"
            )
        return data

    @staticmethod
    def _is_part(files: list[UPath]) -> bool:
        return any(path.name.startswith("events.parquet") for path in files)

    def _part_holds(self, folder: UPath, files: list[UPath]) -> bool:
        """Record the days of a part of the log and of the user's rows in it; return whether it has any."""
        held = False
        for path in files:
            if path.name.startswith("part.json"):
                named = days_named(folder.parent.name)
                self._covered |= named if len(named) > 1 else set()  # one is as_of if the part is the whole log
                self._covered |= {day_text(int(day)) for day in (self._json(path) or {"digests": {}})["digests"]}
            if not path.name.startswith(("events.parquet", "quarantine.parquet")):
                continue
            ids = self._column(path, columns.USER)
            if ids is None:
                held = True
                continue
            self._integers.append(pd.api.types.is_integer_dtype(ids.dtype) or bool(ids.isna().all()))
            mine = self._person.among(ids)
            if mine.any():
                held = True
                self._note_rows(folder, path, mine)
        return held

    def _note_rows(self, folder: UPath, path: UPath, mine: NDArray[np.bool_]) -> None:
        if path.name.startswith("quarantine"):
            self._made.rows[str(folder), f"{folder.parent.name} set aside"] = int(mine.sum())
            return
        days = self._column(path, columns.DAY)
        if days is not None:
            for day, rows in days[mine].value_counts().items():
                self._made.rows[str(folder), day_text(int(str(day)))] = int(rows)
                self._days_of_rows.add(day_text(int(str(day))))

    def _has_rows(self, folder: UPath, files: list[UPath]) -> bool:
        """Whether a day's features may include rows of the user; they hold no ids to check."""
        if not any(path.name.startswith("features.parquet") for path in files):
            return False
        days = days_named(folder.parent.name)
        return bool(days & self._days_of_rows) or not days <= self._covered

    def _shows(self, folder: UPath, files: list[UPath], lists: list[UPath]) -> bool:
        if any(self._person.shown_on(self._read(path).decode(errors="replace")) for path in files if _is_page(path)):
            return True
        page = self._artifact(folder)
        made_from = None if page is None else page.inputs.get("recommend")
        return made_from is not None and made_from[:32] in {listed.name for listed in lists}

    def _refers_to(self, folder: UPath, gone: set[str], splits: set[str]) -> bool:
        """Whether tables list a day to remove, or are features of rows to remove, which once were in one file."""
        artifact = self._artifact(folder) if folder.parent.name in ("validate", "features") else None
        if artifact is None:
            return False
        made_from = artifact.manifest.get("inputs", {}).get("split", "")[:32]
        return made_from in splits or bool({ref.uri for ref in listed_days(artifact)} & gone)

    def _artifact(self, folder: UPath) -> Artifact | None:
        try:
            return self._store.find(folder)
        except (StoreError, SealError):
            raise
        except ArtifactError:  # any reader of it is refused
            return None

    def _snapshots(self, user_columns: Collection[str]) -> Iterator[Holding]:
        folder = self._root / "snapshots"
        for path in sorted(folder.glob("*/*"), key=str) if folder.exists() else []:
            data = self._read(path)
            if snapshot_without(data, self._person, user_columns) is not data:
                yield Holding("snapshots", path, 1, len(data))

    def _find_runs(self, parts: set[str]) -> None:
        registry = Registry(self._store, self._scenario)
        first = min((day for _, day in self._made.rows), default=None)
        for entry in registry.entries():
            validated = self._artifact(self._store.inside(*entry.refs["validate"].uri.split("/")))
            if validated is not None and {ref.uri for ref in listed_days(validated)} & parts:
                self._made.learned.append(entry)
            elif validated is None and self._made.found and (first is None or entry.as_of > first[:10]):
                self._made.may_have_learned.append(entry)
        rulings = [record for record in registry.records() if isinstance(record, Decision)]
        self._made.quoted = [one for one in rulings if self._person.quoted_in(f"{one.reason} {one.by}")]


def snapshot_without(data: bytes, person: Person, user_columns: Collection[str]) -> bytes | None:
    """Return a day's database snapshot without the user.

    Returns
    -------
    bytes or None
        ``data`` itself if the user is not in it; None if it must be removed: it cannot be read, or it holds the id but
        none of its columns is named as the user column.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError):
        return None
    named = [name for name in table.column_names if name in user_columns]
    mine = np.zeros(len(table), dtype=bool)
    for name in named or table.column_names:
        mine |= person.among_values(table.column(name))
    if not mine.any():
        return data
    if not named:
        return None
    buffer = io.BytesIO()
    pq.write_table(table.filter(pa.array(~mine)), buffer, compression="zstd")
    return buffer.getvalue()


def user_columns(entries: Collection[RunRecord], document: Mapping[str, Any] | None) -> set[str]:
    """Return the names of the log's user column in today's scenario, if any, and in those of past runs."""
    documents = [entry.scenario_document for entry in entries] + ([] if document is None else [dict(document)])
    return {str(one["source"]["columns"]["user"]) for one in documents if "source" in one}


def _is_table(stage: str) -> bool:
    """Whether the artifacts of a stage hold rows of users and can be made again."""
    return stage in ("validate", "split") or stage.endswith((SHARD, SHARD_INPUT))


def _is_page(path: UPath) -> bool:
    return path.name.startswith("report.html")


def _holding(kind: Kind, folder: UPath, files: list[UPath]) -> Holding:
    return Holding(kind, folder, len(files), sum(path.stat().st_size for path in files))
