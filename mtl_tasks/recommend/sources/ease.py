"""EASE (Steck, WWW 2019, "Embarrassingly Shallow Autoencoders"): a linear item-item model in closed form."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.features.als import Floats
from mtl_tasks.features.interactions import Codes
from mtl_tasks.recommend.sources.source import Pairs, PastPositives, binary, top_pairs, without
from mtl_tasks.scenario import SourceName

EASE_DAYS: Final = 365
MOST_ITEMS: Final = 20_000  # the inverse takes 3.2 GB, and 8 * 10**12 multiplications on one thread
REGULARIZATION: Final = 1000.0  # beat 10, 30, 100 and 300 on the blend windows of `retail` and `social`
_BLOCK: Final = 512  # rows that are mirrored at once


class Ease:
    """EASE on the pairs with a positive interaction in the last ``EASE_DAYS`` days.

    Repeated interactions of a pair count once. Items that a user has seen are left out.

    Raises
    ------
    ConfigError
        If more than ``MOST_ITEMS`` items have a positive interaction in these days.
    """

    name: SourceName = "ease"

    def __init__(self, past: PastPositives, size: int, most: int = MOST_ITEMS) -> None:
        self._size = size
        recent = binary(past.matrix(past.day - EASE_DAYS))
        self._items = np.flatnonzero(np.bincount(recent.indices, minlength=past.shape[1]))
        if len(self._items) > most:
            raise ConfigError(
                f"recommend.sources.ease: {len(self._items):,} items have a positive interaction in the {EASE_DAYS} "
                f"days before {day_text(past.day)}, and EASE inverts a matrix of all pairs of at most {most:,} items: "
                "set recommend.sources.ease to 0, and recommend.sources.item_item above 0 for another item-item model"
            )
        self._weights = ease_weights(recent[:, self._items], REGULARIZATION)

    def top(self, users: Codes, seen: sparse.csr_matrix) -> Pairs:
        """See :class:`~mtl_tasks.recommend.sources.source.Source`."""
        del users
        known = seen[:, self._items].tocsr()
        scores: Floats = binary(known) @ self._weights
        return top_pairs(without(scores, known), self._size, self._items)


def ease_weights(positives: sparse.csr_matrix, regularization: float) -> Floats:
    """Return the item-item weights, float32 (items, items), with a zero diagonal.

    They minimize ``|X - X B|^2 + regularization |B|^2`` with ``diag(B) = 0``: ``B = I - P / diag(P)`` with
    ``P = inv(X' X + regularization I)``.
    """
    gram = (positives.T @ positives).astype(np.float64).toarray(order="F")
    gram[np.diag_indices_from(gram)] += regularization
    inverse = _inverted(gram)
    inverse /= -np.diag(inverse)
    np.fill_diagonal(inverse, 0.0)
    return np.ascontiguousarray(inverse, dtype=np.float32)


def _inverted(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert a symmetric positive definite matrix (n, n), in Fortran order, in place."""
    if not len(gram):
        return gram
    with threadpool_limits(1, "blas"):  # the sums of several threads depend on their number
        factor, _ = linalg.lapack.dpotrf(gram, lower=1, overwrite_a=1)
        inverse, _ = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    for start in range(0, len(inverse), _BLOCK):  # only the lower triangle was written
        stop = start + _BLOCK
        corner = inverse[start:stop, start:stop]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return np.asarray(inverse)
