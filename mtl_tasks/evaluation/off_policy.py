"""Off-policy estimates: the reward of a model's choices among the shown items, from randomized exposures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.evaluation.estimates import Estimates, Interval, Key, estimate, ratios
from mtl_tasks.evaluation.impressions import FLOOR, Shown, check_lengths
from mtl_tasks.metrics.grouped import GroupRanking
from mtl_tasks.metrics.ranking import Values
from mtl_tasks.store.documents.lists import OFF_POLICY_QUESTION, OffPolicyDocument, PolicyEstimate

SNIPS: Final = "snips"
MAX_WEIGHT: Final = 100.0


def evaluate_policies(
    users: NDArray[Any],
    days: NDArray[Any],
    label: Values,
    propensity: Values,
    predictions: Mapping[str, Values],
    *,
    seed: int,
    k: int = 1,
    floor: str = FLOOR,
    max_weight: float = MAX_WEIGHT,
    replicates: int = 200,
    confidence: float = 0.95,
) -> OffPolicyDocument:
    """Estimate the mean label of the policy that takes each model's k best of the items shown to a user on a day.

    The estimate is the mean label of the chosen rows, weighted by their inverse propensities and divided by the sum of
    the weights (SNIPS; Swaminathan & Joachims 2015). Weights above ``max_weight`` are clipped: less variance for some
    bias. Tied rows at rank k are chosen with equal probability. Groups of k rows or fewer leave nothing to choose and
    are left out.

    Parameters
    ----------
    users, days
        (n,) user id and day number of each row.
    label
        float64 (n,), 0 or 1; rows with NaN are left out.
    propensity
        float64 (n,) in (0, 1]: probability with which the log showed the row's item. NaN: unknown, the row is left out.
        A log that only marks exposures drawn uniformly has 1 for these and NaN for the others.
    predictions
        Model to float64 (n,).
    k
        Items chosen in each group.

    Raises
    ------
    DataError
        If a propensity is outside (0, 1].
    ValueError
        If a label is neither 0, 1 nor NaN, or a length, ``k`` or ``max_weight`` is wrong.
    """
    check_lengths({"propensity": propensity, **predictions}, len(label))
    _check(propensity, k, max_weight)
    shown = Shown.of(users, days, np.where(np.isnan(propensity), np.nan, label))
    shown = shown.where(shown.sizes > k)
    inverse = 1.0 / propensity[shown.order]
    chosen = {name: _chosen(shown, values[shown.order], k) for name, values in predictions.items()}
    weights = {name: share * np.minimum(inverse, max_weight) for name, share in chosen.items()}
    found = _estimates(shown, weights, Interval(seed, replicates, confidence))
    return OffPolicyDocument(
        question=OFF_POLICY_QUESTION,
        k=k,
        max_weight=max_weight,
        rows=len(shown.order),
        groups=len(shown.user),
        users=len(np.unique(shown.user)),
        models={
            name: _document(found, name, floor, weight, (chosen[name] > 0) & (inverse > max_weight))
            for name, weight in weights.items()
        },
    )


def _check(propensity: Values, k: int, max_weight: float) -> None:
    wrong = ~np.isnan(propensity) & ~((propensity > 0) & (propensity <= 1))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"propensity: {int(wrong.sum()):,} of {len(propensity):,} values are outside (0, 1], the first "
            f"{propensity[at]:g} in row {at}; give the probability with which the item was shown, or leave it empty "
            "where it is unknown"
        )
    if k < 1:
        raise ValueError(f"k is {k}: a policy chooses at least 1 item")
    if not max_weight >= 1:
        raise ValueError(f"max_weight is {max_weight:g}: an inverse propensity is at least 1")


def _chosen(shown: Shown, prediction: Values, k: int) -> Values:
    """Return the probability of each row to be chosen, float64 (n,); NaN if a prediction is not finite."""
    if not np.isfinite(prediction).all():
        return np.full(len(prediction), np.nan)
    return GroupRanking(shown.group, prediction).top(k)


def _estimates(shown: Shown, weights: Mapping[str, Values], interval: Interval) -> Estimates:
    groups = len(shown.user)
    below = np.zeros((groups, len(weights)))
    above = np.zeros((groups, len(weights)))
    for at, weight in enumerate(weights.values()):
        below[:, at] = np.bincount(shown.group, weights=weight, minlength=groups)
        above[:, at] = np.bincount(shown.group, weights=weight * shown.label, minlength=groups)
    keys = [Key(name, SNIPS) for name in weights]
    rows = np.full(len(keys), groups, dtype=np.int64)
    statistic = ratios(above, below)
    return estimate(shown.user, keys, statistic, rows, interval)


def _document(found: Estimates, name: str, floor: str, weight: Values, clipped: NDArray[np.bool_]) -> PolicyEstimate:
    measures = found.measures(name, (floor,))
    squares = float(weight @ weight)
    effective = float(weight.sum() ** 2 / squares) if squares > 0 else 0.0
    return PolicyEstimate(
        snips=measures.metrics[SNIPS],
        versus={other: metrics[SNIPS] for other, metrics in measures.versus.items()},
        effective_rows=effective,
        clipped=int(clipped.sum()),
    )
