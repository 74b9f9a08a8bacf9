"""Calibrated linear models of a few columns: the popularity baseline and the factors alone."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from mtl_tasks.core.arrays import row_products
from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.core.feature_columns import ColumnKind, FeatureColumn, Subject, select
from mtl_tasks.models.calibration import logit
from mtl_tasks.models.member import Member, Predictions, Table, model_file, require_columns, within_range
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json

FILE = "linear.json"
# How a column enters a linear model: unchanged, as a logarithm (counts), or as log-odds (rates).
Transform = Literal["identity", "log1p", "logit"]
# On the raw scale, a few users who like everything distorted the weights for all users; AUC of likes of videos was .009
# lower.
_TRANSFORMS: Final[dict[ColumnKind, Transform]] = {"count": "log1p", "rate": "logit"}

_Wanted = tuple[ColumnKind, Subject, str | None, int | None]  # kind, about, task and days of a feature column


class BaselineMember(Member):
    """Least squares for a regression, logistic regression for a binary task, on the columns a subclass names.

    A missing value is replaced by the column's mean and sets an indicator.
    """

    note: ClassVar[str]

    def __init__(self, scenario: Scenario, models: dict[str, dict[str, list[Any]]]) -> None:
        super().__init__(scenario)
        self._models = models

    @classmethod
    @abstractmethod
    def columns_of(cls, task: str, scenario: Scenario, columns: Sequence[FeatureColumn]) -> dict[str, Transform]:
        """Return the columns of the task's model, chosen by what they hold, with their transforms."""

    @classmethod
    def reads(cls, scenario: Scenario, columns: Sequence[FeatureColumn]) -> list[str]:
        """See :class:`Member`."""
        used = {name for task in scenario.tasks for name in cls.columns_of(task, scenario, columns)}
        return [column.name for column in columns if column.name in used]

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """See :class:`Member`; nothing is chosen on ``tune``, so it is trained on like ``train``."""
        both = Table(
            pd.concat([train.features, tune.features], ignore_index=True),
            {task: np.concatenate([train.labels[task], tune.labels[task]]) for task in scenario.tasks},
            columns=train.columns,
        )
        return cls._fit(both, scenario)

    def refit(self, table: Table) -> Self:
        """See :class:`Member`."""
        return self._fit(table, self.scenario)

    @classmethod
    def _fit(cls, table: Table, scenario: Scenario) -> Self:
        models, features = {}, table.features
        for task, settings in scenario.tasks.items():
            label = table.labels[task]
            seen, columns = ~np.isnan(label), cls.columns_of(task, scenario, table.columns)
            models[task] = _fit_task(features.loc[seen, list(columns)], columns, label[seen], settings.kind)
        return cls(scenario, models)

    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """See :class:`Member`."""
        wanted = self.scenario.tasks if tasks is None else tasks
        return {task: self._predict_task(features, task) for task in wanted}

    def _predict_task(self, features: pd.DataFrame, task: str) -> NDArray[np.float64]:
        model = self._models[task]
        known = require_columns(features, model["columns"], self.kind)
        design = _design(known, model["transforms"], np.array(model["mean"]))
        scaled = (design - np.array(model["centre"])) / np.array(model["scale"])
        value = row_products(scaled, np.array(model["weights"]))
        value = value + model["intercept"][0]
        if self.scenario.tasks[task].kind == "binary":
            return np.asarray(expit(value))
        return within_range(np.asarray(value), self.scenario.tasks[task])

    def model(self, task: str) -> dict[str, list[Any]]:
        """Return a task's model: its columns with their transforms and means, and the standardized weights."""
        return self._models[task]

    def files(self) -> dict[str, bytes]:
        """See :class:`Member`."""
        return {FILE: to_json(self._models)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`."""
        models = json.loads(model_file(files, FILE, cls.kind))
        if set(models) != set(scenario.tasks):
            raise ArtifactError(f"{cls.kind}: the file has tasks {sorted(models)}, expected {sorted(scenario.tasks)}")
        for model in models.values():
            model.setdefault("transforms", [_by_name(name) for name in model["columns"]])
        return cls(scenario, models)

    def describe(self) -> dict[str, Any]:
        """See :class:`Member`."""
        tasks = {
            task: {"note": self.note, "rounds": None, "curve": None, "importance": _shares(model)}
            for task, model in self._models.items()
        }
        return {"kind": self.kind, "device": "cpu", "tasks": tasks}


class PopularityMember(BaselineMember):
    """Popularity, activity, and damped user and item biases: the baseline that every other member must beat."""

    kind = "popularity"
    note = "counts and rates of item and user; damped user and item bias for a regression"

    @classmethod
    def columns_of(cls, task: str, scenario: Scenario, columns: Sequence[FeatureColumn]) -> dict[str, Transform]:
        """Return the expected label of a regression, rates of a binary task, or log counts if negatives are sampled."""
        windows = scenario.features.windows
        if scenario.tasks[task].kind == "regression":
            return _chosen(columns, ("baseline", "pair", task, None))
        if not scenario.tasks[task].sampled:
            sides: tuple[Subject, ...] = ("user", "item")
            return _chosen(columns, *(("rate", side, task, None) for side in sides), ("rate", "item", task, windows[0]))
        recent: list[_Wanted] = [("count", "item", None, days) for days in windows]
        return _chosen(columns, ("count", "item", None, None), *recent, ("count", "user", None, None))


class AlsMember(BaselineMember):
    """Calibrated factors: dot products and cosines, plus the popularity columns unless negatives are sampled."""

    kind = "als"
    note = "dot product and cosines of the factors, calibrated"

    @classmethod
    def columns_of(cls, task: str, scenario: Scenario, columns: Sequence[FeatureColumn]) -> dict[str, Transform]:
        """Return factor columns, and those of popularity if factors only explain its residual."""
        taste = _chosen(
            columns,
            ("factor_score", "pair", None, None),
            ("factor_cosine", "pair", None, None),
            ("factor_norm", "user", None, None),
        )
        if scenario.tasks[task].sampled:
            return taste
        # Rating factors are fitted for regressions only.
        kinds: tuple[ColumnKind, ...] = ("factor_residual", "neighbor_residual")
        own = [name for kind in kinds for name in select(columns, kind, "pair", task)]
        known = PopularityMember.columns_of(task, scenario, columns)
        return known | dict.fromkeys(own, "identity") | taste


def _chosen(columns: Sequence[FeatureColumn], *wanted: _Wanted) -> dict[str, Transform]:
    """Return the columns with the wanted properties, in the order in which these are given, with their transforms."""
    chosen: dict[str, Transform] = {}
    for properties in wanted:
        names = select(columns, *properties)
        if not names:
            kind, about, task, days = properties
            raise DataError(
                f"none of the {len(columns)} declared features is of kind {kind!r} about {about!r} (task {task}, days "
                f"{days}), which a baseline member needs: pass the declarations of all features (Table.columns)"
            )
        chosen |= dict.fromkeys(names, _TRANSFORMS.get(properties[0], "identity"))
    return chosen


def _fit_task(
    features: pd.DataFrame, transforms: Mapping[str, Transform], label: NDArray[np.float32], kind: str
) -> dict[str, list[Any]]:
    from sklearn.linear_model import LinearRegression, LogisticRegression  # takes seconds to import

    mean = features.mean().fillna(0.0).to_numpy(dtype=np.float64)
    design = _design(features, list(transforms.values()), mean)
    centre, scale = design.mean(axis=0), design.std(axis=0)
    scale[scale == 0] = 1.0
    design -= centre  # in place: at ten million events a copy takes more than a gigabyte
    design /= scale
    model = LinearRegression() if kind == "regression" else LogisticRegression(max_iter=1000)
    model.fit(design, label.astype(np.float64))
    return {
        "columns": list(transforms),
        "transforms": list(transforms.values()),
        "mean": mean.tolist(),
        "centre": centre.tolist(),
        "scale": scale.tolist(),
        "weights": np.ravel(model.coef_).tolist(),
        "intercept": np.ravel(model.intercept_).tolist(),
    }


def _design(features: pd.DataFrame, transforms: Sequence[Transform], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transformed columns, then an indicator of each one's missing values."""
    values = features.to_numpy(dtype=np.float64)
    missing = np.isnan(values)
    values = np.where(missing, mean, values)
    counts, rates = ([one == kind for one in transforms] for kind in ("log1p", "logit"))
    values[:, counts] = np.log1p(values[:, counts])
    values[:, rates] = logit(values[:, rates])
    return np.hstack([values, missing])


def _by_name(column: str) -> Transform:
    """Return a column's transform in a model stored without transforms, when the column's name determined it."""
    if ".count" in column and ".mean" in column:
        raise ArtifactError(f"{column}: an earlier version treated this column as both a count and a rate: train again")
    return "log1p" if ".count" in column else "logit" if ".mean" in column else "identity"


def _shares(model: dict[str, list[Any]]) -> list[tuple[str, float]]:
    """Return each column's absolute standardized weight as a share of the total, largest first."""
    weights = np.abs(model["weights"][: len(model["columns"])])
    shares = weights / max(weights.sum(), 1e-12)
    order = np.argsort(-shares, kind="stable")
    return [(model["columns"][place], round(float(shares[place]), 6)) for place in order]
