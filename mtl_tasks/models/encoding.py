"""Encoding of features as numbers of like scale, learned on training rows: for members that add up weighted inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from mtl_tasks.core.categories import union_categories
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.member import Table, require_columns
from mtl_tasks.store.codecs import REMEDY, Arrays
from mtl_tasks.store.documents.members import EncoderDocument, Level

Matrix = NDArray[np.float32]
Codes = NDArray[np.int32]

SAMPLE: Final = 200_000  # rows that quantiles and categories are learned from
KNOTS: Final = 200  # quantiles of a column
RARE: Final = 20  # rows of the sample; a category with fewer is treated as an unknown one
MOST_LEVELS: Final = 255  # the most frequent categories of a column; others are treated as unknown ones
CHUNK: Final = 100_000  # rows that are read and encoded at a time
MATRIX_BYTES: Final = 1 << 30  # memory of the encoded rows of a fit; of more rows every second, third, … is taken
ARRAYS: Final = {"encoder.knots": ("f", 1), "encoder.scores": ("f", 1)}


@dataclass(frozen=True)
class FeatureEncoder:
    """Feature columns as inputs of a model.

    A number becomes the normal quantile of its rank among the training rows (rank-Gauss), interpolated linearly between
    quantiles, so that no unit and no outlier matters. A missing one becomes 0, the median, and sets an indicator if the
    training rows had missing ones; columns that are missing on the same rows share one. A category becomes a code.

    Attributes
    ----------
    quantiles
        Numeric column to its quantiles, float64 (k,) ascending, and their normal scores, float64 (k,).
    flags
        Numeric columns whose missing values have an indicator.
    levels
        Categorical column to its frequent categories; category ``k`` has code ``k + 1``. Code 0 is for every other
        category and for none.
    """

    quantiles: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    flags: tuple[str, ...]
    levels: dict[str, tuple[Level, ...]]

    @classmethod
    def learn(cls, table: Table) -> Self:
        """Learn quantiles and categories from evenly spaced rows."""
        parts = list(_parts(table, math.ceil(len(table) / SAMPLE)))
        types = parts[0].dtypes
        categorical = sorted(str(name) for name, dtype in types.items() if isinstance(dtype, pd.CategoricalDtype))
        numbers = [str(name) for name in types.index if name not in categorical]
        sample = pd.concat([part[numbers] for part in parts], ignore_index=True)
        coded = union_categories([part[categorical] for part in parts])
        return cls(
            {name: _quantiles(sample[name].to_numpy(dtype=np.float64)) for name in numbers},
            _flags(sample, numbers),
            {str(name): _frequent_levels(coded[name]) for name in categorical},
        )

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [*self.quantiles, *self.levels]

    @property
    def dense_names(self) -> list[str]:
        """The column behind each of the dense inputs: numbers, then indicators of missing ones."""
        return [*self.quantiles, *self.flags]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes of each categorical column."""
        return tuple(len(levels) + 1 for levels in self.levels.values())

    @property
    def one_hot_names(self) -> list[str]:
        """The column behind each input of :meth:`one_hot`."""
        coded = [name for name, size in zip(self.levels, self.sizes, strict=True) for _ in range(size)]
        return [*self.dense_names, *coded]

    def chosen(self, features: pd.DataFrame, who: str) -> pd.DataFrame:
        """Return the columns that are read; raises as :func:`~mtl_tasks.models.member.require_columns`."""
        return require_columns(features, self.names, who, self.levels)

    def dense(self, features: pd.DataFrame) -> Matrix:
        """Return float32 (n, dense inputs)."""
        made = np.empty((len(features), len(self.dense_names)), dtype=np.float32)
        for position, (name, (knots, scores)) in enumerate(self.quantiles.items()):
            # As float32, which features are stored as: wider numbers must not fall between other quantiles.
            values = features[name].to_numpy(dtype=np.float32)
            made[:, position] = np.where(np.isnan(values), 0.0, np.interp(values, knots, scores))
        for position, name in enumerate(self.flags, start=len(self.quantiles)):
            made[:, position] = features[name].isna()
        return made

    def codes(self, features: pd.DataFrame) -> Codes:
        """Return int32 (n, categorical columns)."""
        made = np.empty((len(features), len(self.levels)), dtype=np.int32)
        for position, (name, levels) in enumerate(self.levels.items()):
            own = features[name].cat
            codes = pd.Index(list(levels), dtype=object).get_indexer(own.categories.astype(object)) + 1
            made[:, position] = np.append(codes, 0)[own.codes]  # code -1, missing, takes the last entry
        return made

    def one_hot(self, features: pd.DataFrame) -> Matrix:
        """Return float32 (n, inputs): the dense inputs, then an indicator of each code."""
        dense, codes = self.dense(features), self.codes(features)
        made = np.zeros((len(features), len(self.one_hot_names)), dtype=np.float32)
        made[:, : dense.shape[1]] = dense
        first = dense.shape[1] + np.cumsum([0, *self.sizes])[:-1]
        np.put_along_axis(made, codes + first, 1.0, axis=1)
        return made

    def document(self) -> EncoderDocument:
        """Return everything but the quantiles."""
        return EncoderDocument(
            numbers=tuple(self.quantiles),
            knots=tuple(len(knots) for knots, _ in self.quantiles.values()),
            flags=self.flags,
            levels=self.levels,
        )

    def arrays(self) -> Arrays:
        """Return the quantiles of all columns, as :data:`ARRAYS` describes them."""
        knots, scores = ([*part] for part in zip(*self.quantiles.values(), strict=True)) if self.quantiles else ([], [])
        return {"encoder.knots": np.concatenate([[], *knots]), "encoder.scores": np.concatenate([[], *scores])}

    @classmethod
    def from_parts(cls, document: EncoderDocument, arrays: Arrays, where: str) -> Self:
        """Invert :meth:`document` and :meth:`arrays`.

        Raises
        ------
        ArtifactError
            If they do not fit together; the message begins with ``where``.
        """
        knots, scores = arrays["encoder.knots"], arrays["encoder.scores"]
        ends = np.cumsum(document.knots)
        whole = int(ends[-1]) if len(ends) else 0
        if len(document.knots) != len(document.numbers) or not len(knots) == len(scores) == whole:
            raise ArtifactError(
                f"{where}: {len(document.numbers)} numeric columns with {whole} quantiles are described, "
                f"{len(knots)} quantiles with {len(scores)} scores are there; {REMEDY}"
            )
        unknown = set(document.flags) - set(document.numbers)
        if unknown or not (np.isfinite(knots).all() and np.isfinite(scores).all()):
            raise ArtifactError(
                f"{where}: an unknown column {sorted(unknown)}, or a quantile without a value; {REMEDY}"
            )
        cuts = [int(end) for end in ends[:-1]]
        pairs = zip(np.split(knots, cuts), np.split(scores, cuts), strict=True)
        return cls(dict(zip(document.numbers, pairs, strict=False)), document.flags, dict(document.levels))


