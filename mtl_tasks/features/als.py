"""Collaborative-filtering factors: item vectors fitted before training starts; users and new items are folded in.

Two models. *Preference factors*: implicit-feedback ALS (Hu, Koren & Volinsky 2008, the `implicit` library) on positive
interactions. *Rating factors*: explicit ALS on the residuals of a regression label from damped item and user means
(biased matrix factorization, Koren, Bell & Volinsky 2009), since implicit ALS does not model ratings.

Both are fitted on the history window. After that, vectors are only folded in, day by day, from interactions before the
day: a user against the item vectors, and, every ``refresh_days``, items absent from history against the user vectors.
Training rows, test rows and serving use the same factors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from mtl_tasks.core.arrays import stable_argsort
from mtl_tasks.core.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)
Floats = NDArray[np.float32]
RMM: Final = "rmm-cu13==26.2.*"  # the memory manager that the wheel of `implicit` 0.7.3 links to
CHUNK: Final = 1 << 18  # interactions whose vectors are in memory at once in a least-squares pass
TAMER: Final = {
    "taste": "lower factors.alpha or the weights of factors.signals, or raise factors.regularization",
    "level": "raise factors.rating_regularization",
}


class Solver(Protocol):
    """A factor model: it fits item vectors, and folds rows in against fixed vectors.

    A repeated pair has several entries in a matrix; each solver defines how they combine. Vectors that are not finite
    raise a ConfigError: trees would read NaN as a missing value.
    """

    name: str
    dimensions: int

    def fit(self, user_items: sparse.csr_matrix, start: Floats | None = None) -> Floats:
        """Return item vectors, float32 (items, dimensions), learned from values (users, items).

        ``start`` holds the vectors to warm-start from, NaN for items without one; fewer iterations then run.
        """

    def fold_in(self, values: sparse.csr_matrix, vectors: Floats) -> Floats:
        """Return one vector per row of ``values`` (rows, n) against ``vectors`` (n, dimensions).

        A row without values gets zeros. Rows are users against items, or items against users.
        """


class ImplicitALS:
    """Implicit-feedback ALS of the `implicit` library; values are confidences above 0, summed per pair."""

    def __init__(
        self,
        dimensions: int,
        iterations: int,
        regularization: float,
        *,
        warm_iterations: int = 5,
        device: str,
        threads: int,
        seed: int,
    ) -> None:
        self.name, self.dimensions = "taste", dimensions
        self._warm_iterations = warm_iterations
        self._settings: dict[str, Any] = {
            "factors": dimensions,
            "iterations": iterations,
            "regularization": regularization,
            "random_state": seed,
        }
        self._threads = threads
        self.device = resolve_device(device)

    def fit(self, user_items: sparse.csr_matrix, start: Floats | None = None) -> Floats:
        """See :class:`Solver`; on the CPU the same seed gives the same bits, whatever the thread count."""
        summed = _summed(user_items)
        with _als(self.device) as als:
            model = als(**self._settings) if self.device == "gpu" else als(**self._settings, num_threads=self._threads)
            if start is not None:
                # Items without a start vector are initialized as `implicit` does it.
                random = np.random.default_rng(self._settings["random_state"]).random(start.shape) * 0.01
                items = np.where(np.isnan(start), random, start).astype(np.float32)
                model.iterations = self._warm_iterations
                model.item_factors = _on(self.device, items)
                model.user_factors = _on(self.device, self.fold_in(summed, items))
            with _solvable(self.name):
                model.fit(summed, show_progress=False)
        factors = model.item_factors if self.device == "cpu" else model.item_factors.to_numpy()
        return _finite(np.asarray(factors, dtype=np.float32), self.name)

    def fold_in(self, values: sparse.csr_matrix, vectors: Floats) -> Floats:
        """See :class:`Solver`; uses `implicit`'s own recalculation (Cholesky), on the CPU."""
        with _als("cpu") as als, _solvable(self.name):
            model = als(**self._settings, num_threads=self._threads)
            model.item_factors = np.ascontiguousarray(vectors, dtype=np.float32)
            folded = np.asarray(model.recalculate_user(np.arange(values.shape[0]), _summed(values)))
        return _finite(folded, self.name)


