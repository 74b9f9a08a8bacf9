"""Candidates are the union of what the sources offer, for the users asked for and for nobody else."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import largest_of_rows
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.features.builder import FeatureMaker
from mtl_tasks.features.interactions import IndexedRows, encode
from mtl_tasks.models.deep.two_tower import TwoTower
from mtl_tasks.models.deep.two_tower_training import fit_two_tower
from mtl_tasks.recommend.candidates import Candidates, Masks, sorted_codes, source_bit
from mtl_tasks.recommend.towers import tower_data
from mtl_tasks.scenario import SOURCE_NAMES, Recommend
from tests.support.worlds import (
    END,
    ITEMS,
    START,
    canonical,
    fit_all,
    item_table,
    random_events,
    tables,
    world_scenario,
)

CLASSIC = ("als", "popular", "co_occurrence", "attributes")
CONTENT: dict[str, Any] = {"source__items__text": "plot", "source__items__vectors": "embedding"}
EVERY = dict.fromkeys(SOURCE_NAMES, 3)


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "texts"])
def maker(request: pytest.FixtureRequest) -> FeatureMaker:
    scenario = world_scenario(**CONTENT)
    events = canonical(random_events(np.random.default_rng(0), 60), text=request.param)
    coded, _ = encode(events, events.iloc[:0], scenario)
    items = item_table([10 + 2 * code for code in range(ITEMS)], text=request.param)
    factor_models = fit_all(events, items, scenario, START, END)
    made = FeatureMaker(coded, tables(items), factor_models, scenario)
    made.advance(END)
    return made


def offered_of(
    maker: FeatureMaker, users: Any, sizes: dict[str, int] | None = None, repeat: str = "leave_out"
) -> tuple[IndexedRows, Masks]:
    sources = dict.fromkeys(CLASSIC, 3) if sizes is None else dict.fromkeys(CLASSIC, 0) | sizes
    scenario = world_scenario(recommend={"sources": sources, "repeat": repeat}, **CONTENT)
    towers = towers_of(maker) if sources.get("two_tower") else None
    return Candidates(maker, END, scenario, towers).rows(np.array(users, dtype=np.int64))


@cache
def towers_of(maker: FeatureMaker) -> TwoTower:
    """Train two towers for an epoch on what was taken before the train window."""
    return fit_two_tower(tower_data(maker, START), 4, 1, 0.01, 0)


def rows_of(maker: FeatureMaker, users: Any) -> IndexedRows:
    return offered_of(maker, users)[0]


def everybody(maker: FeatureMaker) -> NDArray[np.int64]:
    return np.arange(len(maker.events.user_ids))


def pairs(users: Any, items: Any) -> list[tuple[int, int]]:
    return list(zip(users.tolist(), items.tolist(), strict=True))


def union_of_four(maker: FeatureMaker, users: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """Return the union of the four sources of one size, from a dense matrix of users and items."""
    from implicit.cpu.topk import topk

    past = maker.positives.before(END)
    shape = len(past.user_ids), len(past.item_ids)
    has = sparse.csr_matrix((np.ones(len(past.items), dtype=np.float32), (past.users, past.items)), shape=shape)
    seen = has[users]
    offered = np.zeros((len(users), shape[1]), dtype=np.bool_)
    week = np.bincount(past.items[past.days >= END - 7], minlength=shape[1])
    top = np.argsort(-week, kind="stable")[:count]
    offered[:, top[week[top] > 0]] = True
    snapshot = maker.taste.snapshot(END)
    known = np.flatnonzero(snapshot.vector_rows >= 0)
    vectors = maker.taste.fold_in(snapshot, *maker.taste.past.before(users, np.full(len(users), END)))
    query = seen[:, known].tocsr()
    found, scores = topk(snapshot.vectors, vectors, min(count, len(known)), filter_query_items=query)
    usable = np.isfinite(scores) & (scores > 0)
    offered[np.broadcast_to(np.arange(len(users))[:, None], found.shape)[usable], known[found[usable]]] = True
    offered[largest_of_rows(maker.co_occurrence.scores(users, END), count)] = True
    recent = np.bincount(past.items[past.days >= END - 28], minlength=shape[1])
    live = np.flatnonzero(recent)
    for one in maker.about_items.listed:
        item, value = one.of(np.arange(shape[1]), np.full(shape[1], END))
        values = sparse.csr_matrix((np.ones(len(item), dtype=np.float32), (item, value)), shape=(shape[1], one.size))
        share = np.asarray((seen @ values).toarray()) / np.maximum(np.asarray(seen.sum(axis=1)), 1.0)
        match = np.asarray((sparse.csr_matrix(share) @ values[live].T).toarray(), dtype=np.float32)
        owner, place = largest_of_rows(match * np.log1p(recent[live]).astype(np.float32), count)
        offered[owner, live[place]] = True
    offered[seen.nonzero()] = False
    owner, item = np.nonzero(offered)
    return pairs(users[owner], item)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_classic_sources_offer_the_union_of_the_four_in_order(maker: FeatureMaker, count: int) -> None:
    users = everybody(maker)
    rows, masks = offered_of(maker, users, dict.fromkeys(CLASSIC, count))
    assert pairs(rows.users, rows.items) == union_of_four(maker, users, count)
    assert masks.dtype == np.uint16
    assert (masks > 0).all()
    assert (masks < 16).all()


def test_by_default_every_classic_source_has_the_size_of_candidates() -> None:
    assert Recommend().source_sizes == dict.fromkeys(CLASSIC, 100)
    assert Recommend(candidates=40).source_sizes == dict.fromkeys(CLASSIC, 40)


def test_no_candidate_was_taken_before_and_none_is_listed_twice(maker: FeatureMaker) -> None:
    sizes = {name: size for name, size in EVERY.items() if name != "repeats"}
    rows, _ = offered_of(maker, everybody(maker), sizes)
    offered = pairs(rows.users, rows.items)
    assert len(offered) == len(set(offered)) > 0
    assert not set(pairs(maker.positives.users, maker.positives.items)) & set(offered)
    assert set(rows.days.tolist()) == {END}


def test_the_most_taken_of_the_week_are_offered_to_everybody_who_has_not_taken_them(maker: FeatureMaker) -> None:
    positives = maker.positives
    week = np.bincount(positives.items[positives.days >= END - 7], minlength=len(positives.item_ids))
    best = int(np.argmax(week))
    takers = set(positives.users[positives.items == best].tolist())
    others = sorted(set(range(len(positives.user_ids))) - takers)
    rows, masks = offered_of(maker, others)
    assert set(rows.users[rows.items == best].tolist()) == set(others)
    assert (masks[rows.items == best] & source_bit("popular") > 0).all()


def test_a_mask_has_the_bits_of_the_sources_that_offer_the_pair_alone(maker: FeatureMaker) -> None:
    users = everybody(maker)
    rows, masks = offered_of(maker, users, EVERY, "allow")
    united = pairs(rows.users, rows.items)
    for name in SOURCE_NAMES:
        alone, bits = offered_of(maker, users, {"repeats": 0, name: 3}, "allow")
        assert set(bits.tolist()) == {source_bit(name)}
        marked = masks & source_bit(name) > 0
        assert pairs(alone.users, alone.items) == [pair for pair, bit in zip(united, marked, strict=True) if bit]


def test_a_user_is_offered_the_same_alone_and_among_others(maker: FeatureMaker) -> None:
    among, among_masks = offered_of(maker, everybody(maker), EVERY, "allow")
    for user in everybody(maker):
        alone, masks = offered_of(maker, [user], EVERY, "allow")
        assert set(alone.users.tolist()) == {user}
        assert alone.items.tolist() == among.items[among.users == user].tolist()
        assert masks.tolist() == among_masks[among.users == user].tolist()


def test_seen_items_are_candidates_where_items_may_repeat(maker: FeatureMaker) -> None:
    users = everybody(maker)
    rows, masks = offered_of(maker, users, {"repeats": ITEMS}, "allow")
    assert set(pairs(rows.users, rows.items)) == set(pairs(maker.positives.users, maker.positives.items))
    assert set(masks.tolist()) == {source_bit("repeats")}


def test_no_users_have_no_candidates(maker: FeatureMaker) -> None:
    rows, masks = offered_of(maker, [], EVERY, "allow")
    assert not len(rows)
    assert not len(masks)


@pytest.mark.parametrize(
    ("recommend", "message"),
    [
        ({"sources": dict.fromkeys(CLASSIC, 0)}, "every source has size 0.*give one of als, popular"),
        ({"sources": {"repeats": 5}}, "sources.repeats is 5, but repeat is 'leave_out'.*set recommend.repeat"),
        ({"sources": {"als": -1}}, "recommend.sources.als: Input should be greater than or equal to 0"),
        ({"sources": {"lsa": 5}}, "lsa"),
    ],
)
def test_sizes_that_cannot_be_are_refused(recommend: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        world_scenario(recommend=recommend)


def test_codes_of_absent_ids_are_left_out() -> None:
    ids = np.array(["a", "c", "e"])
    assert sorted_codes(ids, np.array(["e", "b", "zzz", "a", "a"])).tolist() == [0, 2]
    assert sorted_codes(ids, np.array([], dtype=np.str_)).tolist() == []


def test_content_offers_the_active_items_nearest_to_the_mean_of_what_the_user_took(maker: FeatureMaker) -> None:
    rows, masks = offered_of(maker, everybody(maker), {"content": 2})
    past = maker.positives.before(END)
    vectors = [one.vectors_at(END).astype(float) for one in maker.contents]
    active = np.unique(maker.events.before(END).items)
    assert set(masks.tolist()) == {source_bit("content")}
    for user in everybody(maker):
        mine = past.items[past.users == user]
        score = np.zeros(len(maker.events.item_ids))
        for matrix in vectors:
            mean = matrix[mine].sum(axis=0)
            score += matrix @ mean / max(float(np.linalg.norm(mean)), 1e-9)
        usable = np.setdiff1d(active[score[active] > 1e-6], mine)
        best = usable[np.argsort(-score[usable], kind="stable")][:2]
        assert sorted(rows.items[rows.users == user].tolist()) == sorted(best.tolist())


def test_an_item_that_nobody_took_is_a_candidate_by_its_content() -> None:
    sources = {**dict.fromkeys(CLASSIC, 0), "content": 50}
    scenario = world_scenario(**CONTENT, factors__signals={"like": 1.0}, recommend={"sources": sources})
    events = canonical(random_events(np.random.default_rng(0), 60))
    new = events.tail(1).assign(**{columns.ITEM: 12 + 2 * ITEMS, columns.DAY: np.int32(END - 1)})
    new[[columns.label(name) for name in scenario.labels]] = np.float32(0)
    events = pd.concat([events, new], ignore_index=True)
    items = item_table([10 + 2 * code for code in range(ITEMS + 2)])
    coded, _ = encode(events, events.iloc[:0], scenario)
    maker = FeatureMaker(coded, tables(items), fit_all(events, items, scenario, START, END), scenario)
    maker.advance(END)
    rows, _ = Candidates(maker, END, scenario).rows(everybody(maker))
    assert not (maker.positives.items == len(coded.item_ids) - 1).any()
    assert (rows.items == len(coded.item_ids) - 1).any()


def test_the_source_content_without_text_or_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.sources\.content is 3, but the items have neither texts nor"):
        world_scenario(recommend={"sources": {"content": 3}})
