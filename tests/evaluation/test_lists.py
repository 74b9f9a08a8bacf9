"""Lists are judged by hand-computed values, as a loop over lists would judge them, and without dropping a user."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.data.relevance import GAIN
from mtl_tasks.evaluation.item_catalog import ItemCatalog
from mtl_tasks.evaluation.lists import (
    CLUSTER,
    POSITIVES,
    START,
    ListEvaluation,
    ListSettings,
    paired,
    value_column,
)
from mtl_tasks.metrics.catalog import CATALOG, metrics_of
from mtl_tasks.metrics.lists import BEYOND_RELEVANCE, EXPOSURE, RELEVANCE
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.lists import LIST_QUESTION, ListsDocument
from tests.support.list_metrics import list_metrics

DAY = 100
ITEMS = np.array([10, 11, 12, 13])
VECTORS = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=np.float32)
D2 = 1 / np.log2(3)


def truth_of(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return a truth from (user, item, gain) or (user, item, gain, day)."""
    names = [columns.USER, columns.ITEM, GAIN, columns.DAY]
    frame = pd.DataFrame([(*row, DAY)[:4] for row in rows], columns=names)
    return frame.astype({columns.USER: "int64", columns.ITEM: "int64", GAIN: "float64", columns.DAY: "int64"})


