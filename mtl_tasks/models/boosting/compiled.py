"""Raw scores of trees, in bulk several times as fast as LightGBM's own prediction and equal to the last bit.

Many rows are scored by :mod:`~mtl_tasks.models.boosting.leaf_masks` where numba is installed, otherwise by
:mod:`~mtl_tasks.models.boosting.bit_slices`; few rows by LightGBM. All three add a row's leaves in the order of the
trees in float64, so the choice changes no result.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, Literal

import lightgbm as lgb
import numpy as np

from mtl_tasks.core.errors import DataError
from mtl_tasks.core.process import bulk_scorer
from mtl_tasks.models.boosting.binning import Matrix
from mtl_tasks.models.boosting.bit_slices import SlicedTrees
from mtl_tasks.models.boosting.leaf_masks import MaskedTrees, is_compiled
from mtl_tasks.models.boosting.tree_arrays import MOST_LEAVES, TreeArrays, Values, most_leaves

log = logging.getLogger(__name__)
BULK: Final = 8_192  # rows times outputs; LightGBM scores fewer in the time that reading its trees takes
COMPILED: Final = 30_000_000  # rows times trees; numpy scores fewer in the time that importing numba takes

Backend = Literal["numba", "numpy", "lightgbm"]


@dataclass(frozen=True)
class TreeRange:
    """Consecutive trees of a model: ``count`` of them from ``first``."""

    booster: lgb.Booster
    first: int
    count: int

    def scores(self, matrix: Matrix, threads: int) -> Values:
        """Return LightGBM's raw scores, float64 (n,)."""
        if not self.count:  # LightGBM reads 0 as all of them
            return np.zeros(len(matrix))
        scores = self.booster.predict(
            matrix,
            raw_score=True,
            start_iteration=self.first,
            num_iteration=self.count,
            num_threads=threads,
        )
        return np.asarray(scores, dtype=np.float64)

    def text(self) -> str:
        """Return the model text of the trees."""
        return self.booster.model_to_string(start_iteration=self.first, num_iteration=self.count)


class CompiledTrees:
    """Trees of one structure with the leaves of several outputs, through which rows pass once.

    Parameters
    ----------
    ranges
        The trees of each output. One with fewer trees than another has no further ones.
    where
        Name of the trees in messages.
    """

    def __init__(self, ranges: Sequence[TreeRange], where: str) -> None:
        self._ranges, self._where = ranges, where
        self._trees = max(part.count for part in ranges)

    def scores(self, matrix: Matrix, threads: int, outputs: Sequence[int] | None = None) -> Values:
        """Return float64 (n, outputs): for each output the sum of its trees, in their order.

        Parameters
        ----------
        outputs
            Indices of the wanted outputs; by default all.

        Raises
        ------
        DataError
            If the matrix lacks columns that the trees were fitted on.
        ArtifactError
            See :meth:`TreeArrays.of`.
        """
        wanted = list(range(len(self._ranges)) if outputs is None else outputs)
        if not self._trees or not wanted:
            return np.zeros((len(matrix), len(wanted)))
        self._refuse_narrow(matrix)
        backend = self._backend(len(matrix), len(wanted))
        _announce(backend)
        if backend == "lightgbm":
            return np.stack([self._ranges[output].scores(matrix, threads) for output in wanted], axis=1)
        trees = self._masked if backend == "numba" else self._sliced
        return scored_by_block(trees, matrix, threads)[:, wanted]

    def _refuse_narrow(self, matrix: Matrix) -> None:
        names = self._ranges[0].booster.feature_name()
        if matrix.shape[1] != len(names):
            first = f" (first missing: {names[matrix.shape[1]]!r})" if matrix.shape[1] < len(names) else ""
            raise DataError(
                f"{self._where}: {matrix.shape[1]} columns to score, its trees were fitted on {len(names)}{first}: "
                "build features with the scenario that trained it"
            )

    def _backend(self, rows: int, outputs: int) -> Backend:
        if rows * outputs < BULK or self._arrays is None:
            return "lightgbm"
        many = is_compiled() or rows * self._trees >= COMPILED
        return "numba" if many and bulk_scorer() == "numba" else "numpy"

    @cached_property
    def _arrays(self) -> TreeArrays | None:
        """The trees' arrays; None if a tree has too many leaves for them."""
        texts = [part.text() if part.count else None for part in self._ranges]
        leaves = max(most_leaves(text) for text in texts if text)
        if leaves > MOST_LEAVES:
            log.info("%s: a tree has %d leaves, above %d LightGBM scores all rows", self._where, leaves, MOST_LEAVES)
            return None
        return TreeArrays.of(texts, self._where)

    @cached_property
    def _sliced(self) -> SlicedTrees:
        assert self._arrays is not None
        return SlicedTrees(self._arrays)

    @cached_property
    def _masked(self) -> MaskedTrees:
        assert self._arrays is not None
        return MaskedTrees(self._arrays)


def scored_by_block(trees: SlicedTrees | MaskedTrees, matrix: Matrix, threads: int) -> Values:
    """Return float64 (n, outputs), scored a block of rows at a time."""
    starts = range(0, len(matrix), trees.rows)

    def scores(start: int) -> Values:
        return trees.scores(np.ascontiguousarray(matrix[start : start + trees.rows].T))

    if threads == 1 or len(starts) == 1:
        return np.concatenate([scores(start) for start in starts])
    with ThreadPoolExecutor(threads) as pool:  # numpy and the compiled function release the interpreter's lock
        return np.concatenate(list(pool.map(scores, starts)))


@cache
def _announce(backend: Backend) -> None:
    log.info("trees are scored by %s", backend)
