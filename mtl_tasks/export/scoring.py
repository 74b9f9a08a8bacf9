"""Scores rows of features with the models in this folder: ``load(folder).predict(features)``.

A part of a scoring bundle, which needs numpy and LightGBM and nothing else. ``manifest.json`` names the features, the
tasks, and the files with their hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
MANIFEST = "manifest.json"
EPSILON = 1e-7
Values = NDArray[np.float64]


class BundleError(ValueError):
    """The folder is not a bundle, is damaged, or the features do not fit it."""


def load(folder: str | Path) -> Bundle:
    """Return the bundle in a folder.

    Raises
    ------
    BundleError
        If a file is missing or not the one that was written, or the bundle is of another schema.
    """
    root = Path(folder)
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{root / MANIFEST}: cannot be read ({error}): export the run again") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"{root / MANIFEST}: its schema is {schema!r}, this module reads {SCHEMA}: take its own module"
        )
    files = {name: _read(root / name, entry) for name, entry in manifest["files"].items()}
    return Bundle(manifest, files)


class Bundle:
    """The models of a run.

    Attributes
    ----------
    manifest
        The document of the bundle.
    """

    def __init__(self, manifest: dict[str, Any], files: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self._fusion: dict[str, Any] = json.loads(files["fusion.json"])
        self._members = {
            name: FORMS[form](json.loads(files[f"{name}.json"]), files, manifest["tasks"])
            for name, form in manifest["members"].items()
        }

    @property
    def features(self) -> list[str]:
        """Names of the features that :meth:`predict` reads."""
        return [feature["name"] for feature in self.manifest["features"]]

    def predict(self, features: Any, tasks: Iterable[str] | None = None, threads: int = 0) -> dict[str, Values]:
        """Return float64 (n,) by task: a value, or the probability of a binary task.

        Parameters
        ----------
        features
            A mapping from name to (n,) values, or a data frame: numbers, NaN where missing, and the categories of
            categorical features. Further columns are ignored.
        tasks
            By default all.
        threads
            Of LightGBM; 0: those that OpenMP gives.

        Raises
        ------
        BundleError
            If a feature is missing, is not numeric, or has another length; or a task is unknown.
        """
        wanted = list(self._fusion if tasks is None else tasks)
        for task in wanted:
            if task not in self._fusion:
                raise BundleError(f"no task {task!r} in the bundle (it has {', '.join(self._fusion)})")
        columns = self._columns(features)
        return {task: self._predict_task(task, columns, threads) for task in wanted}

    def _columns(self, features: Any) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for feature in self.manifest["features"]:
            name = feature["name"]
            try:
                columns[name] = features[name]
            except KeyError:
                raise BundleError(f"feature {name!r} is missing: {len(self.features)} are needed") from None
            if feature["kind"] == "number":
                columns[name] = _numbers(columns[name], name)
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise BundleError(f"the features have different lengths: {', '.join(map(str, sorted(lengths)))} rows")
        return columns

    def _predict_task(self, task: str, columns: dict[str, Any], threads: int) -> Values:
        fusion, kind = self._fusion[task], self.manifest["tasks"][task]["kind"]
        made = np.column_stack([self._members[name].predict(task, columns, threads) for name in fusion["members"]])
        return _calibrated(fusion["calibration"], _combined(fusion, made, kind))


class _Trees:
    """LightGBM models of each task, averaged over seeds."""

    def __init__(self, facts: dict[str, Any], files: Mapping[str, bytes], tasks: dict[str, Any]) -> None:
        self._names: list[str] = facts["names"]
        self._codes = {
            name: {level: code for code, level in enumerate(levels, 1)} for name, levels in facts["levels"].items()
        }
        self._models = {
            task: [lgb.Booster(model_str=files[name].decode()) for name in names]
            for task, names in facts["models"].items()
        }
        self._tasks = tasks

    def predict(self, task: str, columns: dict[str, Any], threads: int) -> Values:
        return _as_predicted(self._raw(task, self._matrix(columns), threads), self._tasks[task])

    def _matrix(self, columns: dict[str, Any]) -> NDArray[np.float32]:
        read = [
            _coded(columns[name], self._codes[name]) if name in self._codes else columns[name] for name in self._names
        ]
        return np.column_stack(read).astype(np.float32, copy=False)

    def _raw(self, task: str, matrix: NDArray[np.float32], threads: int) -> Values:
        models = self._models[task]
        scores = [np.asarray(one.predict(matrix, raw_score=True, num_threads=threads)) for one in models]
        return np.asarray(sum(scores[1:], scores[0]) / len(scores))


class _Cascade(_Trees):
    """Models in order: each reads the raw scores of those before it as further columns."""

    def __init__(self, facts: dict[str, Any], files: Mapping[str, bytes], tasks: dict[str, Any]) -> None:
        super().__init__(facts, files, tasks)
        self._order: list[str] = facts["order"]

    def predict(self, task: str, columns: dict[str, Any], threads: int) -> Values:
        matrix = self._matrix(columns)
        for earlier in self._order[: self._order.index(task)]:
            matrix = np.column_stack([matrix, self._raw(earlier, matrix, threads).astype(np.float32)])
        return _as_predicted(self._raw(task, matrix, threads), self._tasks[task])


class _Columns:
    """Linear models of a few columns."""

    def __init__(self, facts: dict[str, Any], files: Mapping[str, bytes], tasks: dict[str, Any]) -> None:
        self._models, self._tasks = facts, tasks

    def predict(self, task: str, columns: dict[str, Any], threads: int) -> Values:
        model, kind = self._models[task], self._tasks[task]["kind"]
        values = np.column_stack([columns[name] for name in model["columns"]]).astype(np.float64)
        missing = np.isnan(values)
        values = np.where(missing, np.array(model["mean"]), values)
        for place, transform in enumerate(model["transforms"]):
            if transform == "log1p":
                values[:, place] = np.log1p(values[:, place])
            elif transform == "logit":
                values[:, place] = _logit(values[:, place])
        design = (np.hstack([values, missing]) - np.array(model["centre"])) / np.array(model["scale"])
        score = design @ np.array(model["weights"]) + model["intercept"][0]
        return _sigmoid(score) if kind == "binary" else _within(score, self._tasks[task]["limits"])


FORMS: dict[str, Any] = {"trees": _Trees, "cascade": _Cascade, "columns": _Columns}


def _read(path: Path, entry: dict[str, Any]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: named by the manifest but cannot be read ({error}): export the run again"
        ) from error
    if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise BundleError(f"{path}: is not the file that was written (size or SHA-256 differs): export the run again")
    return data


def _numbers(column: Any, name: str) -> NDArray[np.float32]:
    try:
        return np.asarray(column, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BundleError(f"feature {name!r}: must be numbers, NaN where missing ({error})") from None


def _coded(column: Any, codes: dict[Any, int]) -> NDArray[np.float32]:
    """Return the code of each category; 0 for one that the models do not know, and for none."""
    known = getattr(column, "cat", None)
    if known is None:
        return np.array([codes.get(value, 0) for value in column], dtype=np.float32)
    of_category = [codes.get(category, 0) for category in known.categories]
    places = np.asarray(known.codes, dtype=np.intp)  # -1, missing, takes the last
    return np.asarray(np.array([*of_category, 0], dtype=np.float32)[places], dtype=np.float32)


def _as_predicted(raw: Values, task: dict[str, Any]) -> Values:
    if task["objective"] == "regression":
        return _within(raw, task["limits"])
    if task["objective"] == "fraction":
        low, high = task["limits"]
        return np.asarray(low + (high - low) * _sigmoid(raw))
    return _sigmoid(raw)


def _combined(fusion: dict[str, Any], made: Values, kind: str) -> Values:
    if fusion["method"] == "vote":
        if kind == "regression":
            return np.asarray(np.median(made, axis=1))
        votes = (made >= np.array(fusion["thresholds"])).sum(axis=1)
        return np.asarray((votes + made.mean(axis=1)) / (made.shape[1] + 1))
    weights = np.array(fusion["weights"])
    return np.asarray(made @ weights) if kind == "regression" else _sigmoid(_logit(made) @ weights)


def _calibrated(fitted: dict[str, Any], probability: Values) -> Values:
    if fitted["kind"] == "platt":
        return _sigmoid(fitted["slope"] * _logit(probability) + fitted["offset"])
    if fitted["kind"] == "isotonic":
        return np.asarray(np.interp(probability, fitted["x"], fitted["y"]))
    return probability


def _within(values: Values, limits: list[float] | None) -> Values:
    return values if limits is None else np.asarray(np.clip(values, limits[0], limits[1]))


def _logit(probability: Values) -> Values:
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(value: Values) -> Values:
    small = np.exp(-np.abs(value))  # does not overflow
    return np.asarray(np.where(value >= 0, 1 / (1 + small), small / (1 + small)))