def lists_of(lists: dict[Any, list[int]]) -> pd.DataFrame:
    """Return lists from user, or (user, day), to items, best first."""
    rows = [
        (*(owner if isinstance(owner, tuple) else (owner, DAY)), item, rank)
        for owner, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    return pd.DataFrame(rows, columns=[columns.USER, columns.DAY, columns.ITEM, columns.RANK], dtype="int64")


def catalog_of(counts: list[list[int]] | None = None, starts: tuple[int, ...] = (DAY,)) -> ItemCatalog:
    made = np.array(counts or [[6, 3, 3, 0]] * len(starts))
    return ItemCatalog(ITEMS, np.array(starts), made, VECTORS)


def evaluation_of(truth: pd.DataFrame, *rankers: str, k: int = 2, **others: Any) -> ListEvaluation:
    history = others.pop("history", None)
    catalog = others.pop("catalog", catalog_of())
    return ListEvaluation(truth, catalog, rankers, ListSettings(k=k, seed=7, **others), history)


def value(document: ListsDocument, ranker: str, metric: str) -> float | None:
    return document.everyone.rankers[ranker].metrics[metric].value


def test_metrics_by_hand() -> None:
    truth = truth_of([(7, 10, 1.0), (7, 12, 3.0), (7, 99, 2.0), (8, 13, 1.0)])
    lists = evaluation_of(truth, "mine")
    lists.add("mine", lists_of({7: [11, 12], 8: [13]}))
    document = lists.document()
    found = {metric: value(document, "mine", metric) for metric in metrics_of("lists")}
    information = -np.log2(np.array([7, 4, 4, 1]) / 16)
    assert found == pytest.approx(
        {
            "ndcg": (3 * D2 / (3 + 2 * D2) + 1) / 2,
            "recall": (1 / 3 + 1) / 2,
            "map": ((1 / 2) / 2 + 1) / 2,
            "mrr": (1 / 2 + 1) / 2,
            "hit_rate": 1.0,
            "precision": (1 / 2 + 1 / 2) / 2,
            "novelty": ((information[1] + information[2]) / 2 + information[3]) / 2,
            "diversity": 1.0,  # items 11 and 12 are orthogonal; a list of one item has no pair
            "popularity_bias": (2 / 4 + 0.5 / 4) / 2,
            "coverage": 3 / 4,
            "gini": 1 / 4,  # of exposures 0, 1, 1, 1
        }
    )
    assert document.unreachable == pytest.approx(1 / 4)
    assert (document.everyone.lists, document.everyone.users, document.items, document.k) == (2, 2, 4, 2)
    assert document.question == LIST_QUESTION
    to_json(document.model_dump(mode="json"))


def test_every_metric_of_lists_is_in_the_catalog_and_the_document() -> None:
    assert {*RELEVANCE, *BEYOND_RELEVANCE, *EXPOSURE} == set(metrics_of("lists"))
    lists = evaluation_of(truth_of([(7, 10, 1.0)]), "mine")
    assert set(lists.document().everyone.rankers["mine"].metrics) == set(metrics_of("lists"))


def test_a_user_without_a_list_has_no_hit_and_is_not_dropped() -> None:
    lists = evaluation_of(truth_of([(7, 10, 1.0), (8, 11, 1.0)]), "mine", "none")
    lists.add("mine", lists_of({7: [10]}))
    document = lists.document()
    assert value(document, "mine", "ndcg") == pytest.approx(0.5)
    assert value(document, "mine", "recall") == pytest.approx(0.5)
    mine = document.everyone.rankers["mine"].metrics
    assert (mine["ndcg"].rows, mine["novelty"].rows, mine["diversity"].rows) == (2, 1, 0)
    assert value(document, "none", "hit_rate") == 0
    assert value(document, "none", "coverage") == 0
    for metric in ("novelty", "diversity", "popularity_bias", "gini"):
        assert value(document, "none", metric) is None


def test_the_order_of_equal_gains_does_not_matter() -> None:
    truth = truth_of([(7, 10, 2.0), (7, 11, 2.0), (7, 12, 1.0)])
    lists = evaluation_of(truth, "a", "b")
    lists.add("a", lists_of({7: [10, 11]}))
    lists.add("b", lists_of({7: [11, 10]}))
    document = lists.document()
    assert value(document, "a", "ndcg") == value(document, "b", "ndcg") == pytest.approx(1.0)


def test_batches_make_the_document_of_one_table() -> None:
    truth = truth_of([(user, 10 + user % 4, 1.0) for user in range(9)])
    whole, parts = evaluation_of(truth, "mine"), evaluation_of(truth, "mine")
    every = {user: [10, 12] if user % 2 else [11] for user in range(8)}
    whole.add("mine", lists_of(every))
    for user in reversed(range(8)):
        parts.add("mine", lists_of({user: every[user]}))
    parts.add("mine", lists_of({}))
    assert whole.document() == parts.document()
    pd.testing.assert_frame_equal(whole.values(), parts.values())


def test_days_are_lists_of_their_own_and_users_are_clusters() -> None:
    truth = truth_of([(7, 10, 1.0, DAY), (7, 11, 1.0, DAY + 7), (8, 10, 1.0, DAY)])
    catalog = catalog_of([[6, 3, 3, 0], [0, 3, 3, 6]], (DAY, DAY + 7))
    lists = evaluation_of(truth, "mine", k=1, catalog=catalog)
    lists.add("mine", lists_of({(7, DAY): [10], (7, DAY + 7): [10], (8, DAY): [13]}))
    document, values = lists.document(), lists.values()
    assert (document.everyone.lists, document.everyone.users, document.starts) == (3, 2, (DAY, DAY + 7))
    assert value(document, "mine", "recall") == pytest.approx(1 / 3)
    assert values[CLUSTER].tolist() == [0, 0, 1]
    assert values[START].tolist() == [0, 1, 0]
    assert values[CLUSTER].dtype == values[START].dtype == np.int32
    np.testing.assert_allclose(values["mine.popularity_bias"], [3.5 / 4, 0.5 / 4, 0.5 / 4])
    np.testing.assert_allclose(values["mine.novelty"], -np.log2([7 / 16, 1 / 16, 1 / 16]), rtol=1e-6)


def test_cold_users_warm_users_and_cold_items_are_slices() -> None:
    truth = truth_of([(7, 10, 1.0), (7, 13, 1.0), (8, 11, 1.0), (8, 99, 1.0), (9, 10, 1.0)])
    history = pd.DataFrame({columns.USER: [7, 9], columns.DAY: DAY, POSITIVES: [5, 4]})
    lists = evaluation_of(truth, "mine", history=history)
    lists.add("mine", lists_of({7: [13, 12], 8: [11], 9: [12]}))
    slices = lists.document().slices
    assert {name: (part.lists, part.rankers["mine"].metrics["recall"].value) for name, part in slices.items()} == {
        "cold_users": (2, pytest.approx(1 / 4)),
        "warm_users": (1, pytest.approx(1 / 2)),
        "cold_items": (2, pytest.approx(1 / 2)),  # 13 without history; 99, which the catalog lacks
    }
    assert slices["cold_items"].rankers["mine"].metrics["hit_rate"].value == pytest.approx(1 / 2)
    assert value(lists.document(), "mine", "recall") == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)


