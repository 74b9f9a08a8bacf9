import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.ordering import ordered_by

WHOLE = st.integers(-(1 << 20), 1 << 20)


@given(st.lists(st.tuples(WHOLE, st.integers(0, 3), st.integers(-1, 1)), max_size=60))
def test_rows_are_ordered_as_lexsort_orders_them(rows: list[tuple[int, int, int]]) -> None:
    keys = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(3)]
    assert ordered_by(*keys).tolist() == np.lexsort(keys[::-1]).tolist()


@pytest.mark.parametrize("largest", [1 << 20, 1 << 40, (1 << 62) - 1])  # the last two do not fit into one number
def test_keys_that_do_not_fit_into_one_number_are_ordered_all_the_same(largest: int) -> None:
    rng = np.random.default_rng(0)
    keys = [rng.choice([-largest, 0, largest], 200), rng.choice([-largest, 5, largest], 200)]
    assert ordered_by(*keys).tolist() == np.lexsort(keys[::-1]).tolist()


def test_narrow_types_are_ordered_without_overflow() -> None:
    keys = [np.array([127, -128, 127, -128], dtype=np.int8), np.array([3, 2, 1, 2], dtype=np.uint16)]
    assert ordered_by(*keys).tolist() == [1, 3, 2, 0]
