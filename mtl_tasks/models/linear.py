"""Linear models of all features: logistic regression of a binary task, ridge regression of a number."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from mtl_tasks.core.arrays import row_products
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.boosting.task_rows import TaskRows, span
from mtl_tasks.models.checks import check_features, check_labels, check_taken_labels
from mtl_tasks.models.contributions import effects_of, shares_of
from mtl_tasks.models.encoding import ARRAYS, CHUNK, FeatureEncoder, Matrix, chunks, spacing, taken
from mtl_tasks.models.member import Member, Predictions, Table, model_file, within_range
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.codecs import REMEDY, pack_arrays, parse_json, unpack_arrays
from mtl_tasks.store.documents.members import LinearDocument, LinearTask

Values = NDArray[np.float64]
_Found = tuple[Values, float]  # weights and intercept

FILE: Final = "linear_member.json"
WEIGHTS: Final = "linear.npz"
# From strong to weak, as each fit starts from the one before. scikit-learn calls it alpha, or 1 / C.
PENALTIES: Final = (10_000.0, 1_000.0, 100.0, 10.0, 1.0)
STEPS: Final = 200  # of a fit
TOLERANCE: Final = 1e-3  # of the gradient of a logistic regression, relative to the label's variance
EXPLAINED: Final = 2_000  # rows of an explanation
_ARRAYS: Final = {**ARRAYS, "weights": ("f", 2), "intercepts": ("f", 1), "means": ("f", 1), "spreads": ("f", 1)}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinearWeights:
    """Fitted parameters.

    Attributes
    ----------
    weights
        float64 (tasks, inputs).
    intercepts
        float64 (tasks,).
    means, spreads
        float64 (inputs,): mean and standard deviation of the inputs of the fitted rows.
    """

    weights: Values
    intercepts: Values
    means: Values
    spreads: Values


class LinearMember(Member):
    """Logistic or ridge regression of every task on all features, encoded as :class:`FeatureEncoder` says.

    A task's L2 penalty is the one with the least loss on tune. Boosted trees find steps and interactions; a smooth sum
    over all columns errs differently, which is what a fusion gains from.
    """

    kind = "linear"

    def __init__(
        self,
        scenario: Scenario,
        encoder: FeatureEncoder,
        tasks: dict[str, LinearTask],
        fitted: LinearWeights,
        every: int,
    ) -> None:
        super().__init__(scenario)
        self._encoder, self._tasks, self._fitted, self._every = encoder, tasks, fitted, every

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """See :class:`Member`; the penalty of each task is chosen on ``tune``."""
        check_labels(train, tune, scenario)
        encoder = FeatureEncoder.learn(train)
        matrix, every = _encoded(encoder, train, "train", scenario)
        tune_matrix, tune_every = _encoded(encoder, tune, "tune", scenario)
        choices, found = {}, {}
        for task, settings in sorted(scenario.tasks.items()):  # as the file has them
            rows, held = train.rows(task, every), tune.rows(task, tune_every)
            inputs, outputs = (
                part[span(own.positions, len(part))] for part, own in ((matrix, rows), (tune_matrix, held))
            )
            choices[task], found[task] = _choose(settings.kind, (inputs, rows), (outputs, held))
        return cls(scenario, encoder, choices, _joined(found, matrix), every)

    def refit(self, table: Table) -> Self:
        """See :class:`Member`; the encoding is learned again, on the given rows."""
        encoder = FeatureEncoder.learn(table)
        matrix, every = _encoded(encoder, table, None, self.scenario)
        found = {}
        for task, chosen in self._tasks.items():
            rows = table.rows(task, every)
            inputs = matrix[span(rows.positions, len(matrix))]
            found[task] = next(_path(self.scenario.tasks[task].kind, inputs, rows, [chosen.penalty]))
        return type(self)(self.scenario, encoder, self._tasks, _joined(found, matrix), every)

    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """See :class:`Member`."""
        wanted = list(self.scenario.tasks if tasks is None else tasks)
        read = self._encoder.chosen(features, self.kind)
        scores = np.empty((len(wanted), len(read)))
        for start in range(0, len(read), CHUNK):
            matrix = self._encoder.one_hot(read.iloc[start : start + CHUNK])
            for position, task in enumerate(wanted):
                scores[position, start : start + len(matrix)] = self._scores(matrix, task)
        return {task: self._predicted(score, task) for task, score in zip(wanted, scores, strict=True)}

    def _scores(self, matrix: Matrix, task: str) -> Values:
        row = list(self._tasks).index(task)
        return _score(matrix, (self._fitted.weights[row], float(self._fitted.intercepts[row])))

    def _predicted(self, score: Values, task: str) -> Values:
        settings = self.scenario.tasks[task]
        return np.asarray(expit(score)) if settings.kind == "binary" else within_range(score, settings)

    def files(self) -> dict[str, bytes]:
        """See :class:`Member`."""
        document = LinearDocument(tasks=self._tasks, encoder=self._encoder.document(), every=self._every)
        fitted = self._fitted
        arrays = {"weights": fitted.weights, "intercepts": fitted.intercepts}
        arrays |= {"means": fitted.means, "spreads": fitted.spreads, **self._encoder.arrays()}
        return {FILE: to_json(document.to_stored()), WEIGHTS: pack_arrays(arrays)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`."""
        written = parse_json(model_file(files, FILE, cls.kind), FILE)
        document = LinearDocument.parse(written, FILE)
        if set(document.tasks) != set(scenario.tasks):
            raise ArtifactError(f"{cls.kind}: has tasks {sorted(document.tasks)}, expected {sorted(scenario.tasks)}")
        arrays = unpack_arrays(model_file(files, WEIGHTS, cls.kind), _ARRAYS, WEIGHTS)
        encoder = FeatureEncoder.from_parts(document.encoder, arrays, WEIGHTS)
        tasks, width = len(document.tasks), len(encoder.one_hot_names)
        for name, shape in (
            ("weights", (tasks, width)),
            ("intercepts", (tasks,)),
            ("means", (width,)),
            ("spreads", (width,)),
        ):
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ArtifactError(
                    f"{WEIGHTS}: {name!r} has shape {arrays[name].shape}, expected {shape} of numbers; {REMEDY}"
                )
        fitted = LinearWeights(*(arrays[name] for name in ("weights", "intercepts", "means", "spreads")))
        return cls(scenario, encoder, document.tasks, fitted, document.every)

    def describe(self) -> dict[str, Any]:
        """See :class:`Member`."""
        tasks = {}
        for task in self.scenario.tasks:
            size = np.abs(self._fitted.weights[list(self._tasks).index(task)]) * self._fitted.spreads
            shares = shares_of(size, self._encoder.one_hot_names)
            tasks[task] = {"note": self._note(task), "rounds": None, "curve": None, "importance": shares}
        return {"kind": self.kind, "device": "cpu", "tasks": tasks}

    def _note(self, task: str) -> str:
        model = "logistic" if self.scenario.tasks[task].kind == "binary" else "ridge"
        part = "" if self._every == 1 else f", fitted on one row in {self._every}"
        return f"{model} regression on all features, L2 penalty chosen on tune: {self._tasks[task].penalty:g}{part}"

    def explain(self, features: pd.DataFrame, seed: int) -> dict[str, Any]:
        """See :class:`Member`; a weight times an input's distance from its mean is the SHAP value of a linear model."""
        order = np.sort(np.random.default_rng(seed).permutation(len(features))[:EXPLAINED])
        rows = self._encoder.chosen(features, self.kind).iloc[order]
        distance = self._encoder.one_hot(rows) - self._fitted.means
        made = {}
        for task in self.scenario.tasks:
            parts = distance * self._fitted.weights[list(self._tasks).index(task)]
            made[task] = effects_of(parts, self._encoder.one_hot_names, rows)
        return made


