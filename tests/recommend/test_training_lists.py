"""Training lists are made from what was known before their day, and labeled by what was taken from it on."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import drawn_by_ids
from mtl_tasks.core.top_lists import POPULAR
from mtl_tasks.features.builder import fit_factor_models
from mtl_tasks.recommend.rankers import LabeledLists, RankingRows
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.training_lists import NEGATIVES, ListDays, ListSampler, ideal_dcg, ndcg
from mtl_tasks.scenario import Scenario
from tests.support.worlds import END, ITEMS, START, canonical, item_table, random_events, tables, world_scenario

DAY, HORIZON = START + 4, 2


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    recommend = {"top_k": 3, "candidates": 10, "utility": "purchase * rating", "ranking": {"users": 1000}}
    return world_scenario(recommend=recommend, members=["popularity", "als"])


def scorer(scenario: Scenario, events: pd.DataFrame) -> Scorer:
    """Return a scorer without members, which makes candidates and features."""
    return Scorer(scenario, fit_factor_models(events, scenario, START, END), {}, {})


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), day=st.integers(START, END - 1))
def test_nothing_from_the_day_on_changes_the_candidates_or_their_features(
    scenario: Scenario, seed: int, day: int
) -> None:
    rng = np.random.default_rng(seed)
    events = canonical(random_events(rng, 80))
    other = canonical(random_events(np.random.default_rng([seed, 1]), 80))
    past = events[events[columns.DAY] < day]
    changed = pd.concat([past, other[other[columns.DAY] >= day]], ignore_index=True)
    items = tables(item_table([10 + 2 * code for code in range(ITEMS)]))
    users = {earlier: np.unique(past[columns.USER]) for earlier in (START, day) if earlier <= day}
    made = [list(scorer(scenario, log).unranked(log, items, users)) for log in (events, changed)]
    assert len(made[0]) == len(made[1]) > 0
    for mine, theirs in zip(*made, strict=True):
        pd.testing.assert_frame_equal(mine.scored, theirs.scored, check_exact=True)
        pd.testing.assert_frame_equal(mine.features, theirs.features, check_exact=True, check_categorical=False)


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return canonical(random_events(np.random.default_rng(3), 100))


@pytest.fixture(scope="module")
def sampler(events: pd.DataFrame, scenario: Scenario) -> ListSampler:
    return ListSampler(events, tables(item_table([10 + 2 * code for code in range(ITEMS)])), scenario)


def test_gains_are_of_the_horizon_and_only_of_users_known_before(
    sampler: ListSampler, events: pd.DataFrame, scenario: Scenario
) -> None:
    truth = sampler.truth(DAY, HORIZON)
    inside = events[events[columns.DAY].between(DAY, DAY + HORIZON - 1)]
    before = events[events[columns.DAY] < DAY]
    had = set(zip(before[columns.USER], before[columns.ITEM], strict=True))
    wanted = {
        (user, item)
        for user, item in zip(inside[columns.USER], inside[columns.ITEM], strict=True)
        if user in set(before[columns.USER]) and (user, item) not in had
    }
    assert set(zip(truth[columns.USER], truth[columns.ITEM], strict=True)) == wanted
    assert len(wanted) > 3


def test_lists_without_a_relevant_candidate_are_counted_and_not_kept(
    sampler: ListSampler, events: pd.DataFrame, scenario: Scenario
) -> None:
    (made,) = sampler.make(scorer(scenario, events), (DAY,), HORIZON, predicted=False)
    truth = sampler.truth(DAY, HORIZON)
    assert made.users == truth[columns.USER].nunique()
    assert 0 < len(made.lists) <= made.users
    gains = np.bincount(made.lists.lists, weights=made.lists.gain)
    assert (gains > 0).all()
    found = made.lists.rows.scored[made.lists.gain > 0]
    pairs = set(zip(found[columns.USER], found[columns.ITEM], strict=True))
    assert pairs <= set(zip(truth[columns.USER], truth[columns.ITEM], strict=True))
    assert made.lists.ideal.tolist() == pytest.approx(ideal_dcg(truth, 3)[made.lists.users].tolist())


def test_a_sample_of_users_is_drawn_if_there_are_many(events: pd.DataFrame, scenario: Scenario) -> None:
    ranking = scenario.recommend.ranking.model_copy(update={"users": 10})
    recommend = scenario.recommend.model_copy(update={"ranking": ranking})
    few = ListSampler(events, tables(item_table([])), scenario.model_copy(update={"recommend": recommend}))
    everybody = ListSampler(events, tables(item_table([])), scenario).truth(START + 1, 7)
    sample = few.truth(START + 1, 7)
    assert everybody[columns.USER].nunique() > 10 == sample[columns.USER].nunique()
    pd.testing.assert_frame_equal(sample, few.truth(START + 1, 7))
    theirs = everybody[everybody[columns.USER].isin(sample[columns.USER])]
    pd.testing.assert_frame_equal(sample, theirs)


def test_days_are_a_horizon_apart_and_end_where_the_blend_window_begins() -> None:
    scenario = world_scenario(recommend={"ranking": {"days": 4}})
    windows = {"train": (100, 121), "tune": (121, 128), "blend": (128, 135), "test": (135, 163)}
    assert ListDays.of(windows, scenario) == ListDays((100, 107, 114, 121), 128, 7)
    windows["train"] = (110, 121)
    assert ListDays.of(windows, scenario) == ListDays((114, 121), 128, 7)


def test_ndcg_by_hand() -> None:
    scored = pd.DataFrame({columns.USER: [1, 1, 1, 2, 2], POPULAR: 0.0})
    gain = np.array([0.0, 3.0, 1.0, 1.0, 0.0], dtype=np.float32)
    ideal = np.array([3 + 1 / np.log2(3), 1.0])
    rows = RankingRows(scored, pd.DataFrame(index=scored.index))
    lists = LabeledLists(rows, np.array([0, 0, 0, 1, 1]), gain, ideal, np.array([1, 2]))
    score = np.array([0.9, 0.5, 0.7, np.nan, 0.1])
    made = ndcg(lists, score, 2, np.zeros(5))
    assert made.tolist() == pytest.approx([(1 / np.log2(3)) / ideal[0], 0.0])  # a NaN is never listed
    assert ndcg(replace(lists, gain=gain), -score, 3, np.zeros(5))[0] == pytest.approx((3 + 1 / np.log2(3)) / ideal[0])


def test_thinned_lists_keep_every_relevant_candidate(sampler: ListSampler) -> None:
    from mtl_tasks.recommend.training_lists import _Batch

    count = 400
    scored = pd.DataFrame({columns.USER: np.repeat([1, 2], count // 2), columns.ITEM: np.arange(count)})
    gain = (np.arange(count) % 67 == 0).astype(np.float32)
    batch = _Batch(RankingRows(scored, pd.DataFrame({"x": np.arange(count)})), gain)
    kept = batch.thinned((0,))
    assert kept.gain.sum() == gain.sum()
    assert (kept.gain == 0).sum() == 2 * NEGATIVES
    assert kept.rows.features["x"].tolist() == kept.rows.scored[columns.ITEM].tolist()


@settings(max_examples=10)
@given(count=st.integers(1, 4), seed=st.integers(0, 100))
def test_any_partition_of_users_gives_the_same_lists(
    sampler: ListSampler, events: pd.DataFrame, scenario: Scenario, count: int, seed: int
) -> None:
    truths = {day: sampler.truth(day, HORIZON) for day in (DAY - 2, DAY)}
    fitted, parts = scorer(scenario, events), []
    for number in range(count):
        own = {
            day: truth[drawn_by_ids((seed,), truth[columns.USER].to_numpy()) * count // 1 == number]
            for day, truth in truths.items()
        }
        made = sampler.candidates(fitted, own, predicted=False)
        data = io.BytesIO()
        made.to_parquet(data)
        parts.append(pd.read_parquet(data))
    whole = sampler.lists([sampler.candidates(fitted, truths, predicted=False)], truths)
    assert len(whole) == 2
    for mine, theirs in zip(sampler.lists(parts, truths), whole, strict=True):
        assert (mine.day, mine.users) == (theirs.day, theirs.users)
        assert mine.lists.gain.tolist() == theirs.lists.gain.tolist()
        assert mine.lists.users.tolist() == theirs.lists.users.tolist()
        assert mine.lists.ideal.tolist() == theirs.lists.ideal.tolist()
        pd.testing.assert_frame_equal(mine.lists.rows.scored, theirs.lists.rows.scored, check_exact=True)
        pd.testing.assert_frame_equal(
            mine.lists.rows.features, theirs.lists.rows.features, check_exact=True, check_categorical=False
        )


def test_what_is_thinned_of_a_list_does_not_depend_on_the_other_lists() -> None:
    from mtl_tasks.recommend.training_lists import _Batch

    count = 400
    scored = pd.DataFrame({columns.USER: np.repeat([1, 2], count // 2), columns.ITEM: np.arange(count)})
    gain = (np.arange(count) % 67 == 0).astype(np.float32)
    batch = _Batch(RankingRows(scored, pd.DataFrame({"x": np.arange(count)})), gain)
    second = (scored[columns.USER] == 2).to_numpy()
    alone = _Batch(batch.rows.where(second), gain[second]).thinned((3, 4))
    together = batch.thinned((3, 4)).rows.scored
    assert alone.rows.scored[columns.ITEM].tolist() == together.loc[together[columns.USER] == 2, columns.ITEM].tolist()
    other = batch.thinned((3, 5)).rows.scored
    assert other[columns.ITEM].tolist() != together[columns.ITEM].tolist()


def test_a_label_that_becomes_final_after_the_horizon_is_not_counted(events: pd.DataFrame, scenario: Scenario) -> None:
    inside = events[columns.DAY].between(DAY, DAY + HORIZON - 1)
    late = inside & (events[columns.ITEM] % 4 == 2)
    known = events[columns.DAY].where(~late, DAY + HORIZON).astype(np.int32)
    items = tables(item_table([10 + 2 * code for code in range(ITEMS)]))
    early = ListSampler(events.assign(**{columns.KNOWN: events[columns.DAY]}), items, scenario).truth(DAY, HORIZON)
    found = ListSampler(events.assign(**{columns.KNOWN: known}), items, scenario).truth(DAY, HORIZON)
    assert 0 < len(found) < len(early)
    assert (found[columns.ITEM] % 4 != 2).all()
    pd.testing.assert_frame_equal(found, early[early[columns.ITEM] % 4 != 2].reset_index(drop=True))


def test_users_without_a_relevant_candidate_teach_nothing_and_break_nothing(
    events: pd.DataFrame, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.recommend.scorer.BATCH_USERS", 1)
    recommend = scenario.recommend.model_copy(update={"candidates": 1})
    scenario = scenario.model_copy(update={"recommend": recommend})
    sampler = ListSampler(events, tables(item_table([])), scenario)
    (alone,) = sampler.make(scorer(scenario, events), (DAY,), HORIZON, predicted=False)
    assert alone.users > len(alone.lists) > 0
