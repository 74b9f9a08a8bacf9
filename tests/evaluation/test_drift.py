"""A shift is noticed, chance is told from it, and what cannot be compared is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tasks.core.documents import validate
from mtl_tasks.evaluation.drift import BINS, SAMPLED, compare, sample_rows, shift, sketch
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.drift import CategorySketch, Group, Shift, Sketch, Sketches, Variable

ROWS = 2_000


AGE = Variable(group="features", name="age")


def shifted(reference: Sketch, other: Sketch) -> Shift | None:
    return shift(AGE, reference, other)


def stored(own: Sketch) -> Sketch:
    """A sketch that was written and read again."""
    again: Sketch = validate(Sketch, json.loads(to_json(own.to_json())), "distributions.json")
    return again


def psi(reference: Any, other: Any) -> float:
    found = shifted(sketch(reference), sketch(other))
    assert found is not None
    return found.psi


def direct_psi(reference: Any, other: Any) -> float:
    """The index from the rows themselves, on the deciles of the reference."""
    edges = np.quantile(reference, np.arange(1, BINS) / BINS)
    p, q = (np.bincount(np.searchsorted(edges, part), minlength=BINS) / len(part) for part in (reference, other))
    return float(np.sum((q - p) * np.log(q / p)))


def normal(seed: int, mean: float = 0.0, rows: int = ROWS) -> Any:
    return np.random.default_rng(seed).normal(mean, 1.0, rows)


def categorical(*parts: tuple[str | None, int]) -> Any:
    return pd.Series([kind for kind, count in parts for _ in range(count)], dtype="category")


def test_equal_distributions_give_what_chance_alone_gives() -> None:
    found = [shifted(sketch(normal(seed)), sketch(normal(seed + 1000, rows=500))) for seed in range(60)]
    expected = (BINS - 1) * (1 / ROWS + 1 / 500)
    assert {made.noise for made in found if made} == {expected}
    mean = np.mean([made.psi for made in found if made])
    assert mean == pytest.approx(expected, rel=0.2)  # its standard error is 6 %


@pytest.mark.parametrize("mean", [0.1, 0.3, 0.6])
def test_a_sketch_gives_what_the_rows_themselves_give(mean: float) -> None:
    for draw in (lambda values: values, np.exp, lambda values: values.astype(np.float32)):
        reference, other = draw(normal(1, rows=20_000)), draw(normal(2, mean, rows=20_000))
        assert psi(reference, other) == pytest.approx(direct_psi(reference, other), rel=0.03)


def test_values_that_many_rows_share_are_compared_exactly() -> None:
    reference, other = np.repeat([0.0, 1.0], [970, 30]), np.repeat([0.0, 1.0], [940, 60])
    p, q = (np.array([count, 1000 - count]) + 0.5 for count in (970, 940))
    p, q = p / p.sum(), q / q.sum()
    assert psi(reference, other) == pytest.approx(np.sum((q - p) * np.log(q / p)))


@pytest.mark.parametrize("other", [3.5, 2.5])
def test_a_constant_that_becomes_another_one_is_noticed(other: float) -> None:
    constant = np.full(ROWS, 3.0)
    assert psi(constant, constant) == 0
    assert psi(constant, np.full(ROWS, other)) > 1


def test_what_goes_missing_is_noticed_and_what_always_was_is_not() -> None:
    gone = np.full(ROWS, np.nan)
    half = np.where(np.arange(ROWS) % 2 == 0, np.nan, normal(1))
    assert psi(gone, gone) == 0
    assert psi(normal(1), half) > 1
    assert psi(half, half) == 0
    assert psi(gone, normal(1)) > 1
    assert psi(normal(1), np.where(normal(1) > 1, np.inf, normal(1))) > 0.1


def test_new_kinds_and_missing_kinds_are_noticed() -> None:
    before = categorical(("a", 700), ("b", 300))
    assert psi(before, before) == 0
    assert psi(before, categorical(("a", 700), ("c", 300))) > 1
    assert psi(before, categorical(("a", 700), (None, 300))) > 1
    assert psi(before, categorical(("a", 690), ("b", 300), ("c", 10))) < 0.1
    many = categorical(*((f"k{number:03d}", 10) for number in range(200)))
    kept = sketch(many)
    assert isinstance(kept, CategorySketch)
    assert len(kept.counts) < 200
    assert psi(many, many) == 0


def test_the_most_frequent_kinds_are_compared_whatever_they_are_called_and_after_storing_too() -> None:
    rare = [(f"a{number}", 10) for number in range(20)]
    reference, other = categorical(("z", 900), ("y", 100), *rare), categorical(("z", 100), ("y", 900), *rare)
    assert shifted(stored(sketch(reference)), sketch(other)) == shifted(sketch(reference), sketch(other))
    assert psi(reference, other) > 1


def test_no_rows_and_another_type_are_not_compared() -> None:
    assert shifted(sketch(np.empty(0)), sketch(normal(1))) is None
    assert shifted(sketch(normal(1)), sketch(np.empty(0))) is None
    assert shifted(sketch(normal(1)), sketch(categorical(("a", 5)))) is None


@given(st.lists(st.floats(width=32) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=80), st.integers(0, 5))
def test_any_values_can_be_sketched_stored_and_compared(values: list[float], seed: int) -> None:
    column = np.array(values, dtype=np.float32)
    again = stored(sketch(column))
    same = shifted(again, sketch(column))
    assert same is not None
    assert same.psi == 0
    other = shifted(again, sketch(normal(seed, rows=50)))
    assert other is not None
    assert np.isfinite(other.psi)
    assert other.psi >= 0


def test_variables_are_matched_by_name_and_the_others_are_named() -> None:
    reference: dict[Group, Sketches] = {
        "labels": {"rating": sketch(normal(1))},
        "features": {"a": sketch(normal(1)), "b": sketch(normal(1))},
    }
    now: dict[Group, Sketches] = {
        "labels": {"rating": sketch(normal(2)), "click": sketch(normal(2))},
        "features": {"a": sketch(normal(2)), "b": sketch(normal(2, 2.0))},
    }
    made = compare(reference, now)
    assert [(row.group, row.name) for row in made.shifts] == [
        ("labels", "rating"),
        ("features", "b"),
        ("features", "a"),
    ]
    assert made.unmatched == (Variable(group="labels", name="click"),)
    assert [row.name for row in made.of_group("features")] == ["b", "a"]
    assert made.of_group("predictions") == []


def test_few_rows_are_all_taken_and_of_many_the_same_are_drawn_again() -> None:
    assert sample_rows(slice(5, 9), 1).tolist() == [5, 6, 7, 8]
    drawn = sample_rows(slice(100, 100 + 3 * SAMPLED), 1)
    assert len(np.unique(drawn)) == SAMPLED
    assert drawn.min() >= 100
    assert drawn.max() < 100 + 3 * SAMPLED
    assert (np.diff(drawn) > 0).all()
    assert np.array_equal(drawn, sample_rows(slice(100, 100 + 3 * SAMPLED), 1))