def _encoded(encoder: FeatureEncoder, table: Table, window: str | None, scenario: Scenario) -> tuple[Matrix, int]:
    """Return inputs, float32 (n, inputs), of every k-th row, and k; without a window features are not checked."""
    width = len(encoder.one_hot_names)
    every = spacing(len(table), width)
    if every > 1:
        log.info("%s: linear: one row in %d of %d is used, to bound memory", scenario.name, every, len(table))
        check_taken_labels(table, window, every, LinearMember.kind, scenario)
    matrix = np.empty((taken(len(table), every), width), dtype=np.float32)
    for position, part in chunks(table, every):
        if window is not None:
            check_features(part, window, scenario.file)
        matrix[position] = encoder.one_hot(part)
    return matrix, every


def _choose(kind: str, train: tuple[Matrix, TaskRows], tune: tuple[Matrix, TaskRows]) -> tuple[LinearTask, _Found]:
    """Fit with ever weaker penalties until the loss on tune rises, and return the best fit."""
    losses: dict[float, float] = {}
    best: _Found | None = None
    inputs, rows = tune
    for penalty, found in zip(PENALTIES, _path(kind, *train, PENALTIES), strict=True):
        losses[penalty] = LOSSES[kind].value(_score(inputs, found), rows.label, rows.weight)
        if losses[penalty] > min(losses.values()):
            break
        best = found
    assert best is not None  # the first fit is the best one so far
    chosen = min(losses, key=losses.__getitem__)
    return LinearTask(penalty=chosen, tune_losses={f"{one:g}": round(loss, 9) for one, loss in losses.items()}), best


def _path(kind: str, inputs: Matrix, rows: TaskRows, penalties: Sequence[float]) -> Iterator[_Found]:
    """Yield weights and intercept for each penalty; one fit of a logistic regression starts from the one before."""
    from sklearn.linear_model import LogisticRegression, Ridge  # takes seconds to import

    label = rows.label.astype(np.float32)
    for penalty in penalties:
        if kind == "regression":
            model: Any = Ridge(alpha=penalty, solver="cholesky")
        elif penalty == penalties[0]:
            rate = float(np.average(rows.label, weights=rows.weight))
            tolerance = TOLERANCE * rate * (1 - rate)  # gradients are as small as positives are rare
            model = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=STEPS, warm_start=True)
        else:
            model.set_params(C=1 / penalty)
        model.fit(inputs, label, sample_weight=rows.weight)
        yield np.ravel(model.coef_).astype(np.float64), float(np.ravel(model.intercept_)[0])


def _score(inputs: Matrix, found: _Found) -> Values:
    """Return scores, float64 (n,); the inputs are not copied to a wider type."""
    weights, intercept = found
    return np.asarray(row_products(inputs, weights.astype(np.float32)).astype(np.float64) + intercept)


def _joined(found: dict[str, _Found], matrix: Matrix) -> LinearWeights:
    means = matrix.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->j", matrix, matrix, dtype=np.float64) / len(matrix)
    return LinearWeights(
        np.array([weights for weights, _ in found.values()]),
        np.array([intercept for _, intercept in found.values()]),
        means,
        np.sqrt(np.maximum(squares - means**2, 0.0)),
    )
