"""Two towers learn what goes together, also for items they never met, and are stored without loss."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from scipy import sparse

from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.models.deep import two_tower_training
from mtl_tasks.models.deep.two_tower import FILE, LAST, WEIGHTS, Described, TwoTower
from mtl_tasks.models.deep.two_tower_training import TowerData, check_installed, fit_two_tower, known_columns
from mtl_tasks.store.codecs import pack_arrays

KINDS, ITEMS, USERS, ROWS = 3, 30, 40, 600


def world(seed: int = 0, *, text_ids: bool = False) -> TowerData:
    """Draw users who take items of one kind only; the last kind's items 27 to 29 are never taken."""
    rng = np.random.default_rng(seed)
    users = rng.integers(USERS, size=ROWS)
    items = users % KINDS + KINDS * rng.integers((ITEMS - 3) // KINDS, size=ROWS)
    history = np.full((ROWS, LAST), -1)
    history[:, :4] = (users % KINDS)[:, None] + KINDS * rng.integers((ITEMS - 3) // KINDS, size=(ROWS, 4))
    history[::10] = -1
    kinds = sparse.csr_matrix((np.ones(ITEMS, dtype=np.float32), (np.arange(ITEMS), np.arange(ITEMS) % KINDS)))
    years = sparse.csr_matrix(np.linspace(1, 2, ITEMS, dtype=np.float32)[:, None] * 1000)
    about = Described(
        ["value:kind=a", "value:kind=b", "value:kind=c", "number:year"], sparse.hstack([kinds, years]).tocsr()
    )
    ids = np.array([f"i{n:02}" for n in range(ITEMS)]) if text_ids else np.arange(100, 100 + ITEMS)
    return TowerData(
        ids, users, items, history, about, Described([], sparse.csr_matrix((USERS, 0), dtype=np.float32)), 50
    )


@pytest.fixture(scope="module")
def fitted() -> TwoTower:
    return fit_two_tower(world(), 8, 60, 0.02, 7)


def scores_of(model: TwoTower, data: TowerData, last: list[list[int]]) -> np.ndarray:
    """Return the products of users with these last items and all items."""
    inputs = model.item_inputs(data.item_ids, data.about_items)
    history = np.zeros((len(last), ITEMS), dtype=np.float32)
    for row, items in enumerate(last):
        history[row, items] = 1 / max(len(items), 1)
    about = Described([], sparse.csr_matrix((len(last), 0), dtype=np.float32))
    return model.user_vectors(sparse.csr_matrix(history), inputs, about) @ model.item_vectors(inputs).T


def test_users_are_near_the_kind_of_items_they_took_and_new_items_too(fitted: TwoTower) -> None:
    data = world()
    scores = scores_of(fitted, data, [[kind, kind + 3] for kind in range(KINDS)])
    for kind in range(KINDS):
        best = np.argsort(-scores[kind])[: ITEMS // KINDS]
        assert set((best % KINDS).tolist()) == {kind}
        assert 27 + kind in best  # never taken
    assert fitted.document.losses[-1] < fitted.document.losses[0]


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second, other = (fit_two_tower(world(), 4, 2, 0.01, seed).files() for seed in (1, 1, 2))
    assert first == second
    assert first[WEIGHTS] != other[WEIGHTS]


def test_a_user_s_vector_does_not_depend_on_the_batch(fitted: TwoTower) -> None:
    data, rng = world(), np.random.default_rng(5)
    inputs = fitted.item_inputs(data.item_ids, data.about_items)
    history = sparse.csr_matrix(rng.random((64, ITEMS), dtype=np.float32))
    about = Described([], sparse.csr_matrix((64, 0), dtype=np.float32))
    together = fitted.user_vectors(history, inputs, about)
    for row in (0, 63):
        alone = fitted.user_vectors(history[[row]], inputs, Described([], about.values[[row]]))
        assert alone.tobytes() == together[[row]].tobytes()


def test_scores_with_numpy_are_those_of_the_loss_that_jax_minimizes(fitted: TwoTower) -> None:
    import jax

    data = world()
    batches = two_tower_training._Batches.of(data, np.unique(data.items), fitted.items, fitted.users)
    batch = next(iter(batches.draw(np.random.default_rng(1))))
    batch["target"] = batch["same"]  # no dropout
    with jax.default_device(jax.devices("cpu")[0]):
        loss = float(two_tower_training._loss(fitted.params, batch))
    inputs = fitted.item_inputs(data.item_ids, data.about_items)
    row = {number: code for code, number in enumerate(fitted.rows_of(data.item_ids).tolist()) if number}
    weights = sparse.lil_matrix((len(batch["same"]), ITEMS), dtype=np.float32)
    for place in range(len(batch["same"])):
        for number, weight in zip(batch["history"][place], batch["weight"][place], strict=True):
            if weight:
                weights[place, row[int(number)]] += weight
    about = Described([], sparse.csr_matrix((len(batch["same"]), 0), dtype=np.float32))
    users = fitted.user_vectors(weights.tocsr(), inputs, about)
    items = fitted.item_vectors(inputs[[row[int(number)] for number in batch["same"]]])
    logits = users @ items.T / two_tower_training.TEMPERATURE - batch["log_q"]
    logits[(batch["same"][:, None] == batch["same"]) & ~np.eye(len(logits), dtype=bool)] = -np.inf
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    assert loss == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("text_ids", [False, True])
def test_a_model_is_stored_without_loss(text_ids: bool) -> None:
    data = world(text_ids=text_ids)
    model = fit_two_tower(data, 4, 1, 0.01, 7)
    loaded = TwoTower.load(model.files())
    assert loaded.files() == model.files()
    assert np.array_equal(scores_of(loaded, data, [[1], []]), scores_of(model, data, [[1], []]))


def test_a_damaged_model_is_refused(fitted: TwoTower) -> None:
    files = fitted.files()
    with pytest.raises(ArtifactError, match=r"two_tower: two_tower\.npz is missing"):
        TwoTower.load({FILE: files[FILE]})
    document = json.loads(files[FILE])
    document["dimensions"] = 9
    with pytest.raises(ArtifactError, match=r"'item\.ids' is float32 of shape \(28, 8\), expected .* \(28, 9\)"):
        TwoTower.load({**files, FILE: json.dumps(document).encode()})
    with pytest.raises(ArtifactError, match=r"two_tower\.npz: holds arrays"):
        TwoTower.load({**files, WEIGHTS: pack_arrays({"item_ids": np.arange(3)})})


@pytest.mark.parametrize("name", ["item.hidden", "items.spread"])
def test_a_model_with_a_number_that_is_not_finite_or_too_wide_is_refused(fitted: TwoTower, name: str) -> None:
    arrays = {"item_ids": fitted.item_ids, **fitted.params}
    for side, columns in (("items", fitted.items), ("users", fitted.users)):
        arrays |= {f"{side}.center": columns.center, f"{side}.spread": columns.spread}
    infinite = arrays[name].copy()
    infinite.flat[0] = np.inf
    for wrong in (infinite, arrays[name].astype(np.float64)):
        files = {**fitted.files(), WEIGHTS: pack_arrays({**arrays, name: wrong})}
        with pytest.raises(ArtifactError, match=rf"{name!r} is float.*, expected finite float32"):
            TwoTower.load(files)


def test_parameters_that_the_last_step_spoiled_are_refused() -> None:
    params = {"item.ids": np.zeros(3, dtype=np.float32), "item.out": np.array([0, np.nan], dtype=np.float32)}
    with pytest.raises(ConfigError, match=r"recommend\.two_tower: 'item\.out' is not finite after training: lower"):
        two_tower_training._checked(params)


def test_numbers_are_standardized_and_values_kept(fitted: TwoTower) -> None:
    data = world()
    columns = known_columns(data.about_items, np.arange(ITEMS))
    values = columns.of(data.about_items).toarray()
    year = columns.labels.index("number:year")
    assert values[:, year].mean() == pytest.approx(0, abs=1e-5)
    assert values[:, year].std() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(np.delete(values, year, axis=1).sum(axis=1), np.ones(ITEMS))
    unknown = Described(["value:kind=z"], sparse.csr_matrix(np.ones((2, 1), dtype=np.float32)))
    assert columns.of(unknown).nnz == 0


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.two_tower: the loss of epoch \d+ is not finite: lower"):
        fit_two_tower(world(), 4, 3, 1e30, 7)


def test_without_jax_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r'recommend\.sources\.two_tower: .* make install EXTRAS="deep", or set'):
        check_installed()
