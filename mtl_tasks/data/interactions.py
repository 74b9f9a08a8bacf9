"""The interaction log, read strictly: ambiguous content is refused, and the error names it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from upath import UPath

from mtl_tasks.core.columns import FILE, ITEM, PARTITION, TIME, USER, label
from mtl_tasks.core.columns import context as context_column
from mtl_tasks.data.attribution import TYPE, VALUE, join_labels
from mtl_tasks.data.conversion import (
    ColumnRef,
    concatenated,
    is_text,
    narrow_ids,
    to_ids,
    to_kinds,
    to_numbers,
    to_pandas,
    to_texts,
    to_times,
)
from mtl_tasks.data.files import SourceFile
from mtl_tasks.data.prior import with_prior
from mtl_tasks.data.reading import read_columns
from mtl_tasks.data.row_groups import groups_before
from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)


def read_log(
    scenario: Scenario,
    files: list[SourceFile],
    root: str | Path | UPath,
    before: pd.Timestamp | None = None,
    seen: dict[str, tuple[str, str]] | None = None,
    attribution: dict[str, Any] | None = None,
    tables_root: str | Path | UPath | None = None,
) -> pd.DataFrame:
    """Read the needed columns of the log under their canonical names: rows in file order, none dropped.

    A log in the long layout gives the exposures with their attributed labels.

    Parameters
    ----------
    before
        Row groups of a single Parquet file that hold only later rows are not read; some later rows may still be
        returned.
    seen
        Column to its type, in words, and the file in which it was first found; all files of the log must match it.
        New columns are added in place.
    attribution
        For a log in the long layout, filled in place with the counts of
        :func:`~mtl_tasks.data.attribution.join_labels` for events before ``before``.
    tables_root
        Folder of the files beside the log, such as ``source.prior``; by default ``root``. A log in a database is read
        from its copy in the store, which these files are not part of.

    Returns
    -------
    pandas.DataFrame
        ``user_id`` and ``item_id`` (int64, Int64 if some are missing, or str), ``event_time``
        (datetime64[us, UTC]), ``label:<task or signal>`` (float32, NaN where null), ``context:<name>`` (float32, or
        str, '' where null), ``file`` (category) and, if the log is partitioned, ``partition_day`` (int32). Exposures
        from before the log (``source.prior``) come first.

    Raises
    ------
    DataError
        If a file is missing, changed, truncated or corrupt, lacks a column, has a wrong type or a type other than
        the first file's, or has ambiguous times.
    """
    log_files = [file for file in files if file.path not in scenario.source.tables.values()]
    seen = {} if seen is None else seen
    parts = [_log_part(scenario, file, root, seen, before) for file in log_files]
    frame = join_parts(scenario, [(file.path, file.day) for file in log_files], parts, seen, before, attribution)
    if scenario.source.prior is not None:
        frame = with_prior(frame, scenario, files, root if tables_root is None else tables_root)
    log.info("%s: read %d rows from %d files", scenario.name, len(frame), len(log_files))
    return frame


def join_parts(
    scenario: Scenario,
    files: list[tuple[str, int | None]],
    parts: list[dict[str, pa.ChunkedArray]],
    seen: Collection[str] = (),
    before: pd.Timestamp | None = None,
    attribution: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Make the table of :func:`read_log`, without exposures from before the log, from converted columns.

    Parameters
    ----------
    files
        Path and partition day of each part.
    seen
        Columns that have values in other files, if not in these.
    before, attribution
        As in :func:`read_log`.
    """
    for name, ref in log_column_refs(scenario, scenario.source.log).items():
        if name in (USER, ITEM) and name not in seen and all(pa.types.is_null(part[name].type) for part in parts):
            raise ref.error("has no value in any row: map the right column, or load the data")
    text = scenario.source.format == "csv"
    joined = {name: concatenated([part[name] for part in parts]) for name in parts[0]}
    if text:
        joined |= {name: narrow_ids(joined[name]) for name in (USER, ITEM)}
    frame = pd.DataFrame({name: to_pandas(column) for name, column in joined.items()}, copy=False)
    rows = [len(part[TIME]) for part in parts]
    codes = np.repeat(np.arange(len(files), dtype=np.int32), rows)
    frame[FILE] = pd.Categorical.from_codes(codes, categories=pd.Index([path for path, _ in files], dtype="str"))
    days = [day for _, day in files if day is not None]
    if days:
        frame[PARTITION] = np.repeat(np.array(days, dtype=np.int32), rows)
    if scenario.source.long is not None:
        frame, became = join_labels(frame, scenario, scenario.source.long, before)
        if attribution is not None:
            attribution.update(became)
    return frame


# ------------------------------------------------------------------------------------------ reading a file


def _log_part(
    scenario: Scenario,
    file: SourceFile,
    root: str | Path | UPath,
    seen: dict[str, tuple[str, str]],
    before: pd.Timestamp | None,
) -> dict[str, pa.ChunkedArray]:
    """Read one file of the log; ``seen`` has each column's first (type in words, file), which others must match."""
    column_refs = log_column_refs(scenario, file.path)
    groups = None
    if before is not None and file.day is None:  # a row in the wrong partition must be counted as a fault
        latest = pd.Timestamp(scenario.validation.latest, tz="UTC")
        groups = partial(groups_before, source=scenario.source, time=column_refs[TIME], before=before, latest=latest)
    part = read_columns(file, root, column_refs, groups)
    for name, ref in column_refs.items():
        part[name] = log_column(name, part[name], ref, scenario, seen)
    return part


def log_column(
    name: str, column: pa.ChunkedArray, ref: ColumnRef, scenario: Scenario, seen: dict[str, tuple[str, str]]
) -> pa.ChunkedArray:
    """Return a column of the log in its canonical type; for ``seen`` see :func:`_log_part`."""
    kind: str | None = None
    if name == TIME:
        # A database without a type for times keeps them as text.
        text = ref.text or (scenario.source.sql is not None and is_text(column.type))
        column, kind = to_times(column, scenario.source, replace(ref, text=text))
    elif name in (USER, ITEM):
        column, kind = to_ids(column, ref)
    elif name == TYPE:
        column = to_texts(column, ref)
    elif name in {context_column(kind) for kind in scenario.source.context.categorical}:
        column = to_kinds(column, ref)
    else:
        column = to_numbers(column, ref, scenario.thresholds.get(name))
    if kind is not None and column.null_count < len(column):  # a column of nulls sets no type for other files
        first, first_file = seen.setdefault(name, (kind, ref.file))
        if kind != first:
            raise ref.error(f"holds {kind}, but {first_file} holds {first}: write every file with one type")
    return column


def log_column_refs(scenario: Scenario, file: str) -> dict[str, ColumnRef]:
    """Return the column that each canonical name is read from."""
    columns = scenario.source.columns
    keys = {
        USER: (columns.user, "source.columns.user"),
        ITEM: (columns.item, "source.columns.item"),
        TIME: (columns.time, "source.columns.time"),
    }
    long, context = scenario.source.long, scenario.source.context
    for kind in ("numeric", "categorical"):
        named = getattr(context, kind).items()
        keys |= {context_column(name): (column, f"source.context.{kind}.{name}") for name, column in named}
    if long is None:
        named = scenario.labels.items()
        keys |= {label(name): (str(task.label), scenario.label_key(name)) for name, task in named}
    else:
        keys[TYPE] = (long.type, "source.long.type")
        keys |= {} if long.value is None else {VALUE: (long.value, "source.long.value")}
    text = scenario.source.format == "csv"
    return {name: ColumnRef(file, column, f"{key} in {scenario.file}", text) for name, (column, key) in keys.items()}
