"""Model fusion: the members' predictions of a task are combined into one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.arrays import row_products
from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import row_loss
from mtl_tasks.models.calibration import MAPS, calibrate, clustered_mean, cross_fit, fit_calibration, logit, sigmoid
from mtl_tasks.models.pooling import (
    PER_MEMBER,
    PoolRows,
    choose_shrinkage,
    eligible_members,
    equal_weights,
    shrunken_weights,
    simplex_weights,
)
from mtl_tasks.store.documents.training import Calibration, Estimate, TaskFusion

Values = NDArray[np.float64]
Fitted = Mapping[str, Any]
THRESHOLDS: Final = 99  # quantiles tried for a member's voting threshold
DIGITS: Final = 6


def fit_fusion(
    predictions: dict[str, Values], label: Values, users: NDArray[Any], kind: str, requested: str
) -> TaskFusion:
    """Fit the fusion of one task on the blend window.

    Parameters
    ----------
    predictions
        Member to float64 (n,) on the labeled rows of blend.
    kind
        ``regression`` or ``binary``.
    requested
        A method, or ``auto``: weights shrunk toward equal weights of the members that are not significantly worse
        than the best one, as far as the loss allows.

    Raises
    ------
    DataError
        If a member's predictions are not finite, or all rows belong to one user.
    """
    for name, values in predictions.items():
        if not np.isfinite(values).all():
            raise DataError(f"fusion: member {name!r} gave {int((~np.isfinite(values)).sum())} non-finite predictions")
    rows = PoolRows.of(predictions, label, users, kind)
    matrix = np.column_stack([predictions[name] for name in rows.members])
    losses = _candidate_losses(rows)
    document = _fit_auto(rows, losses) if requested == "auto" else _fit_method(requested, rows, matrix, losses)
    found = {"requested": requested, **_evidence(document, losses, rows)}
    if kind == "binary":
        fitted = fit_calibration(label, _combine(document, matrix, kind), users)
        found["calibration"] = Calibration.model_validate(fitted)
    return document.model_copy(update=found)


def fuse(fitted: TaskFusion | Fitted, predictions: dict[str, Values], kind: str) -> Values:
    """Combine the members' predictions into float64 (n,), calibrated for a binary task.

    Parameters
    ----------
    fitted
        From :func:`fit_fusion`, or its JSON form.
    """
    document = fitted if isinstance(fitted, TaskFusion) else TaskFusion.from_json(fitted)
    matrix = np.column_stack([predictions[name] for name in document.members])
    return calibrate(document.calibration.model_dump(), _combine(document, matrix, kind))


def held_out_fusion(
    fitted: TaskFusion, predictions: dict[str, Values], label: Values, users: NDArray[Any], kind: str
) -> Values:
    """Return the predictions of each fold of users by weights and a calibration fitted on the others, float64 (n,).

    The method, the shrinkage and the kind of calibration remain those of ``fitted``.

    Parameters
    ----------
    predictions, label, users, kind
        As :func:`fit_fusion` takes them.

    Raises
    ------
    DataError
        If all rows belong to one user.
    """
    rows = PoolRows.of({name: predictions[name] for name in fitted.members}, label, users, kind)
    matrix = np.column_stack([predictions[name] for name in rows.members])

    def predict(held_out: NDArray[np.bool_]) -> Values:
        others = ~held_out
        document = _fit_again(fitted, rows.where(others), matrix[others])
        raw = _combine(document, matrix[held_out], kind)
        if fitted.calibration.kind == "none":
            return raw
        return calibrate(MAPS[fitted.calibration.kind](label[others], _combine(document, matrix[others], kind)), raw)

    return cross_fit(users, predict)


def uncalibrated_mean(fitted: TaskFusion | Fitted) -> TaskFusion:
    """Return the mean of the members with weight: a fusion without a number that is fitted on labels.

    Parameters
    ----------
    fitted
        From :func:`fit_fusion`, or its JSON form.
    """
    document = fitted if isinstance(fitted, TaskFusion) else TaskFusion.from_json(fitted)
    weights = equal_weights(np.array([document.weights[name] > 0 for name in document.members]))
    return TaskFusion(
        method="mean", members=document.members, weights=dict(zip(document.members, weights.tolist(), strict=True))
    )


def _candidate_losses(rows: PoolRows) -> dict[str, Values]:
    """Return the cross-fitted loss of each row, float64 (n,), of every candidate that needs no choice."""
    losses = {f"single:{name}": rows.row_losses(score) for name, score in zip(rows.members, rows.inputs.T, strict=True)}
    losses["mean"] = rows.row_losses(rows.inputs.mean(axis=1))
    losses["weighted"] = rows.row_losses(rows.held_out_scores(simplex_weights))
    return losses


def _fit_auto(rows: PoolRows, losses: dict[str, Values]) -> TaskFusion:
    """Fit ``shrunken`` and add its losses; it is ``single`` if one member has all the weight."""
    shrinkage = choose_shrinkage(rows)
    weights = shrunken_weights(rows, shrinkage.chosen)
    eligible = tuple(name for name, good in zip(rows.members, eligible_members(rows), strict=True) if good)
    losses["shrunken"] = shrinkage.losses[shrinkage.chosen]
    alone = rows.members[int(weights.argmax())] if weights.max() == 1.0 else None
    return TaskFusion(
        method="shrunken" if alone is None else "single",
        member=alone,
        members=rows.members,
        weights=_by_member(rows, weights),
        eligible=eligible,
        shrinkage=shrinkage.chosen,
        shrinkage_loss={str(share): _estimate(loss, rows) for share, loss in shrinkage.losses.items()},
        note=_note(eligible, shrinkage.chosen, rows),
    )


def _fit_method(method: str, rows: PoolRows, matrix: Values, losses: dict[str, Values]) -> TaskFusion:
    if method == "vote":
        held_out = cross_fit(rows.users, partial(_vote_held_out, rows, matrix))
        losses["vote"] = row_loss("rmse" if rows.kind == "regression" else "log_loss", rows.label, held_out)
        return _fit_vote(rows, matrix)
    every = np.ones(len(rows.members), dtype=bool)
    weights = simplex_weights(rows) if method == "weighted" else equal_weights(every)
    return _requested(method, rows, weights)


def _fit_again(fitted: TaskFusion, rows: PoolRows, matrix: Values) -> TaskFusion:
    """Fit the weights of a fusion on other rows."""
    if fitted.method == "vote":
        return _fit_vote(rows, matrix)
    if fitted.method == "weighted":
        return _requested("weighted", rows, simplex_weights(rows))
    if fitted.shrinkage is not None:
        return _requested("weighted", rows, shrunken_weights(rows, fitted.shrinkage))
    return _requested("weighted", rows, np.array([fitted.weights[name] for name in rows.members]))


def _fit_vote(rows: PoolRows, matrix: Values) -> TaskFusion:
    document = _requested("vote", rows, equal_weights(np.ones(len(rows.members), dtype=bool)))
    if rows.kind == "regression":
        return document
    return document.model_copy(update={"thresholds": tuple(_threshold(column, rows.label) for column in matrix.T)})


def _vote_held_out(rows: PoolRows, matrix: Values, held_out: NDArray[np.bool_]) -> Values:
    return _combine(_fit_vote(rows.where(~held_out), matrix[~held_out]), matrix[held_out], rows.kind)


def _requested(method: str, rows: PoolRows, weights: Values) -> TaskFusion:
    return TaskFusion.from_json(
        {
            "method": method,
            "members": rows.members,
            "weights": _by_member(rows, weights),
            "note": f"{method}, as requested",
        }
    )


def _by_member(rows: PoolRows, weights: Values) -> dict[str, float]:
    return {name: round(float(weight), DIGITS) for name, weight in zip(rows.members, weights, strict=True)}


def _combine(document: TaskFusion, matrix: Values, kind: str) -> Values:
    """Return the raw fusion of (n, members): values are averaged directly, probabilities in logit space.

    ``vote`` is the median for a regression. For a binary task it is the number of members whose prediction reaches
    their own threshold (hard vote) plus the mean probability (soft vote), over the number of members plus one. The
    soft vote only orders rows with equal hard votes.
    """
    if document.method == "vote":
        if kind == "regression":
            return np.asarray(np.median(matrix, axis=1))
        votes = (matrix >= np.array(document.thresholds)).sum(axis=1)
        return np.asarray((votes + matrix.mean(axis=1)) / (matrix.shape[1] + 1))
    weights = np.array([document.weights[name] for name in document.members])
    if kind == "regression":
        return row_products(matrix, weights)
    return sigmoid(row_products(logit(matrix), weights))


def _evidence(document: TaskFusion, losses: dict[str, Values], rows: PoolRows) -> dict[str, Any]:
    """Return the candidates' losses with standard errors, and what they lose against the chosen one."""
    chosen = losses[f"single:{document.member}" if document.method == "single" else document.method]
    estimates = {name: _estimate(loss, rows) for name, loss in losses.items()}
    excess = {name: clustered_mean(loss - chosen, rows.users) for name, loss in losses.items()}
    return {
        "blend_loss": {name: estimate.loss for name, estimate in estimates.items()},
        "blend_loss_se": {name: estimate.se for name, estimate in estimates.items()},
        "blend_excess": {
            name: Estimate(loss=round(mean, DIGITS), se=round(error, DIGITS)) for name, (mean, error) in excess.items()
        },
    }