def _on(device: str, vectors: Floats) -> Any:
    """Return vectors in the type that `implicit`'s models use on a device."""
    import implicit.gpu

    return implicit.gpu.Matrix(vectors) if device == "gpu" else np.ascontiguousarray(vectors)


@contextmanager
def _als(device: str) -> Iterator[Any]:
    """Yield `implicit`'s class with BLAS limited to one thread, since BLAS threads would compete with its own.

    A GPU failure, such as lack of memory, becomes a DeviceError: there is no silent fallback to the CPU.
    """
    import implicit.cpu.als
    import implicit.gpu.als

    # After the imports: the limit applies only to libraries that are loaded.
    with threadpool_limits(1, "blas"):
        try:
            yield (implicit.gpu if device == "gpu" else implicit.cpu).als.AlternatingLeastSquares
        except (RuntimeError, MemoryError, ValueError) as error:
            if device == "cpu":
                raise
            fault = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
            raise DeviceError(
                f"factors.device: 'gpu' failed while ALS was fitted ({fault}): free its memory, lower "
                "factors.dimensions, or set factors.device to 'cpu'"
            ) from error


def _summed(values: sparse.csr_matrix) -> sparse.csr_matrix:
    summed = values.astype(np.float32)
    summed.sum_duplicates()
    return summed


