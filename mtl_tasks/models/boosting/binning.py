"""Features as the matrix that LightGBM reads: columns in order, categories as codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
MOST_LEVELS: Final = 255  # the limit of OpenCL; a category of few rows is noise to a tree anyway
# No pre-filter: it depends on the minimum leaf size, which may differ between two uses of the same bins.
BINNING = {"verbosity": -1, "feature_pre_filter": False}


@dataclass(frozen=True)
class Encoder:
    """The columns a model was fitted on, and the categories of the categorical ones.

    Attributes
    ----------
    names
        Columns in the order of the matrix.
    levels
        Categorical column to its categories in the fitted rows, the most frequent ones if there are many; category
        ``k`` has code ``k + 1``. Code 0 is for every other category and for none, so that a category that is rare, or
        new at serving, is treated as missing ones were in training.
    """

    names: list[str]
    levels: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def learn(cls, features: pd.DataFrame) -> Encoder:
        """Learn columns and categories from the rows a model is fitted on."""
        names = [str(name) for name in features]
        categorical = [name for name in names if isinstance(features[name].dtype, pd.CategoricalDtype)]
        return cls(names, {name: _levels(features[name]) for name in categorical})

    def matrix(self, features: pd.DataFrame) -> Matrix:
        """Return float32 (n, columns); ``features`` has at least the columns of :attr:`names`."""
        wanted = features if list(features) == self.names else features[self.names]  # a selection is a copy
        if not self.levels:
            return wanted.to_numpy(dtype=np.float32)
        matrix = np.empty((len(wanted), len(self.names)), dtype=np.float32, order="F")  # trees are scored by column
        for place, name in enumerate(self.names):
            matrix[:, place] = self._codes(wanted[name], name) if name in self.levels else wanted[name]
        return matrix

    def _codes(self, column: pd.Series[Any], name: str) -> Matrix:
        own = column.astype("category").cat
        known = pd.Index(self.levels[name]).get_indexer(own.categories) + 1
        return np.append(known, 0)[own.codes].astype(np.float32)  # code -1, missing, takes the last entry

    def binned(self, features: pd.DataFrame, device: str, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        """Return the features binned for a device.

        They are read in place, as columns of an Arrow table: LightGBM copies a matrix of part of the rows, which takes
        twice the memory. CUDA reads a copy on the GPU that is made only here: without it the process dies. OpenCL
        takes no more than 256 bins of columns that LightGBM bundles.
        """
        read = [self._codes(features[name], name) if name in self.levels else features[name] for name in self.names]
        data = lgb.Dataset(
            pa.table([np.asarray(column, dtype=np.float32) for column in read], names=self.names),
            np.zeros(len(features), dtype=np.float32),
            feature_name=self.names,
            categorical_feature=list(self.levels),
            reference=reference,
            params={**BINNING, "device_type": device},
        )
        return data.construct()


def _levels(column: pd.Series[Any]) -> list[Any]:
    """Return the most frequent categories in order; of equally frequent ones the first."""
    counts = column.value_counts(sort=False)
    counts = counts[counts > 0].sort_index()
    chosen = counts.sort_values(ascending=False, kind="stable").head(MOST_LEVELS).index
    return sorted(chosen.tolist())
