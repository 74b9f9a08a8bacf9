"""What a past run predicts for a user, and why: read from what is stored, nothing is trained."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from mtl_tasks import columns
from mtl_tasks.daily_log import events_bytes, read_events
from mtl_tasks.errors import DataError
from mtl_tasks.explain import parse_id
from mtl_tasks.history import find_lists, rebuild_run
from mtl_tasks.program import PROGRAM
from mtl_tasks.registry import Entry
from mtl_tasks.run import Inputs, Run
from mtl_tasks.stages import explain, explain_offers
from mtl_tasks.store import Store
from mtl_tasks.tables import newest

Json = dict[str, Any]

SHOWN_HISTORY: Final = 20
READABLE_BYTES: Final = 500_000_000  # of the log: more would take minutes and gigabytes of the process that asks


def explore_user(store: Store, entry: Entry, user: str, top: int) -> Json:
    """Return what a person took last, the list made for them, and why each item stands on it.

    Returns
    -------
    dict
        ``user_id``; ``events``, how many there are; ``history``: ``{item_id, title, at, labels}``, newest first; and
        ``offers``, as :func:`mtl_tasks.explain.explain_items` gives them, in the order of the list (empty without one).

    Raises
    ------
    ConfigError
        If the id cannot be one of the log's.
    DataError
        If the log is too large to be read for a page, or the person has no event and no list.
    ArtifactError
        If an artefact is gone or damaged.
    """
    run, inputs = _open_for_page(store, entry)
    events, items = read_events(store, inputs["validate"]), inputs["validate"].frame("items")
    past = events[events[columns.DAY] < run.as_of_day]
    person = parse_id(user, past[columns.USER], "user")
    mine = past[past[columns.USER] == person].sort_values(columns.TIME, kind="stable", ascending=False)
    if mine.empty:
        raise DataError(
            f"user {user}: no event before {entry.as_of} in the {len(past):,} that this run read: check the id"
        )
    lists = find_lists(store, entry)
    offered: list[Any] = []
    if lists is not None:
        listed = lists.frame("recommendations", [columns.USER, columns.RANK, columns.ITEM])
        offered = listed[listed[columns.USER] == person].sort_values(columns.RANK)[columns.ITEM].tolist()
    return {
        "user_id": person,
        "events": len(mine),
        "history": _history(mine.head(SHOWN_HISTORY), items, run),
        "offers": explain_offers(run, inputs, (person, offered), top) if offered else [],
    }


def explore_pair(store: Store, entry: Entry, user: str, item: str, top: int) -> Json:
    """Return what is predicted for a person and an item, and why; see :func:`mtl_tasks.explain.explain_pair`.

    Raises
    ------
    ConfigError, DataError, ArtifactError
        As :func:`explore_user`; also if the item has no event.
    """
    run, inputs = _open_for_page(store, entry)
    return explain(run, inputs, (user, item), top)


def explain_pair(store: Store, entry: Entry, user: str, item: str, top: int) -> Json:
    """Return what :func:`explore_pair` does, however large the log is, with the run that it is of."""
    about = {"scenario": entry.scenario_document["name"], "as_of": entry.as_of, "run_key": entry.run_key}
    return about | explain(*_open(store, entry), (user, item), top)


def _open(store: Store, entry: Entry) -> tuple[Run, Inputs]:
    needed = [name for name in entry.refs if name in ("validate", "factors", "fuse") or name.startswith("member:")]
    return rebuild_run(store, entry), Inputs({name: store.open(entry.refs[name]) for name in needed})


def _open_for_page(store: Store, entry: Entry) -> tuple[Run, Inputs]:
    run, inputs = _open(store, entry)
    size = events_bytes(store, inputs["validate"])
    if size > READABLE_BYTES:
        raise DataError(
            f"the log of run {entry.run_key[:12]} has {size:,} bytes, more than the {READABLE_BYTES:,} read for a "
            f"page: ask {PROGRAM} explain"
        )
    return run, inputs


def _history(mine: pd.DataFrame, items: pd.DataFrame, run: Run) -> list[Json]:
    titles = newest(items, columns.ITEM, run.as_of_day).set_index(columns.ITEM)[columns.TITLE]
    labels = [task for task in run.scenario.tasks if columns.label(task) in mine]
    return [
        {
            "item_id": event[columns.ITEM],
            "title": titles.get(event[columns.ITEM]) or None,
            "at": event[columns.TIME].isoformat(),
            "labels": {
                task: None if pd.isna(event[columns.label(task)]) else float(event[columns.label(task)])
                for task in labels
            },
        }
        for event in mine.to_dict("records")
    ]
