from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.core.arrays import drawn_by_ids, largest_of_rows, row_products, stable_argsort, top_n_mask

WHOLE = st.integers(-(1 << 20), 1 << 20)


@given(st.lists(st.tuples(WHOLE, st.integers(0, 3), st.integers(-1, 1)), max_size=60))
def test_rows_are_ordered_as_lexsort_orders_them(rows: list[tuple[int, int, int]]) -> None:
    keys = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(3)]
    assert stable_argsort(*keys).tolist() == np.lexsort(keys[::-1]).tolist()


@pytest.mark.parametrize("largest", [1 << 20, 1 << 40, (1 << 62) - 1])  # the last two do not fit into one number
def test_keys_that_do_not_fit_into_one_number_are_ordered_all_the_same(largest: int) -> None:
    rng = np.random.default_rng(0)
    keys = [rng.choice([-largest, 0, largest], 200), rng.choice([-largest, 5, largest], 200)]
    assert stable_argsort(*keys).tolist() == np.lexsort(keys[::-1]).tolist()


def test_narrow_types_are_ordered_without_overflow() -> None:
    keys = [np.array([127, -128, 127, -128], dtype=np.int8), np.array([3, 2, 1, 2], dtype=np.uint16)]
    assert stable_argsort(*keys).tolist() == [1, 3, 2, 0]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 0.5, np.nan])), max_size=40), st.integers(1, 5)
)
def test_among_the_largest_are_those_that_reach_the_last_of_them(rows: list[tuple[int, float]], count: int) -> None:
    rows.sort(key=lambda row: row[0])
    groups, values = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=np.float64)
    known = np.where(np.isnan(values), -np.inf, values)
    expected = []
    for group, value in zip(groups, known, strict=True):
        mine = np.sort(known[groups == group])[::-1]
        expected.append(bool(value >= mine[min(count, len(mine)) - 1]))
    assert top_n_mask(groups, values, count).tolist() == expected


@given(st.integers(0, 4), st.integers(1, 120), st.integers(1, 6), st.integers(0, 1000))
def test_the_largest_of_a_row_are_positive_and_of_equal_ones_the_first(
    rows: int, columns: int, count: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).choice([-1, 0, 0.25, 0.5, 1], (rows, columns)).astype(np.float32)
    found = largest_of_rows(scores, count)
    expected = []
    for row in range(rows):
        best = np.argsort(-scores[row], kind="stable")[:count]
        expected += [(row, int(column)) for column in np.sort(best) if scores[row, column] > 0]
    assert list(zip(*(positions.tolist() for positions in found), strict=True)) == expected


@pytest.mark.parametrize("columns", [1, 5, 126, 187])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_rows_product_does_not_depend_on_the_other_rows(columns: int, order: Literal["C", "F"]) -> None:
    rng = np.random.default_rng(columns)
    matrix, weights = rng.normal(size=(3000, columns)), rng.normal(size=columns)
    whole = row_products(matrix, weights)
    np.testing.assert_allclose(whole, matrix @ weights, rtol=1e-9, atol=1e-9)
    for count in (1, 2, 7, 500):
        chosen = np.sort(rng.choice(len(matrix), count, replace=False))
        np.testing.assert_array_equal(row_products(np.asarray(matrix[chosen], order=order), weights), whole[chosen])


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 9)), max_size=30), st.integers(0, 9))
def test_a_number_drawn_by_ids_depends_on_nothing_else(rows: list[tuple[int, int]], seed: int) -> None:
    users, items = (np.array([row[place] for row in rows], dtype=np.int64) for place in range(2))
    drawn = drawn_by_ids((seed,), users, items)
    assert ((drawn >= 0) & (drawn < 1)).all()
    alone = [drawn_by_ids((seed,), users[[at]], items[[at]]).item() for at in range(len(rows))]
    assert drawn.tolist() == alone


def test_numbers_drawn_by_ids_are_evenly_spread_and_differ_by_seed() -> None:
    ids, same = np.arange(1, 10_001), np.zeros(10_000, dtype=np.int64)
    drawn = drawn_by_ids((1, 2), same, ids)
    assert abs(np.histogram(drawn, 10, (0, 1))[0] - 1000).max() < 150
    assert not (drawn == drawn_by_ids((1, 3), same, ids)).any()
    assert not (drawn == drawn_by_ids((1, 2), ids, same)).any()
    texts = ids.astype(str).astype(object)
    assert abs(np.histogram(drawn_by_ids((1,), texts), 10, (0, 1))[0] - 1000).max() < 150