class ExplicitALS:
    """Explicit ALS: alternating ridge regressions of residuals on vectors.

    Values are residuals of a label; several values of one pair are separate observations.
    """

    def __init__(
        self,
        task: str,
        dimensions: int,
        iterations: int,
        regularization: float,
        *,
        warm_iterations: int = 5,
        seed: int,
    ) -> None:
        self.name, self.dimensions = f"level:{task}", dimensions
        self._warm_iterations = warm_iterations
        self._iterations = iterations
        self._regularization = regularization
        self._seed = seed

    def fit(self, user_items: sparse.csr_matrix, start: Floats | None = None) -> Floats:
        """See :class:`Solver`."""
        item_users = user_items.T.tocsr()
        random = np.random.default_rng(self._seed).standard_normal((user_items.shape[1], self.dimensions))
        items = (0.1 * random).astype(np.float32)
        if start is not None:
            items = np.where(np.isnan(start), items, start)
        for _ in range(self._iterations if start is None else self._warm_iterations):
            users = self.fold_in(user_items, items)
            items = self.fold_in(item_users, users)
        return items

    def fold_in(self, values: sparse.csr_matrix, vectors: Floats) -> Floats:
        """See :class:`Solver`: ``argmin_x sum (value - x·v)^2 + regularization |x|^2`` per row."""
        folded = np.zeros((values.shape[0], vectors.shape[1]), dtype=np.float32)
        lengths = np.diff(values.indptr)
        # Rows of one length are solved in one batch. A row with fewer values than dimensions is solved in its dual,
        # a system of its own length: most users rate only a handful of items.
        for length in np.unique(lengths[lengths > 0]):
            rows = np.flatnonzero(lengths == length)
            for part in np.array_split(rows, max(1, len(rows) * length // CHUNK)):
                position = values.indptr[part][:, None] + np.arange(length)
                met = vectors[values.indices[position]].astype(np.float64)
                with _solvable(self.name):
                    folded[part] = _ridge(met, values.data[position].astype(np.float64), self._regularization)
        return _finite(folded, self.name)


@contextmanager
def _solvable(solver: str) -> Iterator[None]:
    """Raise a solver's failure as an error that names the setting to change.

    `implicit` fails on NaN, and both `implicit` and numpy fail on a singular system.
    """
    from implicit.recommender_base import ModelFitError

    try:
        yield
    except (ModelFitError, ValueError) as error:
        raise ConfigError(f"factors {solver!r} cannot be computed ({error}): {_tamer(solver)}") from error


def _finite(vectors: Floats, solver: str) -> Floats:
    """Return the vectors unchanged; raise ConfigError if any is not finite."""
    broken = int((~np.isfinite(vectors)).any(axis=1).sum())
    if broken:
        raise ConfigError(
            f"factors {solver!r}: {broken:,} of {len(vectors):,} vectors are not finite: {_tamer(solver)}"
        )
    return vectors


def _tamer(solver: str) -> str:
    return TAMER[solver.partition(":")[0]]


def _ridge(met: NDArray[np.float64], target: NDArray[np.float64], regularization: float) -> NDArray[np.float64]:
    """Solve a batch of ridge regressions of (rows, n) on (rows, n, dimensions); return (rows, dimensions)."""
    n, size = met.shape[1:]
    across = met.transpose(0, 2, 1)
    if n < size:
        dual = np.linalg.solve(met @ across + regularization * np.eye(n), target[..., None])
        return np.asarray((across @ dual)[..., 0])
    return np.asarray(np.linalg.solve(across @ met + regularization * np.eye(size), across @ target[..., None])[..., 0])


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``gpu`` for ALS.

    Raises
    ------
    ConfigError
        If ``gpu`` is requested and `implicit` was built or started without it.
    """
    import implicit.gpu

    if device == "cpu":
        return "cpu"
    if implicit.gpu.HAS_CUDA:
        return "gpu"
    if device == "gpu":
        raise ConfigError(
            f"factors.device: 'gpu' was requested, but implicit finds no CUDA device ({_missing_on_gpu()}): its "
            f"wheel needs an NVIDIA driver for CUDA 13, the toolkit's cuBLAS and cuRAND, and pip install {RMM!r} "
            "(25.12 and 26.10 lack what it links to), or set factors.device to 'auto' or 'cpu'"
        )
    log.warning("factors.device 'auto': implicit finds no CUDA device (%s), ALS runs on the CPU", _missing_on_gpu())
    return "cpu"


def _missing_on_gpu() -> str:
    import implicit.gpu

    return "its CUDA part does not start" if implicit.gpu.HAS_RMM else "the package rmm is not installed"


@dataclass(frozen=True)
class ItemFactors:
    """Item vectors of one model, each with the day from which it is valid.

    An item in history has one version, valid from ``start``. Any other item has one version per refresh with new
    interactions. The vectors of any past day can therefore be looked up.

    Attributes
    ----------
    item_ids
        (versions,) item id of each version, sorted by id, then ``valid_from``.
    valid_from
        int32 (versions,); a version is computed only from interactions before this day.
    vectors
        float32 (versions, dimensions).
    """

    item_ids: NDArray[Any]
    valid_from: NDArray[np.int32]
    vectors: Floats

    @property
    def start(self) -> int:
        """First day on which the vectors fitted on history are valid."""
        return int(self.valid_from.min())

    def fitted(self) -> ItemFactors:
        """Return the factors without folded-in versions."""
        original = self.valid_from == self.start
        return ItemFactors(self.item_ids[original], self.valid_from[original], self.vectors[original])

    def vectors_of(self, item_ids: NDArray[Any]) -> Floats:
        """Return the vectors of items with one version each, float32 (len(item_ids), dimensions); NaN for no vector."""
        position = np.searchsorted(self.item_ids, item_ids)
        inside = position < len(self.item_ids)
        inside[inside] = self.item_ids[position[inside]] == item_ids[inside]
        vectors = np.full((len(item_ids), self.vectors.shape[1]), np.nan, dtype=np.float32)
        vectors[inside] = self.vectors[position[inside]]
        return vectors

    def at(self, day: int, item_ids: NDArray[Any]) -> tuple[NDArray[np.int64], Floats]:
        """Return the positions in ``item_ids`` (sorted) of the items known on a day, ascending, and their vectors.

        Only known items are returned, so that sums over them do not depend on items that appear later.
        """
        usable = np.flatnonzero(self.valid_from <= day)
        ids = self.item_ids[usable]
        newest = np.append(ids[1:] != ids[:-1], True)[: len(ids)]
        ids, usable = ids[newest], usable[newest]
        position = np.searchsorted(item_ids, ids)
        inside = (position < len(item_ids)) & (item_ids[np.minimum(position, len(item_ids) - 1)] == ids)
        return position[inside].astype(np.int64), self.vectors[usable[inside]]


@dataclass(frozen=True)
class Interactions:
    """Indexed interactions ordered by day; the input of a solver.

    ``users`` and ``items`` are int64 codes into the sorted id arrays; ``values`` are confidences or residuals.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    days: NDArray[np.int32]
    values: Floats

    def before(self, day: int) -> Interactions:
        """Return the interactions before a day, as views."""
        n = int(np.searchsorted(self.days, day, side="left"))
        return Interactions(
            self.user_ids, self.item_ids, self.users[:n], self.items[:n], self.days[:n], self.values[:n]
        )

    def matrix_of(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> sparse.csr_matrix:
        """Return the values (len(users), len(items)) of some users and items, both sorted codes.

        A repeated pair has several entries: a sum would turn two ratings of 1 above the mean into one of 2.
        """
        row = _places_in(users, len(self.user_ids))[self.users]
        column = _places_in(items, len(self.item_ids))[self.items]
        chosen = (row >= 0) & (column >= 0)
        row, column = row[chosen], column[chosen]
        order = stable_argsort(row, column)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))])
        entries = (self.values[chosen][order], column[order], starts)
        return sparse.csr_matrix(entries, shape=(len(users), len(items)))