def spacing(rows: int, width: int) -> int:
    """Return the step between the rows of a fit for which encoded rows stay within :data:`MATRIX_BYTES`.

    >>> spacing(150_000, 250), spacing(10_000_000, 250)
    (1, 10)
    """
    return max(1, math.ceil(rows * width * 4 / MATRIX_BYTES))


def chunks(table: Table, every: int) -> Iterator[tuple[slice, pd.DataFrame]]:
    """Yield the features of every k-th row, a chunk at a time, each with its position among these rows."""
    done = 0
    for part in _parts(table, every):
        yield slice(done, done + len(part)), part
        done += len(part)


def taken(rows: int, every: int) -> int:
    """Return the number of rows if every k-th is taken.

    >>> taken(7, 3)
    3
    """
    return len(range(0, rows, every))


def _parts(table: Table, every: int) -> Iterator[pd.DataFrame]:
    step = CHUNK // every * every or every
    for start in range(0, len(table), step):
        yield table.where(slice(start, min(start + step, len(table)))).features.iloc[::every]


def _quantiles(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return quantiles and their normal scores; equal values have their middle rank."""
    own, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if not len(own):
        return np.zeros(1), np.zeros(1)
    scores = ndtri((np.cumsum(counts) - counts / 2) / counts.sum())
    if len(own) > KNOTS:
        even = np.searchsorted(scores, np.linspace(scores[0], scores[-1], KNOTS))
        chosen = np.unique(np.clip(even, 0, len(own) - 1))
        own, scores = own[chosen], scores[chosen]
    return own, scores


def _flags(sample: pd.DataFrame, numbers: list[str]) -> tuple[str, ...]:
    """Return the columns with missing values, one of those that are missing on the same rows."""
    first: dict[bytes, str] = {}
    for name in numbers:
        missing = sample[name].isna().to_numpy()
        if missing.any():
            first.setdefault(np.packbits(missing).tobytes(), name)
    return tuple(first.values())


def _frequent_levels(column: pd.Series[Any]) -> tuple[Level, ...]:
    counts = column.value_counts(sort=False)
    counts = counts[counts >= RARE].sort_index()
    chosen = counts.sort_values(ascending=False, kind="stable").head(MOST_LEVELS).index
    return tuple(sorted(chosen.tolist()))
