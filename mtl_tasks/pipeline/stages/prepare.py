"""The stages that prepare the data: `resolve`, `validate`, `split`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core import columns
from mtl_tasks.data.splits import Windows, describe_rows, log_days, make_rows
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.config import sections
from mtl_tasks.pipeline.stages.inputs import days_are_there, load_events
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.store.artifacts import DAYS, Payload

if TYPE_CHECKING:
    from mtl_tasks.data.sources import LogSource

ROOT = "."  # the project's folder is the working directory of every process that runs stages


def resolve(run: Run, inputs: Inputs) -> Payload:
    """Fix what the run reads: source files and their hashes."""
    files = inputs.config["files"]
    days = [file["day"] for file in files if file["day"] is not None]
    payload = Payload(summary={"files": len(files)}, rows=len(files))
    document = {
        "as_of": run.as_of.iso,
        "sources": files,
        "first_partition": min(days) if days else None,
    }
    payload.add_json("resolve", document)
    return payload


def resolve_config(run: Run) -> dict[str, Any]:
    """Return the source and its files; they are hashed, or queried from the database, here because the key needs it."""
    from mtl_tasks.data.files import list_tables

    # A run by force queries a database again.
    days = _log_source(run).list_days(run.as_of.day, renew=run.force is not None)
    files = [*days, *list_tables(run.scenario, ROOT)]
    return {"source": run.scenario.source.model_dump(mode="json"), "files": [asdict(file) for file in files]}


def _log_source(run: Run) -> LogSource:
    from mtl_tasks.data.sources import open_log

    # The environment is read here, by the process that queries the database: a password must not travel with the run.
    return open_log(run.scenario, ROOT, run.store.inside(run.scenario.name, "snapshots"), os.environ)


def validate(run: Run, inputs: Inputs) -> Payload:
    """Read the log, set bad rows aside, refuse a bad log."""
    from mtl_tasks.data.attribute_tables import read_items, read_users
    from mtl_tasks.data.files import SourceFile
    from mtl_tasks.data.validation import validate_log
    from mtl_tasks.pipeline.days.log import EVENTS, joined_events, joined_quarantine, judge_parts

    files = [SourceFile(**entry) for entry in inputs["resolve"].json("resolve")["sources"]]
    sections = {name: inputs.config[name] for name in ("source", "tasks")}
    sections["rows"] = {
        name: inputs.config["validation"][name] for name in ("earliest", "latest", "duplicates", "quote_rows")
    }
    parts = judge_parts(run, sections, files, ROOT, _log_source(run).folder)
    events = joined_events([part.frame(EVENTS) for part in parts])
    records = [part.json("part")["record"] for part in parts]
    result = validate_log(records, events, joined_quarantine(parts), run.scenario, run.as_of.timestamp)
    payload = Payload(rows=len(result.events))
    payload.summary = {
        "max_event_time": result.events[columns.TIME].max().isoformat(),
        "quarantined": len(result.quarantine),
        "duplicates": result.report["duplicates"]["rows"],
        "attribution": result.report["attribution"],
        "success": result.report["success"],
    }
    payload.add_json(DAYS, [part.ref.to_json() for part in parts])
    payload.add_frame("items", read_items(run.scenario, files, ROOT, events[columns.ITEM]))
    payload.add_frame("users", read_users(run.scenario, files, ROOT, events[columns.USER]))
    payload.add_frame("quarantine", result.quarantine)
    payload.add_json("validation", result.report)
    return payload


def split(run: Run, inputs: Inputs) -> Payload:
    """Cut the windows and make their labeled rows."""
    events = load_events(run, inputs)
    prior = inputs["validate"].json("validation")["prior"]
    windows = Windows.cut(run.scenario, run.as_of.day, int(log_days(events.frame, prior)[0]))
    rows = make_rows(events.frame, run.scenario, windows)
    described = describe_rows(rows, run.scenario, windows)
    payload = Payload(rows=len(rows), summary={"windows": described, "max_event_time": events.newest_time})
    payload.add_frame("rows", rows)
    payload.add_json("windows", windows.ranges)
    return payload


WORK: Final = {
    "resolve": Work(resolve_config, resolve),
    "validate": Work(sections("source", "tasks", "validation"), validate, whole=days_are_there),
    "split": Work(sections("tasks", "windows", "seed"), split),
}
