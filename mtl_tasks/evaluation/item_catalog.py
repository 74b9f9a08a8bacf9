"""The items that a list can contain, and what the log had of them before each start day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from mtl_tasks.core import columns
from mtl_tasks.metrics.ranking import Values


@dataclass(frozen=True)
class ItemCatalog:
    """The items that a list can contain, and their history before each start day.

    Attributes
    ----------
    items
        (n,) unique ids.
    starts
        int64 (s,) start days, ascending.
    counts
        int64 (s, n): interactions with each item before each start day.
    vectors
        float (n, d), from which intra-list diversity is computed; an item without one has zeros. None:
        diversity is not computed.

    Raises
    ------
    ValueError
        If shapes do not match, ids repeat, days are not ascending, or a number is negative or not finite.
    """

    items: NDArray[Any]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    vectors: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        size, starts = len(self.items), len(self.starts)
        if self.counts.shape != (starts, size):
            raise ValueError(f"counts of the catalog have shape {self.counts.shape}, expected {(starts, size)}")
        if pd.Index(self.items).has_duplicates:
            raise ValueError(f"ids of the catalog repeat: {pd.Index(self.items).nunique()} different ones in {size}")
        if not starts or (np.diff(self.starts) <= 0).any():
            raise ValueError(f"start days are {self.starts.tolist()}: give at least one, in ascending order")
        if size and self.counts.min() < 0:
            raise ValueError(f"counts of the catalog go down to {self.counts.min()}: a count is at least 0")
        if self.vectors is not None and (len(self.vectors) != size or not np.isfinite(self.vectors).all()):
            raise ValueError(f"vectors of the catalog: expected {size} rows of finite numbers, one for each item")

    @classmethod
    def of(
        cls,
        events: pd.DataFrame,
        items: NDArray[Any],
        starts: Sequence[int],
        vectors: NDArray[np.floating[Any]] | None = None,
    ) -> Self:
        """Count each item's interactions before each start day; items that the catalog lacks are not counted."""
        code = pd.Index(items).get_indexer(pd.Index(events[columns.ITEM]))
        day = events[columns.DAY].to_numpy()
        counts = [np.bincount(code[(code >= 0) & (day < start)], minlength=len(items)) for start in starts]
        return cls(items, np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64), vectors)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def information(self) -> Values:
        """Self-information of each item in bits, float64 (s, n): -log2 of its add-one smoothed share of history."""
        total = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(-np.log2((self.counts + 1) / np.maximum(total + len(self), 1)))

    @property
    def percentile(self) -> Values:
        """Mid-rank of each item's count among the catalog, float64 (s, n) between 0 and 1; tied items share it."""
        ranks = np.array([rankdata(row) for row in self.counts]).reshape(self.counts.shape)
        return (ranks - 0.5) / max(len(self), 1)

    @property
    def directions(self) -> Values | None:
        """Vectors of length 1, or of zeros, float64 (n, d)."""
        if self.vectors is None:
            return None
        vectors = self.vectors.astype(np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1.0)
