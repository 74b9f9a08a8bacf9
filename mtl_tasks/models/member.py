"""Base class of the members: a member is fitted once and scores every task of a scenario."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.core.feature_columns import FeatureColumn
from mtl_tasks.models.boosting.task_rows import TaskRows
from mtl_tasks.scenario import Scenario, Task

Predictions = dict[str, NDArray[np.float64]]


class KeptFeatures(Protocol):
    """Stored features, read on demand: with many rows they take most of the memory."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self) -> pd.DataFrame:
        """Read the features, as in :attr:`Table.features`."""

    def where(self, rows: slice) -> Self:
        """Select rows without reading them."""


@dataclass(frozen=True)
class Table:
    """Features with their labels.

    Attributes
    ----------
    source
        The features, or a reader of stored ones.
    labels
        Task to float32 (n,); NaN where not observed.
    weights
        Task to float32 (n,) of positive sample weights; a missing task weights all rows equally.
    users
        (n,) user of each row, for members that form folds by user; None if not needed.
    columns
        Declarations of the features, for members that choose by kind.
    """

    source: pd.DataFrame | KeptFeatures
    labels: dict[str, NDArray[np.float32]]
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    users: NDArray[Any] | None = None
    columns: Sequence[FeatureColumn] = ()

    def __len__(self) -> int:
        return len(self.source)

    @property
    def features(self) -> pd.DataFrame:
        """(n, columns): float32 or pandas ``category``; stored features are read on each access."""
        return self.source if isinstance(self.source, pd.DataFrame) else self.source.read()

    def rows(self, task: str, every: int = 1) -> TaskRows:
        """Return the labeled rows of a task, among every k-th row."""
        weight = self.weights.get(task)
        return TaskRows.of(self.labels[task][::every], None if weight is None else weight[::every])

    def where(self, rows: slice) -> Table:
        """Select rows, without copying."""
        return Table(
            self.source.iloc[rows] if isinstance(self.source, pd.DataFrame) else self.source.where(rows),
            {task: label[rows] for task, label in self.labels.items()},
            {task: weight[rows] for task, weight in self.weights.items()},
            None if self.users is None else self.users[rows],
            self.columns,
        )


class Member(ABC):
    """A fitted model of every task.

    :meth:`fit` makes its choices (rounds, say) on ``tune``; :meth:`refit` fits on more rows with those choices.
    ``load`` inverts ``files``: predictions agree to the bit.
    """

    kind: ClassVar[str]

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @classmethod
    def reads(cls, scenario: Scenario, columns: Sequence[FeatureColumn]) -> list[str]:
        """Return the features that :meth:`fit` and :meth:`predict` use, in their order; by default all."""
        return [column.name for column in columns]

    @classmethod
    def makes(cls, scenario: Scenario) -> list[FeatureColumn]:
        """Return the features that the member itself adds to those it is given; by default none."""
        return []

    @classmethod
    def resolve_device(cls, requested: str) -> str:
        """Return the device that a setting ``device`` means on this machine; by default the setting itself.

        Raises
        ------
        ConfigError
            If the device is not available.
        """
        return requested

    @classmethod
    @abstractmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """Fit on ``train``, with choices made on ``tune``."""

    @abstractmethod
    def refit(self, table: Table) -> Self:
        """Return a new member fitted on ``table`` with this one's choices."""

    @abstractmethod
    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """Return float64 (n,) for the given tasks, by default for every task.

        It is a value within the task's limits for a regression, a probability for a binary task.

        Raises
        ------
        DataError
            If a column the member was fitted on is missing or has another type.
        """

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return everything that :meth:`load` needs, by file name; equal members give equal bytes."""

    @classmethod
    @abstractmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """Rebuild a member from its files.

        Raises
        ------
        ArtifactError
            If a file is missing, cannot be parsed, or belongs to other tasks.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return kind, device, and by task a note, rounds, learning curve and importance (None where absent).

        It contains no times: it is stored, and equal members must give equal bytes.
        """

    def explain(self, features: pd.DataFrame, seed: int) -> dict[str, Any]:
        """Return, by task, the features that move predictions, on some of the rows; empty for a member without trees.

        ``rows`` is the number of rows used. ``features`` lists ``feature``, ``mean_abs`` (mean absolute SHAP value, in
        units of the label or log-odds) and ``direction``, largest first. ``gain`` lists (feature, share in trees shared
        by all tasks, share in the task's own trees); None unless there are both.
        """
        return {}


def require_columns(
    features: pd.DataFrame, names: list[str], who: str, categorical: Collection[str] = ()
) -> pd.DataFrame:
    """Return the wanted columns in order.

    Parameters
    ----------
    categorical
        Wanted columns that were pandas ``category`` in training; all others were numeric.

    Raises
    ------
    DataError
        If columns are missing, or one had another type in training.
    """
    missing = [name for name in names if name not in features]
    if missing:
        raise DataError(
            f"{who}: {len(missing)} of the {len(names)} features it was trained on are missing at prediction "
            f"(first: {missing[0]!r}): build features with the scenario that trained it"
        )
    found = features[names]
    for name, dtype in zip(names, found.dtypes, strict=True):
        expected = "category" if name in categorical else "a number"
        fits = isinstance(dtype, pd.CategoricalDtype) if name in categorical else pd.api.types.is_numeric_dtype(dtype)
        if not fits:
            raise DataError(
                f"{who}: feature {name!r} is {dtype} at prediction and was {expected} in training: build features "
                "with the scenario that trained it"
            )
    return found


def model_file(files: Mapping[str, bytes], name: str, who: str) -> bytes:
    """Return one of a member's files.

    Raises
    ------
    ArtifactError
        If it is missing.
    """
    if name not in files:
        raise ArtifactError(f"{who}: its file {name!r} is missing (has {', '.join(sorted(files)) or 'none'})")
    return files[name]


def within_range(values: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Clip to the task's limits: no label is outside, so clipping never increases an error."""
    return values if task.limits is None else np.clip(values, *task.limits)


def seeds_text(count: int) -> str:
    """Return a number of seeds in words.

    >>> seeds_text(1), seeds_text(3)
    ('1 seed', '3 seeds averaged')
    """
    return "1 seed" if count == 1 else f"{count} seeds averaged"
