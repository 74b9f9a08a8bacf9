"""Listwise softmax over a few scores: the members' predictions, popularity and the ALS score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import group_starts
from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.top_lists import ALS, LOG, LOGIT, POPULAR, POPULAR_1D, RARE
from mtl_tasks.models.calibration import logit
from mtl_tasks.recommend.rankers.base import LabeledLists, Ranker, RankingRows, Values
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import to_json

RIDGE: Final = 1.0  # against standardized weights, in units of one list's loss
_FILE: Final = "softmax.json"


@dataclass(frozen=True)
class SoftmaxRanker(Ranker):
    """A linear score; its softmax over a list is fitted to the list's gains.

    The loss is ListNet's top-one cross-entropy (Cao et al., ICML 2007) with a ridge penalty.

    Attributes
    ----------
    weights
        Weight of each score by name, in the units of the score.
    standardized
        The same times the score's standard deviation within lists, to compare them.
    lists
        Number of lists that it was fitted on.
    """

    kind: ClassVar[str] = "softmax"
    needs_predictions: ClassVar[bool] = True
    weights: dict[str, float]
    standardized: dict[str, float]
    lists: int

    @classmethod
    def fit(cls, labeled: LabeledLists, scenario: Scenario) -> Self:
        """Fit the weights on lists that each have a relevant candidate."""
        names = score_names(scenario)
        return cls(*fit_weights({name: score_column(labeled.rows, name) for name in names}, labeled), len(labeled))

    def scores(self, rows: RankingRows) -> Values:
        """See :class:`Ranker`."""
        made = np.zeros(len(rows))
        for part in self.parts(rows).values():  # one after the other: a matrix product rounds by the batch's size
            made += part
        return made

    def parts(self, rows: RankingRows) -> dict[str, Values]:
        """See :class:`Ranker`."""
        return {name: weight * score_column(rows, name) for name, weight in self.weights.items()}

    def files(self) -> dict[str, bytes]:
        """See :class:`Ranker`."""
        return {_FILE: to_json(asdict(self))}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Ranker`."""
        try:
            return cls(**json.loads(files[_FILE]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{cls.kind}: {_FILE} cannot be read ({error}); run again with --force") from error

    def describe(self) -> dict[str, Any]:
        """See :class:`Ranker`."""
        return {"weights": self.standardized, "lists": self.lists}


def score_names(scenario: Scenario) -> list[str]:
    """Return the names of the scores: popularity of two spans, the ALS score, and the utility's predictions."""
    tasks = [f"{LOGIT if scenario.tasks[name].kind == 'binary' else ''}{name}" for name in scenario.formula.tasks]
    return [f"{LOG}{POPULAR}", f"{LOG}{POPULAR_1D}", ALS, *tasks]


def score_column(rows: RankingRows, name: str) -> Values:
    """Return one of the scores, float64 (n,)."""
    if name == ALS:  # an item without factors has none
        return np.asarray(np.nan_to_num(rows.scored[ALS].to_numpy(dtype=np.float64)))
    if name.startswith(LOG) and not name.startswith(LOGIT):
        counts = rows.scored[name.removeprefix(LOG)].to_numpy(dtype=np.float64)
        return np.asarray(np.log(counts + RARE))
    values = rows.scored[columns.prediction(name.removeprefix(LOGIT))].to_numpy(dtype=np.float64)
    return logit(values) if name.startswith(LOGIT) else values


def fit_weights(scores: dict[str, Values], labeled: LabeledLists) -> tuple[dict[str, float], dict[str, float]]:
    """Return the weight of each score, as such and standardized; one without variation within lists weighs nothing.

    Parameters
    ----------
    scores
        float64 (n,) by name, without NaN.
    """
    from scipy.optimize import minimize

    names = sorted(scores)  # as a file has them: a score is a sum in this order
    matrix = np.column_stack([scores[name] for name in names])
    starts, lists = np.flatnonzero(group_starts(labeled.lists)), labeled.lists
    sizes = np.bincount(lists)
    centered = matrix - (np.add.reduceat(matrix, starts) / sizes[:, None])[lists]
    spread = np.sqrt((centered**2).mean(axis=0))
    inputs = centered / np.where(spread > 0, spread, 1.0)
    gains = labeled.gain.astype(np.float64)
    target = gains / np.add.reduceat(gains, starts)[lists]
    found = minimize(_loss, np.zeros(len(names)), (inputs, target, starts, lists), "L-BFGS-B", jac=True)
    standardized = np.where(spread > 0, found.x, 0.0)
    weights = standardized / np.where(spread > 0, spread, 1.0)
    return (
        {name: float(value) for name, value in zip(names, weights, strict=True)},
        {name: round(float(value), 6) for name, value in zip(names, standardized, strict=True)},
    )


def _loss(
    weights: Values, inputs: Values, target: Values, starts: NDArray[np.int64], lists: NDArray[np.int64]
) -> tuple[float, Values]:
    score = inputs @ weights
    score -= np.maximum.reduceat(score, starts)[lists]
    odds = np.exp(score)
    total = np.add.reduceat(odds, starts)
    loss = float(np.log(total).sum() - target @ score) + RIDGE / 2 * float(weights @ weights)
    return loss, inputs.T @ (odds / total[lists] - target) + RIDGE * weights
