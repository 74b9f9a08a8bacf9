"""The validated log as per-day artifacts: a day is read and validated once, whichever runs need it.

A wide log that is partitioned by day has a part for each block of days (:mod:`mtl_tasks.pipeline.days.blocks`). Any
other log has one part with everything before as_of: with single files, labels that become final later, or rows without
a time, a day is complete only once all is read.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.categories import concat_rows, drop_unused_categories
from mtl_tasks.core.days import AsOf
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.conversion import narrow_ids, to_pandas
from mtl_tasks.data.files import Root, SourceFile
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.validation import ValidatedRows, validate_rows, with_type
from mtl_tasks.pipeline.days.blocks import BLOCK_DAYS, block_name, divided
from mtl_tasks.pipeline.engine import Run, code_version, library_versions
from mtl_tasks.store.artifacts import DAYS, Artifact, Payload, Store, day_refs, to_json

log = logging.getLogger(__name__)

EVENTS: Final = "events"
_QUARANTINE: Final = "quarantine"
_IDS: Final = (columns.USER, columns.ITEM)
_BLOCK_BYTES: Final = 256 * 1024  # of the log's files: below, an artifact costs more than its rows


class Part(NamedTuple):
    """The part of the log that an artifact holds.

    Attributes
    ----------
    name
        Name of its folder.
    days
        Its days; empty if it is the whole log.
    """

    name: str
    days: range
    files: list[SourceFile]


Parts = dict[str, Part]


def judge_parts(
    run: Run, config: Mapping[str, Any], files: list[SourceFile], root: Root, log_folder: Root
) -> list[Artifact]:
    """Return the artifact of every part of the log, made now if the store has none; in order of days.

    Parameters
    ----------
    config
        The sections of the scenario that row validation depends on.
    files
        All files of the run, as they were when it began.
    root
        Folder that the scenario's relative paths start from.
    log_folder
        Folder that the paths of the log's files start from.

    Raises
    ------
    DataError
        As :func:`~mtl_tasks.data.interactions.read_log` and :func:`~mtl_tasks.data.validation.validate_rows`.
    """
    parts = _parts(run, config, files)
    found = {key: run.store.find(_folder(run, key, part)) for key, part in parts.items()}
    for artifact in found.values():
        if artifact is not None:
            run.store.reuse(artifact.ref)
    known = {key: artifact.json("part") for key, artifact in found.items() if artifact is not None}
    missing = {key: part for key, part in parts.items() if found[key] is None}
    made = _make(run, missing, files, (root, log_folder), list(known.values())) if missing else {}
    log.info("%s: %d parts of the log judged, of %d reused", run.scenario.name, len(missing), len(known))
    return [found[key] or made[key] for key in parts]


def read_events(store: Store, validated: Artifact, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the good rows of a run's log, in order of days.

    They are the events of :class:`~mtl_tasks.data.validation.ValidationResult`.

    Parameters
    ----------
    validated
        The artifact of the stage ``validate``.
    names
        Columns to read; by default all.
    """
    parts = [store.open(ref) for ref in day_refs(validated)]
    return joined_events([part.frame(EVENTS, None if names is None else list(names)) for part in parts])


def day_digests(store: Store, validated: Artifact) -> dict[int, str]:
    """Return a hash of the good rows of each day of a run's log."""
    parts = [store.open(ref).json("part") for ref in day_refs(validated)]
    return {int(day): digest for part in parts for day, digest in part["digests"].items()}


def digests_of(events: pd.DataFrame) -> dict[int, str]:
    """Return a hash of the rows of each day; equal rows in equal order have equal hashes, whatever their source."""
    days = events[columns.DAY].to_numpy()
    order = np.argsort(days, kind="stable")
    hashes, days = hash_rows(events)[order], days[order]
    bounds = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)] if len(days) else []
    return {
        int(days[start]): hashlib.sha256(hashes[start:end].tobytes()).hexdigest() for start, end in pairwise(bounds)
    }


