"""Which items are scored for a user: four cheap sources, united."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.factors import Floats
from mtl_tasks.features.affinity import FittedSpace
from mtl_tasks.features.attributes import Attribute
from mtl_tasks.features.build import FeatureMaker
from mtl_tasks.features.coding import CodedEvents, CodedRows, Codes

RECENT_DAYS = 28  # an item is offered by attribute only if somebody took it in these days


def candidate_rows(maker: FeatureMaker, users: Codes, day: int, count: int) -> CodedRows:
    """List the candidates of some users on a day.

    Parameters
    ----------
    maker
        It must be advanced to ``day``.
    users
        Sorted user codes.
    count
        Items taken from each source: ALS top-N, most taken of the last seven days, co-occurrence with the user's
        items, and recently taken items with the user's favourite attribute values.

    Returns
    -------
    CodedRows
        By user, then item; without items that the user already took and without doubles.
    """
    past = maker.taken.before(day)
    seen = sparse.csr_matrix(
        (np.ones(len(past.items), dtype=np.float32), (past.users, past.items)),
        shape=(len(past.user_ids), len(past.item_ids)),
    )[users]
    sources = [
        _most_taken(past, users, day, count),
        _nearest(users, day, maker.taste, seen, count),
        _top(maker.co_occurrence.scores(users, day), count),
        *(_by_attribute(past, seen, day, attribute, count) for attribute in maker.listed),
    ]
    owner, item = (np.concatenate(part) for part in zip(*sources, strict=True))
    size = len(past.item_ids)
    taken_by, taken = seen.nonzero()
    fresh = np.setdiff1d(owner * size + item, taken_by.astype(np.int64) * size + taken)
    owner, item = np.divmod(fresh, max(size, 1))
    return CodedRows(users[owner], item, np.full(len(item), day, dtype=np.int64))


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def _most_taken(past: CodedEvents, users: Codes, day: int, count: int) -> Pairs:
    taken = np.bincount(past.items[past.days >= day - 7], minlength=len(past.item_ids))
    top = np.argsort(-taken, kind="stable")[:count]
    top = top[taken[top] > 0]
    return np.repeat(np.arange(len(users)), len(top)), np.tile(top, len(users))


def _nearest(users: Codes, day: int, taste: FittedSpace, seen: sparse.csr_matrix, count: int) -> Pairs:
    from implicit.cpu.topk import topk

    snapshot = taste.snapshot(day)
    known, items = np.flatnonzero(snapshot.place >= 0), snapshot.vectors
    if not len(known):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    vectors = taste.fold(snapshot, *taste.past.before(users, np.full(len(users), day)))
    found, scores = topk(items, vectors, min(count, len(known)), filter_query_items=seen[:, known].tocsr())
    usable = np.isfinite(scores) & (scores > 0)
    owner = np.broadcast_to(np.arange(len(users))[:, None], found.shape)
    return owner[usable], known[found[usable]]


def _by_attribute(past: CodedEvents, seen: sparse.csr_matrix, day: int, attribute: Attribute, count: int) -> Pairs:
    size = len(past.item_ids)
    item, value = attribute.of(np.arange(size), np.full(size, day))
    has = sparse.csr_matrix(
        (np.ones(len(item), dtype=np.float32), (item, value)), shape=(seen.shape[1], attribute.size)
    )
    share = np.asarray((seen @ has).toarray()) / np.maximum(np.asarray(seen.sum(axis=1)), 1.0)
    recent = np.bincount(past.items[past.days >= day - RECENT_DAYS], minlength=len(past.item_ids))
    live = np.flatnonzero(recent)
    matched: Floats = np.asarray((sparse.csr_matrix(share) @ has[live].T).toarray(), dtype=np.float32)
    owner, place = _top(matched * np.log1p(recent[live]).astype(np.float32), count)
    return owner, live[place]


def _top(scores: Floats, count: int) -> Pairs:
    """Columns of the ``count`` largest positive scores of each row."""
    if scores.shape[1] > count:
        place = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    else:
        place = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    positive = np.take_along_axis(scores, place, axis=1) > 0
    owner = np.broadcast_to(np.arange(len(scores))[:, None], place.shape)
    return owner[positive].astype(np.int64), place[positive].astype(np.int64)


def sorted_codes(ids: NDArray[Any], wanted: NDArray[Any]) -> Codes:
    """Codes of wanted ids in sorted ids; those absent are left out."""
    wanted = np.unique(wanted)
    place = np.searchsorted(ids, wanted)
    inside = place < len(ids)
    inside[inside] = ids[place[inside]] == wanted[inside]
    return place[inside].astype(np.int64)
