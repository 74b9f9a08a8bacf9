"""Training of two towers: softmax over the items of a batch with the log-Q correction (Yi et al., RecSys 2019)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.core.extras import require_package
from mtl_tasks.models.deep.device import OPTIONS
from mtl_tasks.models.deep.two_tower import LAST, Columns, Described, Floats, Params, TwoTower, shapes
from mtl_tasks.store.documents.towers import TowersDocument

log = logging.getLogger(__name__)

BATCH: Final = 512
COLUMNS: Final = 4096  # most frequent columns of a side that are kept
ID_DROPOUT: Final = 0.3  # share of items trained without their own embedding, so that new items get useful vectors
TEMPERATURE: Final = 0.2  # on the blend window of `movies`, .1 and .3 find less (recall of 100 items .362 against .373)
_DECAYS: Final = (0.9, 0.999)  # of Adam's means
_TINY: Final = 1e-8


@dataclass(frozen=True)
class TowerData:
    """Positive interactions to learn from.

    Attributes
    ----------
    item_ids
        (items,) sorted ids that codes refer to.
    users, items
        int64 (n,) codes of each interaction.
    history
        int64 (n, ``LAST``): the items that its user took before its day, -1 where there are fewer.
    about_items, about_users
        Descriptions of all items and users as known before the day.
    before
        The day; nothing at or after it is known.
    """

    item_ids: NDArray[Any]
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    history: NDArray[np.int64]
    about_items: Described
    about_users: Described
    before: int


def check_installed() -> None:
    """Raise :class:`ConfigError` if JAX is missing."""
    subject = "recommend.sources.two_tower: it is trained with JAX"
    require_package("jax", "deep", subject, "set recommend.sources.two_tower to 0")


def fit_two_tower(data: TowerData, dimensions: int, epochs: int, learning_rate: float, seed: int) -> TwoTower:
    """Train a model; the same data and seed give the same bytes on the same machine.

    Raises
    ------
    ConfigError
        If JAX is missing, or a loss or parameter is not finite.
    """
    check_installed()
    met = np.unique(data.items)
    items, users = known_columns(data.about_items, met), known_columns(data.about_users, np.unique(data.users))
    sizes = shapes(len(met), dimensions, len(items.labels), len(users.labels))
    params, losses = _trained(data, met, (items, users), sizes, epochs, learning_rate, seed)
    document = TowersDocument(
        dimensions=dimensions,
        item_columns=tuple(items.labels),
        user_columns=tuple(users.labels),
        text_ids=data.item_ids.dtype.kind == "U",
        interactions=len(data.items),
        before=data.before,
        losses=tuple(losses),
    )
    return TwoTower(document, data.item_ids[met], items, users, params)


def known_columns(described: Described, rows: NDArray[np.int64]) -> Columns:
    """Return the columns that some of the rows have, at most ``COLUMNS``, with their means and standard deviations.

    A column that is either absent or 1 keeps its values.
    """
    values = described.values[rows].tocsc()
    count = np.diff(values.indptr)
    kept = np.sort(np.argsort(-count, kind="stable")[:COLUMNS])
    kept = kept[count[kept] > 0]
    center, spread = np.zeros(len(kept), dtype=np.float32), np.ones(len(kept), dtype=np.float32)
    for place, column in enumerate(kept):
        own = values.data[values.indptr[column] : values.indptr[column + 1]].astype(np.float64)
        if described.labels[column].startswith("number:"):
            center[place], spread[place] = own.mean(), max(float(own.std()), 1e-6)
    return Columns([described.labels[column] for column in kept], center, spread)


def _trained(
    data: TowerData,
    met: NDArray[np.int64],
    sides: tuple[Columns, Columns],
    sizes: dict[str, tuple[int, ...]],
    epochs: int,
    learning_rate: float,
    seed: int,
) -> tuple[Params, list[float]]:
    import jax

    rng, batches = np.random.default_rng(seed), _Batches.of(data, met, *sides)
    with jax.default_device(jax.devices("cpu")[0]):
        params: Any = {name: _initial(name, shape, rng) for name, shape in sizes.items()}
        zeros = {name: np.zeros_like(part) for name, part in params.items()}
        state, losses = (zeros, zeros, 0.0), []
        step = jax.jit(_step(learning_rate), compiler_options=OPTIONS["cpu"])
        for epoch in range(epochs):
            total, count = 0.0, 0
            for batch in batches.draw(rng):
                params, state, loss = step(params, state, batch)
                total, count = total + float(loss), count + 1
            losses.append(total / count)
            if not np.isfinite(losses[-1]):
                raise ConfigError(
                    f"recommend.two_tower: the loss of epoch {epoch + 1} is not finite: lower learning_rate"
                )
            log.info("two towers: epoch %d, loss %.4f", epoch + 1, losses[-1])
    return _checked({name: np.asarray(part, dtype=np.float32) for name, part in params.items()}), losses


def _checked(params: Params) -> Params:
    """Return the parameters if they are finite; the loss of the last step was computed before it changed them."""
    for name, part in params.items():
        if not np.isfinite(part).all():
            raise ConfigError(f"recommend.two_tower: {name!r} is not finite after training: lower learning_rate")
    return params


@dataclass(frozen=True)
class _Batches:
    """The inputs of each interaction."""

    target: NDArray[np.int32]
    history: NDArray[np.int32]
    item_features: sparse.csr_matrix
    user_features: sparse.csr_matrix
    codes: tuple[NDArray[np.int64], NDArray[np.int64]]
    past: NDArray[np.int64]
    log_q: Floats

    @classmethod
    def of(cls, data: TowerData, met: NDArray[np.int64], items: Columns, users: Columns) -> _Batches:
        row = np.zeros(len(data.item_ids) + 1, dtype=np.int32)  # the last is for no item
        row[met] = np.arange(1, len(met) + 1)
        count = np.bincount(data.items, minlength=len(data.item_ids))
        log_q = np.log(count[data.items] / len(data.items)).astype(np.float32)
        features = items.of(data.about_items), users.of(data.about_users)
        codes = data.items, data.users
        return cls(row[data.items], row[data.history], *features, codes, data.history, log_q)

    def draw(self, rng: np.random.Generator) -> Any:
        """Yield the batches of an epoch; the last, incomplete one is left out unless it is the only one."""
        order = rng.permutation(len(self.target))
        size = min(BATCH, len(order))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            item_codes, user_codes = (codes[chosen] for codes in self.codes)
            past = self.past[chosen]
            known = past >= 0
            weight = (known / np.maximum(known.sum(axis=1, keepdims=True), 1)).astype(np.float32)
            owner = np.repeat(np.arange(size), LAST)[known.ravel()]
            entries = weight[known], (owner, past[known])
            taken = sparse.csr_matrix(entries, shape=(size, self.item_features.shape[0]))
            dropped = rng.random(size) < ID_DROPOUT
            yield {
                "target": np.where(dropped, 0, self.target[chosen]).astype(np.int32),
                "same": self.target[chosen],
                "history": self.history[chosen],
                "weight": weight,
                "item_features": self.item_features[item_codes].toarray(),
                "past_features": (taken @ self.item_features).toarray(),
                "user_features": self.user_features[user_codes].toarray(),
                "log_q": self.log_q[chosen],
            }


def _initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    if name.endswith("bias"):
        return np.zeros(shape, dtype=np.float32)
    scale = 0.1 if name.endswith(("ids", "attributes")) else float(np.sqrt(2.0 / shape[0]))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def _step(learning_rate: float) -> Callable[..., Any]:
    """Return one step of Adam."""
    import jax
    import jax.numpy as jnp

    gradient = jax.value_and_grad(_loss)

    def step(params: Any, state: Any, batch: Any) -> Any:
        first, second, count = state
        loss, slope = gradient(params, batch)
        count, (one, two) = count + 1.0, _DECAYS
        first = {name: one * first[name] + (1 - one) * slope[name] for name in slope}
        second = {name: two * second[name] + (1 - two) * slope[name] ** 2 for name in slope}
        rate = learning_rate * jnp.sqrt(1 - two**count) / (1 - one**count)
        made = {name: params[name] - rate * first[name] / (jnp.sqrt(second[name]) + _TINY) for name in params}
        return made, (first, second, count), loss

    return step


def _loss(params: Any, batch: Any) -> Any:
    """Return the mean cross-entropy of each user's item among the items of the batch.

    A batch has an item as often as it is popular. Subtracting the logarithm of that frequency makes the products
    estimate the probability of an item among all items.
    """
    import jax
    import jax.numpy as jnp

    def tower(path: Any, inputs: Any, side: str) -> Any:
        hidden = jax.nn.relu(inputs @ params[f"{side}.hidden"] + params[f"{side}.hidden_bias"])
        out = path + hidden @ params[f"{side}.out"] + params[f"{side}.out_bias"]
        return out / jnp.sqrt((out * out).sum(axis=1, keepdims=True) + 1e-12)

    attributes = params["item.attributes"]
    item = params["item.ids"][batch["target"]] + batch["item_features"] @ attributes
    mean = (params["item.ids"][batch["history"]] * batch["weight"][:, :, None]).sum(axis=1)
    mean = mean + batch["past_features"] @ attributes
    beside = batch["user_features"] @ params["user.attributes"]
    users, items = tower(mean, jnp.concatenate([mean, beside], axis=1), "user"), tower(item, item, "item")
    scores = users @ items.T / TEMPERATURE - batch["log_q"][None, :]
    other = (batch["same"][:, None] == batch["same"][None, :]) & ~jnp.eye(len(batch["same"]), dtype=bool)
    return -jnp.diag(jax.nn.log_softmax(jnp.where(other, -jnp.inf, scores), axis=1)).mean()