def hash_rows(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of each row."""
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)


def joined_events(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Join the events of parts; a part without rows does not affect dtypes."""
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    if len(frames) == 1:
        return frames[0]
    for name in _IDS:  # of text files: some parts alone look like integers
        if len({str(frame[name].dtype) for frame in frames if name in frame}) > 1:
            frames = [frame.astype({name: "str"}) for frame in frames]
    return concat_rows(frames)


def joined_quarantine(parts: Sequence[Artifact]) -> pd.DataFrame:
    """Return the bad rows of all parts."""
    frames = [part.frame(_QUARANTINE) for part in parts if part.summary["quarantined"]] or [parts[0].frame(_QUARANTINE)]
    for name in _IDS:
        if len({str(frame[name].dtype) for frame in frames}) > 1:
            whole = all(pd.api.types.is_integer_dtype(frame[name]) for frame in frames)
            frames = [frame.astype({name: "Int64" if whole else "str"}) for frame in frames]
    return pd.concat(frames, ignore_index=True)


def _parts(run: Run, config: Mapping[str, Any], files: list[SourceFile]) -> Parts:
    """Return the parts of the log, by key."""
    source = run.scenario.source
    of_log = [file for file in files if file.path not in source.tables.values()]
    daily = source.long is None and source.prior is None and all(file.day is not None for file in of_log)
    known = run.in_key({**config, "code": code_version(), "libraries": library_versions()})
    if source.items is not None and source.items.missing == "quarantine":
        known["items"] = [asdict(file) for file in files if file.path == source.items.path]
    parts = {}
    for part in _blocks(of_log, run.as_of) if daily else [Part(run.as_of.iso, range(0), of_log)]:
        content = {**known, "as_of": None if daily else run.as_of.iso, "files": [asdict(file) for file in part.files]}
        if not daily:
            content["beside"] = [asdict(file) for file in files]
        parts[hashlib.sha256(to_json(content)).hexdigest()] = part
    return parts


def _blocks(files: list[SourceFile], as_of: AsOf) -> Iterator[Part]:
    """Yield the part of each block of days."""
    by_day = {int(day): list(group) for day, group in groupby(files, lambda file: file.day) if day is not None}
    sizes = {day: sum(file.size for file in group) for day, group in by_day.items()}
    for block in divided(sizes, range(min(sizes) - BLOCK_DAYS, as_of.day), _BLOCK_BYTES):
        in_block = [file for day in block for file in by_day[day]]
        yield Part(block_name(block), range(block[0], block[-1] + 1), in_block)


def _folder(run: Run, key: str, part: Part) -> UPath:
    return run.store.folder(run.scenario.name, DAYS, part.name, key)


def _make(
    run: Run, missing: Parts, files: list[SourceFile], roots: tuple[Root, Root], known: list[dict[str, Any]]
) -> dict[str, Artifact]:
    scenario, (root, of_log) = run.scenario, roots
    seen = {name: (kind, file) for part in reversed(known) for name, (kind, file) in part["types"].items()}
    wanted = {file.path for part in missing.values() for file in part.files}
    beside = scenario.source.tables.values()
    attribution: dict[str, Any] = {}
    wanted_files = [f for f in files if f.path in wanted or f.path in beside]
    read = read_log(scenario, wanted_files, of_log, run.as_of.timestamp, seen, attribution, root)
    read = read.astype({name: "str" for name in _IDS if any(part["ids"][name] == "str" for part in known)})
    checked = scenario.source.items is not None and scenario.source.items.missing == "quarantine"
    items = read_items(scenario, files, root, read[columns.ITEM]) if checked else read[[columns.ITEM]].iloc[:0]
    spans = [part.days for part in missing.values()] if len(missing) > 1 or known else None
    judged = validate_rows(read, items, scenario, run.as_of.timestamp, spans=spans, attribution=attribution)
    return {
        key: _publish(run, key, part, rows, seen) for (key, part), rows in zip(missing.items(), judged, strict=True)
    }


def _publish(run: Run, key: str, part: Part, judged: ValidatedRows, seen: Mapping[str, tuple[str, str]]) -> Artifact:
    text = run.scenario.source.format == "csv"
    events, quarantine = drop_unused_categories(_own_ids(judged.events, text)), _own_ids(judged.quarantine, text)
    payload = Payload(rows=len(events), summary={"quarantined": len(quarantine)})
    payload.add_frame(EVENTS, events)
    payload.add_frame(_QUARANTINE, quarantine)
    ids = {name: str(events[name].dtype) for name in _IDS}
    types = {
        name: (kind, part.files[0].path)
        for name, (kind, _) in seen.items()
        if events[name].notna().any() or quarantine[name].notna().any()
    }
    about = {"record": _own_record(judged.record, ids), "digests": digests_of(events), "types": types, "ids": ids}
    payload.add_json("part", about)
    facts = {"scenario": run.scenario.name, "stage": "log", "as_of": part.name, "usage": {}}
    return run.store.publish(_folder(run, key, part), key, payload, facts)


def _own_ids(frame: pd.DataFrame, text: bool) -> pd.DataFrame:
    """Convert ids to the dtype of these rows alone, so that a stored day does not depend on what it was read with."""
    made: dict[str, pd.Series[Any]] = {}
    for name in _IDS:
        ids = frame[name]
        if ids.isna().all():
            ids = pd.Series(pd.array([pd.NA] * len(ids), dtype="Int64"))
        elif text and ids.dtype == "str":
            ids = to_pandas(narrow_ids(pa.chunked_array([pa.array(ids, type=pa.large_string())])))
        if pd.api.types.is_integer_dtype(ids):
            ids = ids.astype("Int64" if columns.REASON in frame else "int64")
        made[name] = ids
    return frame.assign(**made)


def _own_record(record: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return a part's record without the effects of other parts' rows."""
    schema = [with_type(entry, ids[entry["column"]]) if entry["column"] in ids else entry for entry in record["schema"]]
    checks = [{**entry, "success": entry["unexpected"] == 0} for entry in record["checks"]]
    return {**record, "schema": schema, "checks": checks}