def _places_in(chosen: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the position of each code below ``size`` among the chosen ones, -1 for the others."""
    positions = np.full(size, -1, dtype=np.int64)
    positions[chosen] = np.arange(len(chosen))
    return positions


def _met(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct codes, ascending, in a tenth of the time of `np.unique`."""
    return np.flatnonzero(np.bincount(codes))


def fit_item_factors(
    solver: Solver,
    interactions: Interactions,
    start: int,
    end: int,
    refresh_days: int,
    earlier: ItemFactors | None = None,
) -> ItemFactors:
    """Fit item vectors on interactions before ``start``, then fold in new items until ``end``.

    Parameters
    ----------
    start
        First day of the train window.
    end
        as_of: nothing at or after it is used.
    refresh_days
        Vectors of new items are computed or renewed on days divisible by this.
    earlier
        Factors to warm-start from, with the same number of dimensions.
    """
    history = interactions.before(start)
    users, items = _met(history.users), _met(history.items)
    known = None if earlier is None else earlier.fitted().vectors_of(interactions.item_ids[items])
    vectors = solver.fit(history.matrix_of(users, items), known)
    base = ItemFactors(interactions.item_ids[items], np.full(len(items), start, dtype=np.int32), vectors)
    return extend_item_factors(solver, base, interactions, end, refresh_days)


def extend_item_factors(
    solver: Solver,
    item_factors: ItemFactors,
    interactions: Interactions,
    end: int,
    refresh_days: int,
    since: int | None = None,
) -> ItemFactors:
    """Add versions of items absent from history, at each refresh day after the factors' start and up to ``end``.

    Parameters
    ----------
    since
        Refresh day up to which the factors were already extended; by default they were not.
    """
    start = item_factors.start if since is None else since
    frozen = np.isin(interactions.item_ids, item_factors.fitted().item_ids)
    since = start
    for day in range((start // refresh_days + 1) * refresh_days, end + 1, refresh_days):
        past = interactions.before(day)
        met = past.items[past.days >= since]
        renewed = np.unique(met[~frozen[met]])
        if len(renewed):
            item_factors = _add_versions(
                item_factors, renewed, day, _fold_items(solver, item_factors, past, renewed, day), past
            )
        since = day
    return item_factors


def _fold_items(
    solver: Solver, item_factors: ItemFactors, past: Interactions, renewed: NDArray[np.int64], day: int
) -> Floats:
    known, vectors = item_factors.at(day - 1, past.item_ids)
    # All users, not only those of the new items: to implicit ALS, a missing interaction is evidence too.
    users = _met(past.users)
    user_vectors = solver.fold_in(past.matrix_of(users, known), vectors)
    return solver.fold_in(past.matrix_of(users, renewed).T.tocsr(), user_vectors)


def _add_versions(
    item_factors: ItemFactors, renewed: NDArray[np.int64], day: int, vectors: Floats, past: Interactions
) -> ItemFactors:
    ids = np.concatenate([item_factors.item_ids, past.item_ids[renewed]])
    valid_from = np.concatenate([item_factors.valid_from, np.full(len(renewed), day, dtype=np.int32)])
    order = np.lexsort((valid_from, ids))
    return ItemFactors(ids[order], valid_from[order], np.concatenate([item_factors.vectors, vectors])[order])
