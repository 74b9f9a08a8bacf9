"""Evaluation of the order of what users were shown: logged rows of one user and day, with both labels among them.

A model that learns from logged negatives predicts what a user does with an item that is shown. This is the question
that it can be held to; which of all items to show is another one, which lists out of the catalog answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.arrays import group_starts, stable_argsort
from mtl_tasks.evaluation.estimates import Interval, Key, estimate, ratios
from mtl_tasks.metrics.grouped import GroupRanking
from mtl_tasks.metrics.ranking import Values
from mtl_tasks.store.documents.lists import IMPRESSION_QUESTION, IMPRESSION_WEIGHTING, ImpressionsDocument

GAUC: Final = "gauc"
NDCG: Final = "impression_ndcg"
FLOOR: Final = "popularity"


@dataclass(frozen=True)
class Shown:
    """Exposures, grouped by user and day.

    Attributes
    ----------
    order
        int64 (n,): positions of the rows in the table that they came from, ordered by group.
    group
        int64 (n,) group of each row, ascending from 0.
    label
        float64 (n,), 0 or 1.
    user
        int64 (groups,) code of each group's user.
    """

    order: NDArray[np.int64]
    group: NDArray[np.int64]
    label: Values
    user: NDArray[np.int64]

    @classmethod
    def of(cls, users: NDArray[Any], days: NDArray[Any], label: Values) -> Self:
        """Group the labeled rows by user and day.

        Parameters
        ----------
        users, days
            (m,) user id and day number of each row.
        label
            float64 (m,), 0 or 1; NaN where it was not observed.

        Raises
        ------
        ValueError
            If a label is neither 0, 1 nor NaN.
        """
        wrong = ~(np.isnan(label) | (label == 0) | (label == 1))
        if wrong.any():
            raise ValueError(f"{int(wrong.sum())} of {len(label)} labels, such as {label[wrong][0]:g}, are not 0 or 1")
        code = np.unique(users, return_inverse=True)[1].astype(np.int64)
        day = days.astype(np.int64)
        known = np.flatnonzero(~np.isnan(label))
        order = known[stable_argsort(code[known], day[known])]
        first = group_starts(code[order]) | group_starts(day[order])
        return cls(order, np.cumsum(first) - 1, label[order], code[order][first])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each group, int64 (groups,)."""
        return np.bincount(self.group, minlength=len(self.user))

    @property
    def positives(self) -> Values:
        """Rows of each group with label 1, float64 (groups,)."""
        return np.bincount(self.group, weights=self.label, minlength=len(self.user)).astype(np.float64)

    def where(self, groups: NDArray[np.bool_]) -> Self:
        """Keep some of the groups."""
        kept = groups[self.group]
        number = np.cumsum(groups) - 1
        return type(self)(self.order[kept], number[self.group[kept]], self.label[kept], self.user[groups])


def evaluate_impressions(
    users: NDArray[Any],
    days: NDArray[Any],
    label: Values,
    predictions: Mapping[str, Values],
    *,
    seed: int,
    floor: str = FLOOR,
    k: int | None = None,
    replicates: int = 200,
    confidence: float = 0.95,
) -> ImpressionsDocument:
    """Evaluate how models order what users were shown.

    GAUC is the mean AUC of the groups, weighted by their rows (Zhu et al. 2017). NDCG is the mean over groups. Ties
    count with their expectation. A model with a prediction that is not finite has no value.

    Parameters
    ----------
    users, days
        (n,) user id and day number of each row.
    label
        float64 (n,), 0 or 1; rows with NaN are left out.
    predictions
        Model to float64 (n,).
    floor
        Model that the others are compared with, if it is among them.
    k
        Rank at which NDCG is cut; None: not at all.
    replicates, confidence, seed
        Of the user-clustered bootstrap.

    Raises
    ------
    ValueError
        If a label is neither 0, 1 nor NaN, or predictions differ in length from the labels.
    """
    check_lengths(predictions, len(label))
    everything = Shown.of(users, days, label)
    positives = everything.positives
    shown = everything.where((positives > 0) & (positives < everything.sizes))
    keys = [Key(name, metric) for name in predictions for metric in (GAUC, NDCG)]
    weight = np.column_stack([shown.sizes.astype(np.float64), np.ones(len(shown.user))])
    scores = [_of_model(shown, values[shown.order], k) * weight for values in predictions.values()]
    weights = np.tile(weight, (1, len(scores)))
    table = np.concatenate(scores, axis=1) if scores else weights
    rows = np.full(len(keys), len(shown.user), dtype=np.int64)
    found = estimate(shown.user, keys, ratios(table, weights), rows, Interval(seed, replicates, confidence))
    return ImpressionsDocument(
        question=IMPRESSION_QUESTION,
        weighting=IMPRESSION_WEIGHTING,
        k=k,
        rows=len(shown.order),
        groups=len(shown.user),
        users=len(np.unique(shown.user)),
        left_out=len(everything.order) - len(shown.order),
        chance=_chance(shown, k),
        models={name: found.measures(name, (floor,)) for name in predictions},
    )


def check_lengths(predictions: Mapping[str, Values], rows: int) -> None:
    """Refuse predictions whose number of rows differs.

    Raises
    ------
    ValueError
        Naming the model.
    """
    for name, values in predictions.items():
        if len(values) != rows:
            raise ValueError(f"{name}: {len(values):,} predictions of {rows:,} rows; give one for each row")


def _of_model(shown: Shown, prediction: Values, k: int | None) -> Values:
    """Return AUC and NDCG of each group, float64 (groups, 2)."""
    if not np.isfinite(prediction).all():
        return np.full((len(shown.user), 2), np.nan)
    ranking = GroupRanking(shown.group, prediction)
    return np.column_stack([ranking.auc(shown.label), ranking.ndcg(shown.label, k)])


def _chance(shown: Shown, k: int | None) -> dict[str, float | None]:
    if not len(shown.user):
        return {GAUC: None, NDCG: None}
    auc, ndcg = _of_model(shown, np.zeros(len(shown.order)), k).T
    return {GAUC: float(auc.mean()), NDCG: float(ndcg.mean())}