def test_without_users_everything_is_null() -> None:
    document = evaluation_of(truth_of([]), "mine", "popularity", history=lists_of({}).assign(positives=0)).document()
    assert document.everyone.lists == document.everyone.users == 0
    assert document.unreachable is None
    for part in (document.everyone, *document.slices.values()):
        for measures in part.rankers.values():
            assert {estimate.value for estimate in measures.metrics.values()} == {None}
    to_json(document.model_dump(mode="json"))


def test_one_user_has_an_interval_without_width_and_none_of_coverage() -> None:
    lists = evaluation_of(truth_of([(7, 10, 1.0)]), "mine")
    lists.add("mine", lists_of({7: [11, 10]}))
    for metric, found in lists.document().everyone.rankers["mine"].metrics.items():
        expected = None if metric in EXPOSURE else pytest.approx(found.value)
        assert (found.low, found.high) == (expected, expected), metric


def random_lists(seed: int, users: int = 30) -> tuple[pd.DataFrame, dict[str, dict[int, list[int]]]]:
    rng = np.random.default_rng(seed)
    truth = truth_of(
        [
            (user, int(item), float(rng.integers(1, 4)))
            for user in range(users)
            for item in rng.choice([*ITEMS, 99], rng.integers(1, 6), replace=False)
        ]
    )
    made = {
        name: {
            user: [int(item) for item in rng.choice(ITEMS, rng.integers(0, 4), replace=False)] for user in range(users)
        }
        for name in ("mine", "popularity")
    }
    return truth, made


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_each_list_has_the_values_that_a_loop_finds(seed: int) -> None:
    truth, made = random_lists(seed, users=6)
    lists = evaluation_of(truth, "mine", k=3)
    lists.add("mine", lists_of(made["mine"]))
    values = lists.values()
    percentile = dict(zip(ITEMS, np.array([3.5, 2.0, 2.0, 0.5]) / 4, strict=True))
    vectors = dict(zip(ITEMS, VECTORS.astype(float), strict=True))
    discount = 1 / np.log2(np.arange(2, 5))
    for user, items in made["mine"].items():
        gains = dict(truth.loc[truth[columns.USER] == user, [columns.ITEM, GAIN]].itertuples(index=False))
        best = sorted(gains.values(), reverse=True)[:3]
        gained = sum(discount[place] * gains.get(item, 0.0) for place, item in enumerate(items))
        found = values.iloc[user]
        assert found["mine.ndcg"] == pytest.approx(gained / (discount[: len(best)] @ best), rel=1e-6)
        assert found["mine.recall"] == pytest.approx(len(gains.keys() & set(items)) / len(gains), rel=1e-6)
        cosines = [
            vectors[a] @ vectors[b] / (np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b]))
            for a, b in combinations([item for item in items if vectors[item].any()], 2)
        ]
        expected = {
            "mine.diversity": 1 - np.mean(cosines) if cosines else np.nan,
            "mine.popularity_bias": np.mean([percentile[item] for item in items]) if items else np.nan,
        }
        for name, number in expected.items():
            assert found[name] == pytest.approx(number, rel=1e-6, abs=1e-6, nan_ok=True)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_binary_gains_give_the_list_metrics(seed: int) -> None:
    truth, made = random_lists(seed, users=6)
    lists = evaluation_of(truth.assign(**{GAIN: 1.0}), "mine", k=3)
    lists.add("mine", lists_of(made["mine"]))
    pairs = set(truth[[columns.USER, columns.ITEM]].itertuples(index=False, name=None))
    hits = np.zeros((6, 3), dtype=bool)
    for user, items in made["mine"].items():
        hits[user, : len(items)] = [(user, item) in pairs for item in items]
    count = truth.groupby(columns.USER).size().to_numpy()
    document = lists.document()
    for metric, values in list_metrics(hits, count).items():
        assert value(document, "mine", metric) == pytest.approx(values.mean(), rel=1e-12)


