"""Weights of a linear pool of members: eligibility, simplex weights, and their shrinkage toward equal weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.calibration import clustered_mean, cross_fit, logit, sigmoid, significant

Values = NDArray[np.float64]
FLOOR: Final = "popularity"
PER_MEMBER: Final = 10  # of the rarer label for each weight that is fitted (Peduzzi et al., J. Clin. Epidemiol. 1996)
SHRINKAGES: Final = (1.0, 0.75, 0.5, 0.25, 0.0)  # from equal weights to fitted ones


@dataclass(frozen=True)
class PoolRows:
    """Labeled rows that weights are fitted on.

    Attributes
    ----------
    members
        Names of the columns of ``inputs``.
    inputs
        float64 (n, members): values of a regression, log-odds of a binary task.
    label
        float64 (n,).
    users
        (n,) id of each row's user.
    """

    members: tuple[str, ...]
    inputs: Values
    label: Values
    users: NDArray[Any]
    kind: str

    @classmethod
    def of(cls, predictions: dict[str, Values], label: Values, users: NDArray[Any], kind: str) -> PoolRows:
        """Take the members' predictions, float64 (n,) each."""
        members = tuple(sorted(predictions))
        matrix = np.column_stack([predictions[name] for name in members])
        return cls(members, matrix if kind == "regression" else logit(matrix), label, users, kind)

    def where(self, mask: NDArray[np.bool_]) -> PoolRows:
        """Return the rows of a mask (n,)."""
        return PoolRows(self.members, self.inputs[mask], self.label[mask], self.users[mask], self.kind)

    def row_losses(self, score: Values) -> Values:
        """Return the squared error of values or the log loss of log-odds, float64 (n,)."""
        if self.kind == "regression":
            return np.asarray((score - self.label) ** 2)
        return np.asarray(np.logaddexp(0.0, score) - self.label * score)

    def slopes(self, score: Values) -> Values:
        """Return the derivatives of :meth:`row_losses`, float64 (n,)."""
        return 2 * (score - self.label) if self.kind == "regression" else sigmoid(score) - self.label

    @property
    def rarer(self) -> float:
        """Number of rows with the rarer label of a binary task; of all rows of a regression."""
        positives = float(self.label.sum())
        return len(self.label) if self.kind == "regression" else min(positives, len(self.label) - positives)

    def can_fit_weights(self) -> bool:
        """Whether there are labels enough to fit a weight for each member."""
        return self.rarer >= PER_MEMBER * len(self.members)

    def held_out_scores(self, fit: Callable[[PoolRows], Values]) -> Values:
        """Return the scores, float64 (n,), of each fold of users by weights (members,) fitted on the others."""
        return cross_fit(self.users, lambda held_out: self.inputs[held_out] @ fit(self.where(~held_out)))


@dataclass(frozen=True)
class Shrinkage:
    """The chosen shrinkage and the evidence for it.

    Attributes
    ----------
    chosen
        1 for equal weights of the eligible members, 0 for fitted ones.
    losses
        Shrinkage to float64 (n,), the cross-fitted losses of the rows.
    """

    chosen: float
    losses: dict[float, Values]


def eligible_members(rows: PoolRows) -> NDArray[np.bool_]:
    """Return the mask (members,) of the members that are not significantly worse than the best one.

    The popularity baseline, and a member with no lower loss than it, are eligible only if they are the best: on rows
    with few positives nothing is significantly worse than anything.
    """
    each = [rows.row_losses(score) for score in rows.inputs.T]
    means = np.array([loss.mean() for loss in each])
    best = int(means.argmin())
    eligible = np.array([not significant(loss - each[best], rows.users) for loss in each])
    if FLOOR in rows.members:
        eligible &= means < means[rows.members.index(FLOOR)]
    eligible[best] = True
    return eligible


def equal_weights(eligible: NDArray[np.bool_]) -> Values:
    """Return weights (members,) that are equal for the members of the mask and 0 for others."""
    return np.asarray(eligible / eligible.sum())


def simplex_weights(rows: PoolRows) -> Values:
    """Return non-negative weights with sum 1 that minimize squared error (of values) or log loss (of mean logits)."""
    from scipy.optimize import LinearConstraint, minimize

    def loss(weights: Values) -> float:
        return float(rows.row_losses(rows.inputs @ weights).mean())

    def slope(weights: Values) -> Values:
        return np.asarray(rows.inputs.T @ rows.slopes(rows.inputs @ weights) / len(rows.label))

    size = len(rows.members)
    found = minimize(
        loss,
        np.full(size, 1.0 / size),
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * size,
        constraints=[LinearConstraint(np.ones((1, size)), 1.0, 1.0)],
        options={"ftol": 1e-10, "maxiter": 200},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    return np.asarray(weights / weights.sum())


def shrunken_weights(rows: PoolRows, shrinkage: float) -> Values:
    """Return simplex weights moved toward equal weights of the eligible members, float64 (members,).

    Parameters
    ----------
    shrinkage
        Share of the equal weights, from 0 to 1.
    """
    equal = equal_weights(eligible_members(rows))
    return equal if shrinkage == 1.0 else shrinkage * equal + (1 - shrinkage) * simplex_weights(rows)


def choose_shrinkage(rows: PoolRows) -> Shrinkage:
    """Choose the greatest shrinkage whose loss, cross-fitted over users, is within one standard error of the least.

    The standard error is that of the difference of the two losses, clustered by user. Eligible members are found again
    in each fold. With too few labels to fit weights it is 1.

    Raises
    ------
    DataError
        If all rows belong to one user.
    """
    equal = rows.held_out_scores(partial(shrunken_weights, shrinkage=1.0))
    if not rows.can_fit_weights():
        return Shrinkage(1.0, {1.0: rows.row_losses(equal)})
    fitted = rows.held_out_scores(partial(shrunken_weights, shrinkage=0.0))
    losses = {share: rows.row_losses(share * equal + (1 - share) * fitted) for share in SHRINKAGES}
    least = min(SHRINKAGES, key=lambda share: losses[share].mean())
    return Shrinkage(next(share for share in SHRINKAGES if _within(losses[share] - losses[least], rows.users)), losses)


def _within(excess: Values, users: NDArray[Any]) -> bool:
    mean, error = clustered_mean(excess, users)
    return mean <= error