def _estimate(loss: Values, rows: PoolRows) -> Estimate:
    """Return the mean log loss, or the RMSE with a standard error by the delta method."""
    mean, error = clustered_mean(loss, rows.users)
    if rows.kind == "regression":
        mean = float(np.sqrt(mean))
        error = error / (2 * mean) if mean > 0 else 0.0
    return Estimate(loss=round(mean, DIGITS), se=round(error, DIGITS))


def _threshold(probability: Values, label: Values) -> float:
    """Return the threshold with the best F1."""
    grid = np.unique(np.quantile(probability, np.linspace(0.01, 0.99, THRESHOLDS)))
    order = np.argsort(probability)
    above = len(label) - np.searchsorted(probability[order], grid)
    positives_below = np.concatenate([[0.0], np.cumsum(label[order])])[len(label) - above]
    hits = label.sum() - positives_below
    return float(grid[np.argmax(2 * hits / (above + label.sum()))])


def _note(eligible: tuple[str, ...], shrinkage: float, rows: PoolRows) -> str:
    if shrinkage < 1:
        return (
            f"fitted weights, shrunk by {shrinkage:.0%} towards equal weights of {', '.join(eligible)}: more shrinkage "
            "was worse on blend by more than one standard error"
        )
    if len(eligible) == 1:
        return f"{eligible[0]} alone: every other member was significantly worse on blend, or no better than popularity"
    equal = f"equal weights of {', '.join(eligible)}: none was significantly worse than the best on blend, and"
    if not rows.can_fit_weights():
        least = PER_MEMBER * len(rows.members)
        rare = "rows" if rows.kind == "regression" else "rows of the rarer label"
        return f"{equal} blend has {rows.rarer:,.0f} {rare}, at least {least} are needed to fit weights"
    return f"{equal} fitted weights were not better by more than one standard error"