def test_differences_are_paired_signed_and_those_of_the_frame() -> None:
    truth, made = random_lists(3)
    lists = evaluation_of(truth, "mine", "popularity", k=3)
    for name, table in made.items():
        lists.add(name, lists_of(table))
    document, values = lists.document(), lists.values()
    versus = document.everyone.rankers["mine"].versus
    assert list(versus) == ["popularity"]
    assert document.everyone.rankers["popularity"].versus == {}
    for metric in metrics_of("lists"):
        mine, other = value(document, "mine", metric), value(document, "popularity", metric)
        assert mine is not None
        assert other is not None
        assert versus["popularity"][metric].value == pytest.approx(CATALOG[metric].better * (mine - other))
    for metric in (*RELEVANCE, *BEYOND_RELEVANCE):
        found = paired(values, metric, "mine", "popularity", confidence=0.95, replicates=200, seed=7)
        expected = versus["popularity"][metric]
        assert found == pytest.approx((expected.value, expected.low, expected.high), abs=1e-6)
        same = paired(values, metric, "mine", "mine", confidence=0.95, replicates=200, seed=7)
        assert same == pytest.approx((0.0, 0.0, 0.0))


def test_a_wider_confidence_has_a_wider_interval() -> None:
    truth, made = random_lists(4)
    lists = evaluation_of(truth, "mine", "popularity", k=3)
    for name, table in made.items():
        lists.add(name, lists_of(table))
    wide, narrow = (
        paired(lists.values(), "ndcg", "mine", "popularity", confidence=level, replicates=300, seed=1)
        for level in (0.99, 0.8)
    )
    assert wide[0] == narrow[0]
    assert None not in (*wide, *narrow)
    assert wide[1] < narrow[1] < narrow[2] < wide[2]  # type: ignore[operator]


def test_intervals_of_coverage_and_gini_hold_their_mean_over_samples_of_users() -> None:
    popularity, users, trials = 1 / np.arange(1, 101), 60, 60
    items, rng = np.arange(100), np.random.default_rng(0)
    catalog = ItemCatalog(items, np.array([DAY]), np.ones((1, 100), dtype=np.int64))
    found: dict[str, list[tuple[float, float, float]]] = {metric: [] for metric in EXPOSURE}
    for trial in range(trials):
        chosen = np.argsort(-(np.log(popularity) + rng.gumbel(size=(users, 100))), axis=1)[:, :3]
        settings = ListSettings(k=3, seed=trial, replicates=100)
        lists = ListEvaluation(truth_of([(user, 0, 1.0) for user in range(users)]), catalog, ("mine",), settings)
        lists.add("mine", lists_of({user: list(chosen[user]) for user in range(users)}))
        metrics = lists.document().everyone.rankers["mine"].metrics
        for metric in EXPOSURE:
            value, low, high = (getattr(metrics[metric], end) for end in ("value", "low", "high"))
            found[metric].append((value, low, high))
    for estimates in found.values():
        values, low, high = np.array(estimates).T
        assert 0.85 <= np.mean((low <= values.mean()) & (values.mean() <= high)) <= 1.0
        assert (high - low).mean() < 8 * values.std()  # 4 would be exact


def test_a_constant_shift_of_every_list_has_no_spread() -> None:
    truth = truth_of([(user, 10, 1.0) for user in range(20)])
    lists = evaluation_of(truth, "mine", "als")
    lists.add("mine", lists_of({user: [10] for user in range(20)}))
    lists.add("als", lists_of({user: [11, 10] for user in range(20)}))
    found = lists.document().everyone.rankers["mine"].versus["als"]["mrr"]
    assert (found.value, found.low, found.high, found.rows) == (0.5, 0.5, 0.5, 20)


def test_history_counts_what_lies_before_each_start() -> None:
    events = pd.DataFrame({columns.ITEM: [10, 10, 11, 99, 13], columns.DAY: [1, 5, 5, 1, 9]})
    catalog = ItemCatalog.of(events, ITEMS, (5, 9))
    assert catalog.counts.tolist() == [[1, 0, 0, 0], [2, 1, 0, 0]]
    assert catalog.directions is None


def test_without_vectors_diversity_is_left_out() -> None:
    catalog = ItemCatalog(ITEMS, np.array([DAY]), np.ones((1, 4), dtype=np.int64))
    lists = evaluation_of(truth_of([(7, 10, 1.0)]), "mine", catalog=catalog)
    assert set(metrics_of("lists")) - set(lists.document().everyone.rankers["mine"].metrics) == {"diversity"}


