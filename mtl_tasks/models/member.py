"""What a member of the model family is: fitted once, it scores every task of a scenario."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.models.boosting.task_rows import TaskRows
from mtl_tasks.scenario import Scenario, Task

Predictions = dict[str, NDArray[np.float64]]


class KeptFeatures(Protocol):
    """Features that are read when they are needed: where there are many rows, they take most of the memory."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self) -> pd.DataFrame:
        """Return them as :attr:`Table.features`."""

    def where(self, rows: slice) -> Self:
        """Return those of some rows, unread."""


@dataclass(frozen=True)
class Table:
    """Features with their labels.

    Attributes
    ----------
    source
        The features, or where they are kept.
    labels
        Task to float32 (n,); NaN where not observed.
    weights
        Task to float32 (n,) of positive sample weights; a task that is not there weighs every row alike.
    users
        (n,) user of each row, for members that fold rows by user; null where nobody asks.
    """

    source: pd.DataFrame | KeptFeatures
    labels: dict[str, NDArray[np.float32]]
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    users: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def features(self) -> pd.DataFrame:
        """(n, columns): float32, or pandas ``category`` where a column names kinds; kept ones are read each time."""
        return self.source if isinstance(self.source, pd.DataFrame) else self.source.read()

    def rows(self, task: str) -> TaskRows:
        """The rows on which a task was observed."""
        return TaskRows.of(self.labels[task], self.weights.get(task))

    def where(self, rows: slice) -> Table:
        """Some of the rows, of which nothing is copied."""
        return Table(
            self.source.iloc[rows] if isinstance(self.source, pd.DataFrame) else self.source.where(rows),
            {task: label[rows] for task, label in self.labels.items()},
            {task: weight[rows] for task, weight in self.weights.items()},
            None if self.users is None else self.users[rows],
        )


@dataclass(frozen=True)
class Preview:
    """A first idea of some rows.

    Attributes
    ----------
    predictions
        As of :meth:`Member.predict`, by the trees that were grown first; whole if there are no trees.
    complete
        From the places of some of the rows, int64 (m,), ascending, to what :meth:`Member.predict` says of them, but
        for the last bits of sums.
    """

    predictions: Predictions
    complete: Callable[[NDArray[np.int64]], Predictions]


class Member(ABC):
    """A fitted model of every task.

    A subclass is fitted by :meth:`fit`, which makes its choices (rounds, say) on ``tune``; :meth:`refit` learns from
    more rows with those choices. ``files`` and ``load`` invert each other: predictions agree to the bit.
    """

    kind: ClassVar[str]

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @classmethod
    def reads(cls, scenario: Scenario, features: list[str]) -> list[str]:
        """Return which of the features, in their order, :meth:`fit` and :meth:`predict` look at; by default all."""
        return features

    @classmethod
    @abstractmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """Fit on ``train`` with the choices made on ``tune``."""

    @abstractmethod
    def refit(self, table: Table) -> Self:
        """Return a new member fitted on ``table`` with this one's choices."""

    @abstractmethod
    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """Return float64 (n,) for the given tasks, by default for every task.

        A value inside the task's limits for a regression, a probability for a binary task.

        Raises
        ------
        DataError
            If a column the member was fitted on is missing, or was of another sort.
        """

    def preview(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Preview:
        """Return what is seen at little cost of all rows, to choose those by that deserve :meth:`predict`."""
        made = self.predict(features, tasks)
        return Preview(made, lambda positions: {task: values[positions] for task, values in made.items()})

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return all that :meth:`load` needs, by file name; equal members give equal bytes."""

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
        """Return kind, device, and by task a note, rounds, learning curve and importance (null where none).

        No times: what is described is stored, and equal members are stored as equal bytes.
        """

    def explain(self, features: pd.DataFrame, seed: int) -> dict[str, Any]:
        """Return by task what moves the predictions for some rows; empty for a member without trees.

        ``rows`` that were looked at; ``features`` with ``feature``, ``mean_abs`` (mean absolute SHAP value, in units of
        the label or log-odds) and ``direction``, the largest first; ``gain``, a list of (feature, share in trees that
        all tasks share, share in the task's own trees), null unless there are both.
        """
        return {}


def require_columns(features: pd.DataFrame, wanted: list[str], who: str, kinds: Collection[str] = ()) -> pd.DataFrame:
    """Return the wanted columns in order.

    Parameters
    ----------
    kinds
        Those of them that were pandas ``category`` in training; all others were numbers.

    Raises
    ------
    DataError
        Naming the columns that are missing, or one that was of another sort in training.
    """
    missing = [name for name in wanted if name not in features]
    if missing:
        raise DataError(
            f"{who}: {len(missing)} of the {len(wanted)} features it was trained on are missing at prediction "
            f"(first: {missing[0]!r}): build features with the scenario that trained it"
        )
    found = features[wanted]
    for name, dtype in zip(wanted, found.dtypes, strict=True):
        expected = "category" if name in kinds else "a number"
        fits = isinstance(dtype, pd.CategoricalDtype) if name in kinds else pd.api.types.is_numeric_dtype(dtype)
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
        If it is not among them.
    """
    if name not in files:
        raise ArtifactError(f"{who}: its file {name!r} is missing (has {', '.join(sorted(files)) or 'none'})")
    return files[name]


def within_range(values: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Clip to the task's range: no label lies outside, so clipping never makes an error larger."""
    return values if task.limits is None else np.clip(values, *task.limits)
