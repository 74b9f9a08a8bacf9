"""Each source offers the right items of a log that is small enough to say which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.features.attribute_values import KnownValues, MultiValued, Versions
from mtl_tasks.features.interactions import Codes, IndexedInteractions
from mtl_tasks.recommend.sources import Ease, ItemNeighbors, NewItems, Pairs, PastPositives, Repeats, Source
from mtl_tasks.recommend.sources.attributes import Described
from mtl_tasks.recommend.sources.ease import ease_weights
from mtl_tasks.recommend.sources.item_item import cosine_neighbors
from mtl_tasks.recommend.sources.new_items import first_seen_since

DAY = 1_000


def interactions(rows: list[tuple[int, int, int]], users: int, items: int) -> IndexedInteractions:
    """Return positive interactions (user, item, day)."""
    user, item, day = np.array(sorted(rows, key=lambda row: (row[2], row[0])), dtype=np.int64).reshape(-1, 3).T.copy()
    return IndexedInteractions(np.arange(users), np.arange(items), user, item, day, day, {})


def offered(source: Source, past: PastPositives, users: list[int]) -> list[tuple[int, int]]:
    codes: Codes = np.array(users, dtype=np.int64)
    owner, item = ordered(source.top(codes, past.matrix()[codes]))
    return list(zip(owner.tolist(), item.tolist(), strict=True))


def ordered(pairs: Pairs) -> Pairs:
    order = np.lexsort(pairs[::-1])
    return pairs[0][order], pairs[1][order]


def random_past(users: int = 60, items: int = 25, count: int = 300) -> PastPositives:
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.integers(users, size=count), rng.integers(items, size=count), np.full(count, DAY - 1)])
    return PastPositives(interactions([tuple(row) for row in rows.tolist()], users, items), DAY)


def test_neighbors_share_users_and_a_repeated_pair_counts_once() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 0, 1), (2, 2, 1), (2, 2, 2), (2, 2, 3), (3, 0, 1)]
    past = PastPositives(interactions(rows, 4, 10), DAY)
    assert offered(ItemNeighbors(past, 1, 1), past, [3]) == [(0, 1)]  # two users in common against one
    assert offered(ItemNeighbors(past, 2, 1), past, [2, 3]) == [(0, 1), (1, 1), (1, 2)]


def test_similarities_are_cosines() -> None:
    positives = random_past().matrix()
    positives.data[:] = 1.0
    dense = positives.toarray().astype(np.float64)
    length = np.sqrt((dense**2).sum(axis=0))
    cosines = dense.T @ dense / np.outer(length, length)
    np.testing.assert_allclose(cosine_neighbors(positives, 25, 1).toarray(), cosines, rtol=1e-5)


def test_neighbors_do_not_depend_on_the_number_of_threads() -> None:
    positives = random_past().matrix()
    one, two = (cosine_neighbors(positives, 5, threads) for threads in (1, 2))
    assert np.array_equal(one.toarray(), two.toarray())


def test_ease_solves_the_ridge_regression_of_each_item_on_the_others() -> None:
    positives = random_past().matrix()
    positives.data[:] = 1.0
    dense = positives.toarray().astype(np.float64)
    weights = ease_weights(positives, 3.0)
    assert not np.diag(weights).any()
    for item in range(dense.shape[1]):
        others = np.delete(dense, item, axis=1)
        direct = np.linalg.solve(others.T @ others + 3.0 * np.eye(others.shape[1]), others.T @ dense[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), direct, atol=1e-6)


def test_ease_leaves_out_old_interactions_and_seen_items() -> None:
    rows = [(0, 0, DAY - 1), (0, 1, DAY - 1), (1, 0, DAY - 1), (1, 1, DAY - 1), (2, 0, DAY - 1)]
    old = [(0, 2, DAY - 366), (2, 3, DAY - 366)]
    past = PastPositives(interactions(rows + old, 3, 4), DAY)
    assert offered(Ease(past, 4), past, [0, 2]) == [(1, 1)]


def test_ease_of_too_many_items_is_refused_with_the_limit() -> None:
    past = random_past()
    message = r"recommend.sources.ease: 25 items .*365 days before 1972-09-27.* at most 24 items: set recommend.sources"
    with pytest.raises(ConfigError, match=message):
        Ease(past, 5, most=24)


@pytest.mark.parametrize("kind", ["ease", "item_item", "new_items", "repeats"])
def test_without_interactions_nothing_is_offered(kind: str) -> None:
    events = interactions([], 3, 0)
    past = PastPositives(events, DAY)
    sources: dict[str, Source] = {
        "ease": Ease(past, 5),
        "item_item": ItemNeighbors(past, 5, 1),
        "new_items": NewItems([], events, past, 5),
        "repeats": Repeats(past, 5),
    }
    assert offered(sources[kind], past, [0, 1]) == []


def test_new_items_are_those_whose_first_interaction_is_late() -> None:
    events = interactions([(0, 0, 5), (0, 0, 9), (1, 1, 9), (0, 2, 10)], 2, 4)
    assert first_seen_since(events, 9).tolist() == [1, 2]


def genres(texts: list[str]) -> KnownValues:
    """Return an attribute with one text per item, valid on every day."""
    nothing = np.zeros(0, dtype=np.int64)
    versions = Versions(nothing, nothing, 1, len(texts), np.arange(len(texts)))
    return KnownValues(MultiValued.parse("genres", pd.Series(texts)), versions)


def test_new_items_match_the_attributes_of_the_user_and_else_follow_their_first_days() -> None:
    before = [(0, 0, DAY - 50), (1, 1, DAY - 50)]
    new = [(3, 2, DAY - 2), (3, 3, DAY - 2), (4, 3, DAY - 1), (4, 4, DAY - 1)]
    events = interactions(before + new, 5, 5)
    past = PastPositives(events, DAY)
    described = genres(["War", "Drama", "War", "Drama", "Drama"])
    assert offered(NewItems([described], events, past, 1), past, [0, 1, 2]) == [(0, 2), (1, 3), (2, 3)]
    assert offered(NewItems([], events, past, 1), past, [0, 1, 2]) == [(0, 3), (1, 3), (2, 3)]
    assert offered(NewItems([described], events, past, 5), past, [3]) == [(0, 4)]  # the others are seen or old


def test_a_new_item_without_a_positive_interaction_can_be_offered() -> None:
    shown = interactions([(0, 0, DAY - 50), (1, 1, DAY - 1)], 2, 2)
    positives = interactions([(0, 0, DAY - 50)], 2, 2)
    past = PastPositives(positives, DAY)
    assert offered(NewItems([genres(["War", "War"])], shown, past, 3), past, [0]) == [(0, 1)]


def test_a_match_is_the_share_of_the_users_items_with_the_values() -> None:
    past = PastPositives(interactions([(0, 0, 1), (0, 1, 1), (0, 2, 1)], 1, 3), DAY)
    described = Described.of(genres(["War|Drama", "War", "Comedy"]), past)
    match = described.match(past.matrix(), np.array([0, 1, 2]))
    np.testing.assert_allclose(match, [[1.0, 2 / 3, 1 / 3]], rtol=1e-6)


def test_repeats_are_ordered_by_recency_and_frequency() -> None:
    rows = [(0, 0, DAY - 29), (0, 0, DAY - 29), (0, 0, DAY - 29), (0, 1, DAY - 1), (0, 2, DAY - 29), (1, 3, 0)]
    past = PastPositives(interactions(rows, 3, 4), DAY)
    assert [offered(Repeats(past, size), past, [0]) for size in (1, 2, 3)] == [
        [(0, 0)],  # three times, each half as much
        [(0, 0), (0, 1)],
        [(0, 0), (0, 1), (0, 2)],
    ]
    assert offered(Repeats(past, 3), past, [0, 1, 2])[-1] == (1, 3)  # however old


def test_the_matrix_since_a_day_has_the_later_interactions_only() -> None:
    past = PastPositives(interactions([(0, 0, 1), (0, 0, 2), (1, 1, 3)], 2, 2), DAY)
    assert isinstance(past.matrix(), sparse.csr_matrix)
    assert past.matrix().toarray().tolist() == [[2, 0], [0, 1]]
    assert past.matrix(2).toarray().tolist() == [[1, 0], [0, 1]]
    assert past.counts_since(2).tolist() == [1, 1]