@pytest.mark.parametrize(
    ("name", "lists", "message"),
    [
        ("mime", {7: [10]}, "unknown ranker 'mime', did you mean 'mine'"),
        ("mine", {9: [10]}, "1 of 1 of a user and day without truth"),
        ("mine", {7: [99]}, "1 of 1 with an item that the catalog lacks"),
        ("mine", {7: [10, 11, 12]}, r"1 of 3 with a rank that is not in 1\.\.2"),
        ("mine", {7: [10, 10]}, "1 of 1 with an item twice"),
    ],
)
def test_a_wrong_list_is_refused(name: str, lists: dict[int, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation_of(truth_of([(7, 10, 1.0)]), "mine").add(name, lists_of(lists))


def test_a_list_that_was_added_is_not_added_again() -> None:
    lists = evaluation_of(truth_of([(7, 10, 1.0)]), "mine")
    lists.add("mine", lists_of({7: [10]}))
    with pytest.raises(ValueError, match="1 of 1 with a rank given before"):
        lists.add("mine", lists_of({7: [11]}))
    repeated = pd.concat([lists_of({7: [10]})] * 2)
    with pytest.raises(ValueError, match="1 of 2 with a rank given before"):
        evaluation_of(truth_of([(7, 10, 1.0)]), "mine").add("mine", repeated)


def test_candidates_are_counted_against_the_truth() -> None:
    lists = evaluation_of(truth_of([(7, 10, 1.0), (7, 99, 1.0), (8, 11, 1.0), (8, 12, 1.0)]), "mine")
    assert lists.document().candidate_recall is None
    lists.add_candidates(lists_of({7: [10, 11, 13]}))
    lists.add_candidates(lists_of({8: [12]}))
    document = lists.document()
    assert document.candidate_recall == pytest.approx(2 / 4)
    assert document.candidates_per_list == pytest.approx(4 / 2)
    with pytest.raises(ValueError, match="1 of 1 of a user and day without truth"):
        lists.add_candidates(lists_of({9: [12]}))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        ListSettings(k=0, seed=1)
    with pytest.raises(ValueError, match="mine, mine: a name is given twice"):
        evaluation_of(truth_of([(7, 10, 1.0)]), "mine", "mine")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(7, 10, 0.0)], "1 gains, such as 0, are not above 0"),
        ([(7, 10, float("nan"))], "1 gains, such as nan"),
        ([(7, 10, 1.0), (7, 10, 2.0)], "1 rows repeat a user, day and item"),
        ([(7, 10, 1.0, DAY + 1)], "day 101 is not a start day of the catalog .known: 100."),
    ],
)
def test_a_wrong_truth_is_refused(rows: list[tuple[Any, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation_of(truth_of(rows), "mine")


def test_the_day_may_be_left_out_where_there_is_one_start() -> None:
    truth = truth_of([(7, 10, 1.0)]).drop(columns=columns.DAY)
    lists = evaluation_of(truth, "mine")
    lists.add("mine", lists_of({7: [10]}).drop(columns=columns.DAY))
    assert value(lists.document(), "mine", "recall") == 1
    with pytest.raises(ValueError, match="the column 'day' is missing, which tells the 2 start days apart"):
        evaluation_of(truth, "mine", catalog=catalog_of(starts=(DAY, DAY + 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": np.ones((2, 4))}, r"have shape \(2, 4\), expected \(1, 4\)"),
        ({"items": np.array([1, 1, 2, 3])}, "3 different ones in 4"),
        ({"starts": np.array([], dtype=np.int64), "counts": np.ones((0, 4))}, "give at least one"),
        ({"counts": np.array([[1, 2, -3, 4]])}, "go down to -3"),
        ({"vectors": np.full((4, 2), np.nan)}, "expected 4 rows of finite numbers"),
    ],
)
def test_a_wrong_catalog_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"items": ITEMS, "starts": np.array([DAY]), "counts": np.ones((1, 4)), "vectors": None, **changes}
    with pytest.raises(ValueError, match=message):
        ItemCatalog(**given)


def test_a_repeated_history_is_refused() -> None:
    history = pd.DataFrame({columns.USER: [7, 7], columns.DAY: DAY, POSITIVES: 1})
    with pytest.raises(ValueError, match="1 rows of a user and day given before"):
        evaluation_of(truth_of([(7, 10, 1.0)]), "mine", history=history)


def test_an_unknown_column_of_the_values_is_refused() -> None:
    values = evaluation_of(truth_of([(7, 10, 1.0)]), "mine").values()
    assert value_column("mine", "ndcg") in values
    with pytest.raises(ValueError, match=r"lack 'mime\.ndcg', did you mean 'mine\.ndcg'"):
        paired(values, "ndcg", "mine", "mime", confidence=0.95, replicates=10, seed=1)
