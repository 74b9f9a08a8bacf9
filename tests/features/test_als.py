"""Folding in is the least-squares problem it claims to be, and a space is a history that never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mtl_tasks.core.errors import ConfigError, DeviceError
from mtl_tasks.features.als import (
    ExplicitALS,
    ImplicitALS,
    Interactions,
    ItemFactors,
    Solver,
    extend_item_factors,
    fit_item_factors,
    resolve_device,
)

START, END, REFRESH = 10, 31, 7


def taste(seed: int = 1, threads: int = 1, iterations: int = 3) -> ImplicitALS:
    return ImplicitALS(4, iterations, 2.0, device="cpu", threads=threads, seed=seed)


def level(dimensions: int = 4) -> ExplicitALS:
    return ExplicitALS("rating", dimensions, 3, 2.0, seed=1)


def interactions(rng: np.random.Generator, count: int = 400, value: float | None = None) -> Interactions:
    """Draw interactions of 30 users with 20 items; item ``i`` appears from day ``i`` on."""
    items = rng.integers(0, 20, count)
    days = np.sort(np.maximum(items, rng.integers(0, END, count)).astype(np.int32))
    items = np.minimum(items, days)
    values = rng.standard_normal(count) if value is None else np.full(count, value)
    users = rng.integers(0, 30, count)
    return Interactions(np.arange(100, 130), np.arange(20), users, items, days, values.astype(np.float32))


def until(events: Interactions, day: int) -> Interactions:
    """The same with a vocabulary that knows nothing later."""
    past = events.before(day)
    item_ids, items = np.unique(past.items, return_inverse=True)
    user_ids, users = np.unique(past.users, return_inverse=True)
    return Interactions(events.user_ids[user_ids], events.item_ids[item_ids], users, items, past.days, past.values)


@pytest.mark.parametrize("met", [1, 3, 4, 5, 9])  # fewer than dimensions: the dual system; else the primal
def test_level_fold_is_the_ridge_regression(met: int) -> None:
    rng = np.random.default_rng(met)
    vectors, values = rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal(met).astype(np.float32)
    row = sparse.csr_matrix((values, np.arange(met), [0, met]), shape=(1, 9))
    found = level().fold_in(row, vectors)[0]
    a = vectors[:met].astype(np.float64)
    expected = np.linalg.solve(a.T @ a + 2.0 * np.eye(4), a.T @ values)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_level_fold_does_not_depend_on_the_other_rows() -> None:
    rng = np.random.default_rng(0)
    values = sparse.random(40, 15, density=0.3, random_state=1, format="csr", dtype=np.float32)
    vectors = rng.standard_normal((15, 4)).astype(np.float32)
    together = level().fold_in(values, vectors)
    for row in range(40):
        assert np.array_equal(level().fold_in(values[row], vectors)[0], together[row])


@pytest.mark.parametrize("solver", [taste(), level()], ids=["taste", "level"])
def test_a_row_without_values_folds_to_zeros(solver: Solver) -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    assert not solver.fold_in(sparse.csr_matrix((2, 3), dtype=np.float32), vectors).any()


def test_a_repeated_pair_is_two_observations_of_a_level_and_not_their_sum() -> None:
    users, items, days = (np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int32))
    twice = Interactions(np.array([1]), np.array([1]), users, items, days, np.ones(2, dtype=np.float32))
    vectors = np.array([[1.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    folded = level().fold_in(twice.matrix_of(np.array([0]), np.array([0])), vectors)
    np.testing.assert_allclose(folded[0, 0], 2 / (2 + 2.0))  # a sum would give 2 / (1 + 2)


def test_taste_fold_is_the_regularised_weighted_regression() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((6, 4)).astype(np.float32)
    row = sparse.csr_matrix(np.array([[11.0, 0, 0, 11.0, 0, 0]], dtype=np.float32))
    found = taste().fold_in(row, vectors)[0]
    y = vectors.astype(np.float64)
    confidence = np.diag([11.0, 1, 1, 11.0, 1, 1])
    expected = np.linalg.solve(y.T @ confidence @ y + 2.0 * np.eye(4), y.T @ confidence @ [1, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_taste_fit_gives_the_same_bits_for_the_same_seed_whatever_the_threads() -> None:
    matrix = sparse.random(50, 30, density=0.2, random_state=3, format="csr", dtype=np.float32)
    first, threaded, other = taste(1).fit(matrix), taste(1, threads=2).fit(matrix), taste(2).fit(matrix)
    assert np.array_equal(first, threaded)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32


def test_level_fit_explains_what_has_a_low_rank() -> None:
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 40))
    seen = rng.random(truth.shape) < 0.5
    values = sparse.csr_matrix(np.where(seen, truth, 0).astype(np.float32))
    solver = ExplicitALS("rating", 2, 10, 0.1, seed=1)
    items = solver.fit(values)
    guessed = solver.fold_in(values, items) @ items.T
    assert np.sqrt(np.mean((guessed - truth)[~seen] ** 2)) < 0.3 * truth.std()


def test_a_space_shows_each_item_as_it_was_on_a_day() -> None:
    item_factors = ItemFactors(
        np.array(["a", "b", "b", "c"]),
        np.array([10, 14, 21, 14], dtype=np.int32),
        np.array([[1.0], [2.0], [3.0], [4.0]], dtype=np.float32),
    )
    ids = np.array(["a", "aa", "b", "c"])
    found = {day: tuple(part.ravel().tolist() for part in item_factors.at(day, ids)) for day in (9, 10, 14, 20, 21)}
    assert found == {
        9: ([], []),
        10: ([0], [1.0]),
        14: ([0, 2, 3], [1.0, 2.0, 4.0]),
        20: ([0, 2, 3], [1.0, 2.0, 4.0]),
        21: ([0, 2, 3], [1.0, 3.0, 4.0]),
    }
    assert item_factors.at(21, np.array(["b"]))[1].tolist() == [[3.0]]
    assert item_factors.start == 10
    assert item_factors.fitted().item_ids.tolist() == ["a"]


def solvers() -> list[Any]:
    return [pytest.param(taste(), 11.0, id="taste"), pytest.param(level(), None, id="level")]


@pytest.mark.parametrize(("solver", "value"), solvers())
def test_items_of_history_keep_one_version_and_new_ones_get_theirs_at_refreshes(solver: Solver, value: Any) -> None:
    events = interactions(np.random.default_rng(6), value=value)
    item_factors = fit_item_factors(solver, events, START, END, REFRESH)
    old = np.unique(events.before(START).items)
    assert item_factors.fitted().item_ids.tolist() == old.tolist()
    new = ~np.isin(item_factors.item_ids, old)
    assert set(item_factors.valid_from[new].tolist()) <= {14, 21, 28}
    assert not set(item_factors.item_ids[new]) & set(old)
    assert np.array_equal(
        np.lexsort((item_factors.valid_from, item_factors.item_ids)), np.arange(len(item_factors.item_ids))
    )
    for item, valid_from in zip(item_factors.item_ids[new], item_factors.valid_from[new], strict=True):
        assert events.days[events.items == item].min() < valid_from


@pytest.mark.parametrize(("solver", "value"), solvers())
@pytest.mark.parametrize("day", [12, 14, 20, 28, END])
def test_a_space_extended_from_an_earlier_end_equals_one_fitted_to_it(solver: Solver, value: Any, day: int) -> None:
    events = interactions(np.random.default_rng(7), value=value)
    early = fit_item_factors(solver, until(events, day), START, day, REFRESH)
    extended = extend_item_factors(solver, early.fitted(), events, END, REFRESH)
    whole = fit_item_factors(solver, events, START, END, REFRESH)
    for name in ("item_ids", "valid_from", "vectors"):
        assert np.array_equal(getattr(extended, name), getattr(whole, name)), name


@pytest.mark.parametrize(("solver", "value"), solvers())
@pytest.mark.parametrize("days", [(14,), (20, 28)])
def test_a_space_folded_into_step_by_step_equals_one_folded_into_at_once(
    solver: Solver, value: Any, days: tuple[int, ...]
) -> None:
    events = interactions(np.random.default_rng(7), value=value)
    item_factors, since = (
        fit_item_factors(solver, until(events, days[0]), START, days[0], REFRESH),
        days[0] - days[0] % REFRESH,
    )
    for day in (*days[1:], END):
        item_factors = extend_item_factors(solver, item_factors, until(events, day), day, REFRESH, since)
        since = day - day % REFRESH
    whole = fit_item_factors(solver, events, START, END, REFRESH)
    for name in ("item_ids", "valid_from", "vectors"):
        assert np.array_equal(getattr(item_factors, name), getattr(whole, name)), name


@pytest.mark.parametrize(
    ("warm", "cold", "value"),
    [
        (ImplicitALS(4, 30, 2.0, warm_iterations=1, device="cpu", threads=1, seed=1), taste(iterations=1), 5.0),
        (ExplicitALS("rating", 4, 30, 2.0, warm_iterations=1, seed=1), ExplicitALS("rating", 4, 1, 2.0, seed=1), None),
    ],
    ids=["taste", "level"],
)
def test_an_iteration_from_earlier_factors_gets_nearer_to_the_end_than_one_from_nothing(
    warm: Solver, cold: Solver, value: Any
) -> None:
    events = interactions(np.random.default_rng(9), value=value)
    day = END - 12  # on which the last item is new
    earlier = fit_item_factors(warm, until(events, day), day, day, REFRESH)
    end, near, far = (
        fit_item_factors(solver, events, day + 1, day + 1, REFRESH, start)
        for solver, start in ((warm, None), (warm, earlier), (cold, None))
    )
    assert set(earlier.item_ids) < set(near.item_ids) == set(end.item_ids)  # new items have vectors too
    history = events.before(day + 1)
    matrix = history.matrix_of(np.unique(history.users), np.searchsorted(events.item_ids, end.item_ids))
    scores = [warm.fold_in(matrix, item_factors.vectors) @ item_factors.vectors.T for item_factors in (end, near, far)]
    distance = [float(np.abs(score - scores[0]).mean()) for score in scores]
    assert distance[1] < 0.7 * distance[2]


@pytest.mark.faults(12)
@pytest.mark.parametrize(("solver", "value"), solvers())
@pytest.mark.parametrize("end", [10, 14, 21, 27])
def test_nothing_at_or_after_the_end_is_used(solver: Solver, value: Any, end: int) -> None:
    events = interactions(np.random.default_rng(8), value=value)
    known, unknowing = (fit_item_factors(solver, part, START, end, REFRESH) for part in (events, until(events, end)))
    for name in ("item_ids", "valid_from", "vectors"):
        assert np.array_equal(getattr(known, name), getattr(unknowing, name)), name
    assert known.valid_from.max() <= end


@pytest.mark.faults(18)
@pytest.mark.parametrize(
    ("solver", "value", "message"),
    [
        (taste(iterations=15), 1e30, r"'taste' cannot be computed .*lower factors\.alpha"),
        (
            ExplicitALS("rating", 4, 3, 1e-300, seed=1),
            1.0,
            r"'level:rating' cannot .*raise factors\.rating_regularization",
        ),
        (level(), np.inf, r"'level:rating': 25 of 25 vectors are not finite: raise factors\.rating_regularization"),
    ],
    ids=["huge confidences", "a singular system", "an infinite value"],
)
def test_factors_that_are_not_finite_are_refused_with_the_setting_to_change(
    solver: Solver, value: float, message: str
) -> None:
    events = interactions(np.random.default_rng(6), value=value)
    with pytest.raises(ConfigError, match=f"^factors {message}"), np.errstate(invalid="ignore"):
        fit_item_factors(solver, events, START, END, REFRESH)


@pytest.mark.faults(18)
def test_users_whose_factors_are_not_finite_are_refused_when_they_are_folded_in() -> None:
    positives = sparse.csr_matrix(np.full((3, 80), np.inf, dtype=np.float32))
    vectors = np.random.default_rng(7).random((80, 4), dtype=np.float32)
    with pytest.raises(ConfigError, match=r"^factors 'taste'.* lower factors\.alpha"):
        taste().fold_in(positives, vectors)


@pytest.mark.faults(27)
def test_a_gpu_that_fails_at_work_is_an_error_and_not_a_silent_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import implicit.gpu

    if implicit.gpu.HAS_CUDA:
        pytest.skip("implicit has a GPU here, which does not fail")
    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", True)  # as if it had been there when it was asked for
    solver = ImplicitALS(4, 3, 2.0, device="gpu", threads=1, seed=1)
    with pytest.raises(
        DeviceError, match=r"factors\.device: 'gpu' failed while ALS was fitted \(.*factors\.device to 'cpu'"
    ):
        solver.fit(sparse.csr_matrix(np.eye(6, dtype=np.float32)))


@pytest.mark.faults(27)
def test_a_gpu_that_is_not_there_is_refused_and_auto_falls_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import implicit.gpu

    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", False)  # what implicit finds on a machine without a GPU
    with pytest.raises(ConfigError, match=r"factors\.device: 'gpu' was requested, but implicit finds no CUDA device"):
        resolve_device("gpu")
    assert resolve_device("cpu") == "cpu"
    assert not caplog.records
    assert resolve_device("auto") == "cpu"
    assert "ALS runs on the CPU" in caplog.text


@pytest.mark.faults(28)
def test_factors_fitted_on_a_gpu_order_pairs_as_those_of_the_cpu_do() -> None:
    import implicit.gpu

    if not implicit.gpu.HAS_CUDA:
        pytest.skip("implicit finds no CUDA device")
    rng = np.random.default_rng(5)
    users, items = (rng.standard_normal((count, 4)) for count in (400, 100))
    liked = sparse.csr_matrix((users @ items.T + rng.standard_normal((400, 100)) > 2).astype(np.float32))
    first, again = (ImplicitALS(4, 15, 2.0, device="gpu", threads=1, seed=1) for _ in range(2))
    vectors = first.fit(liked)
    found = [vectors, again.fit(liked, vectors), taste(iterations=15).fit(liked)]
    scores = [taste().fold_in(liked, made) @ made.T for made in found]
    for made in scores[:2]:
        assert np.corrcoef(made.ravel(), scores[2].ravel())[0, 1] > 0.95
