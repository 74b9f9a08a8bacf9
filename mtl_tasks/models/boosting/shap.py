"""Feature contributions to boosted predictions: SHAP values, and the gain of shared and of own trees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.binning import Matrix
from mtl_tasks.models.boosting.trees import TaskTrees
from mtl_tasks.models.contributions import TOP, rank_correlation

Values = NDArray[np.float64]
SAMPLE: Final = 2_000  # rows of a summary with few trees
FEWEST: Final = 100  # rows of a summary with many trees
WORK: Final = 20_000_000  # rows times leaves, over all tasks; 0.2 microseconds each on trees of 31 leaves


def contributions(trees: TaskTrees, matrix: Matrix, threads: int, seeds: int | None = None) -> Values:
    """Return SHAP values, float64 (n, columns + 1), averaged over the seeds (or the first ``seeds`` of them).

    The last column is the model's mean prediction; a row adds up to its raw score. The values are exact for trees
    (Lundberg, Erion and Lee, "Consistent individualized feature attribution for tree ensembles", 2018).
    """
    made = np.zeros((len(matrix), matrix.shape[1] + 1))
    boosters = trees.boosters[:seeds]
    for booster in boosters:
        made += np.asarray(booster.predict(matrix, pred_contrib=True, num_threads=threads))
    return made / len(boosters)


def affordable_rows(rounds: int, num_leaves: int, tasks: int) -> int:
    """Return the number of rows per task for a summary, so that all tasks together take a few seconds."""
    return max(FEWEST, min(SAMPLE, WORK // (tasks * max(rounds, 1) * num_leaves)))


def summarize(made: Values, matrix: Matrix, names: Sequence[str], categorical: Collection[str]) -> list[dict[str, Any]]:
    """Return the features that move predictions most, largest first.

    Parameters
    ----------
    made
        From :func:`contributions`.
    categorical
        Names of the columns with category codes, which have no direction.

    Returns
    -------
    list of dict
        ``feature``; ``mean_abs``, its mean absolute SHAP value; ``direction``, the rank correlation of its value with
        its SHAP value (positive: a higher value raises the prediction; None if either is constant).
    """
    size = np.abs(made[:, :-1]).mean(axis=0)
    order = np.argsort(-size, kind="stable")[:TOP]
    return [
        {
            "feature": names[place],
            "mean_abs": round(float(size[place]), 6),
            "direction": None if names[place] in categorical else rank_correlation(matrix[:, place], made[:, place]),
        }
        for place in order
        if size[place] > 0
    ]


def importance_split(trees: TaskTrees) -> list[tuple[str, float, float]] | None:
    """Return features with their shares of the total gain in shared trees and in the task's own trees.

    None unless there are trees of these two kinds and no others. A shared tree's gain is the reduction of this task's
    own loss by its splits.
    """
    own_rounds = [trees.own_rounds(number) for number in range(len(trees.boosters))]
    if any(trees.inherited) or not any(trees.shared) or not any(own_rounds):
        return None
    names = trees.boosters[0].feature_name()
    shared, everything = np.zeros(len(names)), np.zeros(len(names))
    for booster, rounds in zip(trees.boosters, trees.shared, strict=True):
        everything += booster.feature_importance("gain")
        if rounds:  # LightGBM reads 0 rounds as all of them
            shared += booster.feature_importance("gain", iteration=rounds)
    total = max(everything.sum(), 1e-12)
    parts = np.column_stack([shared, np.maximum(everything - shared, 0.0)]) / total
    order = np.argsort(-everything, kind="stable")[:TOP]
    return [(names[k], round(float(parts[k, 0]), 6), round(float(parts[k, 1]), 6)) for k in order]
