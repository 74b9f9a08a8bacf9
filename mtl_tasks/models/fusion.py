"""Model fusion: the members' predictions of a task are combined into one."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import compute, row_loss
from mtl_tasks.models.calibration import calibrate, cross_fit, fit_calibration, logit, recalibrated, sigmoid

Values = NDArray[np.float64]
Fitted = dict[str, Any]
METHODS: Final = ("mean", "weighted", "vote")
SIGNIFICANT: Final = 1.96  # standard errors
THRESHOLDS: Final = 99  # quantiles tried for a member's voting threshold


def fit_fusion(predictions: dict[str, Values], label: Values, users: NDArray[Any], kind: str, requested: str) -> Fitted:
    """Fit the fusion of one task on the blend window.

    Parameters
    ----------
    predictions
        Member to float64 (n,) on the labeled rows of blend.
    kind
        ``regression`` or ``binary``.
    requested
        A method, or ``auto``: the fusion with the lowest cross-fitted loss if it beats the best single member
        significantly, else that member.

    Returns
    -------
    dict
        JSON-serializable; see :func:`fuse`. ``blend_loss`` holds every candidate's loss, cross-fitted over users, so
        that weights and thresholds get no credit for having seen the rows.

    Raises
    ------
    DataError
        If a member's predictions are not finite, or all rows belong to one user.
    """
    for name, values in predictions.items():
        if not np.isfinite(values).all():
            raise DataError(f"fusion: member {name!r} gave {int((~np.isfinite(values)).sum())} non-finite predictions")
    members = sorted(predictions)
    matrix = np.column_stack([predictions[name] for name in members])
    metric = "rmse" if kind == "regression" else "log_loss"
    methods = METHODS if requested == "auto" else (requested,)
    held = {}
    for name in (*(f"single:{member}" for member in members), *methods):
        made = cross_fit(users, partial(_predict_held, name, members, matrix, label, kind))
        # Candidates are compared as they are used, that is calibrated; raw votes are not probabilities.
        held[name] = made if kind == "regression" else recalibrated(label, made, users)
    losses = {name: compute(metric, label, made) for name, made in held.items()}
    rows = {name: row_loss(metric, label, made) for name, made in held.items()}
    chosen = _choose(losses, rows, users) if requested == "auto" else requested
    fitted = _fit(chosen, members, matrix, label, kind)
    fitted["blend_loss"] = {name: round(float(loss), 6) for name, loss in losses.items()}
    fitted["requested"] = requested
    fitted["note"] = _note(chosen, requested)
    fitted["calibration"] = {"kind": "none"}
    if kind == "binary":
        fitted["calibration"] = fit_calibration(label, _combine(fitted, matrix, kind), users)
    return fitted


def fuse(fitted: Fitted, predictions: dict[str, Values], kind: str) -> Values:
    """Combine the members' predictions into float64 (n,), calibrated for a binary task."""
    matrix = np.column_stack([predictions[name] for name in fitted["members"]])
    return calibrate(fitted["calibration"], _combine(fitted, matrix, kind))


def _fit(method: str, members: list[str], matrix: Values, label: Values, kind: str) -> Fitted:
    fitted: Fitted = {"method": method, "members": members}
    weights = np.full(len(members), 1.0 / len(members))
    if method.startswith("single:"):
        fitted["method"], fitted["member"] = "single", method.removeprefix("single:")
        weights = np.array([float(name == fitted["member"]) for name in members])
    elif method == "weighted":
        weights = _simplex_weights(matrix, label, kind)
    elif method == "vote" and kind == "binary":
        fitted["thresholds"] = [_threshold(column, label) for column in matrix.T]
    fitted["weights"] = {name: round(float(w), 6) for name, w in zip(members, weights, strict=True)}
    return fitted


def _combine(fitted: Fitted, matrix: Values, kind: str) -> Values:
    """Return the raw fusion of (n, members): values are averaged directly, probabilities in logit space.

    ``vote`` is the median for a regression. For a binary task it is the number of members whose prediction reaches
    their own threshold (hard vote) plus the mean probability (soft vote), over the number of members plus one. The
    soft vote only orders rows with equal hard votes.
    """
    if fitted["method"] == "vote":
        if kind == "regression":
            return np.asarray(np.median(matrix, axis=1))
        votes = (matrix >= np.array(fitted["thresholds"])).sum(axis=1)
        return np.asarray((votes + matrix.mean(axis=1)) / (matrix.shape[1] + 1))
    weights = np.array([fitted["weights"][name] for name in fitted["members"]])
    if kind == "regression":
        return np.asarray(matrix @ weights)
    return sigmoid(logit(matrix) @ weights)


def _choose(losses: dict[str, float], rows: dict[str, Values], users: NDArray[Any]) -> str:
    """Return the best fusion if it beats the best single member significantly (5 %, over users), else that member.

    On `movies`, weights that won on blend by less (1.5 standard errors) lost on test: members are refitted after
    blend, and weak ones gain least from it.
    """
    alone, fused = (
        min((name for name in losses if name.startswith("single:") is single), key=lambda name: losses[name])
        for single in (True, False)
    )
    gain = rows[alone] - rows[fused]
    _, code = np.unique(users, return_inverse=True)
    spread = np.bincount(code, weights=gain - gain.mean())  # by user: rows of one user are not independent
    return fused if gain.sum() > SIGNIFICANT * np.sqrt(np.sum(spread**2)) else alone


def _predict_held(
    method: str, members: list[str], matrix: Values, label: Values, kind: str, held: NDArray[np.bool_]
) -> Values:
    fitted = _fit(method, members, matrix[~held], label[~held], kind)
    return _combine(fitted, matrix[held], kind)


def _simplex_weights(matrix: Values, label: Values, kind: str) -> Values:
    """Return non-negative weights with sum 1 that minimize squared error (of values) or log loss (of mean logits)."""
    from scipy.optimize import LinearConstraint, minimize

    inputs = matrix if kind == "regression" else logit(matrix)

    def loss(weights: Values) -> float:
        score = inputs @ weights
        if kind == "regression":
            return float(np.mean((score - label) ** 2))
        return float(np.mean(np.logaddexp(0.0, score) - label * score))

    def slope(weights: Values) -> Values:
        score = inputs @ weights
        error = 2 * (score - label) if kind == "regression" else sigmoid(score) - label
        return np.asarray(inputs.T @ error / len(label))

    size = matrix.shape[1]
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


def _threshold(probability: Values, label: Values) -> float:
    """Return the threshold with the best F1."""
    grid = np.unique(np.quantile(probability, np.linspace(0.01, 0.99, THRESHOLDS)))
    order = np.argsort(probability)
    above = len(label) - np.searchsorted(probability[order], grid)
    positives_below = np.concatenate([[0.0], np.cumsum(label[order])])[len(label) - above]
    hits = label.sum() - positives_below
    return float(grid[np.argmax(2 * hits / (above + label.sum()))])


def _note(chosen: str, requested: str) -> str:
    if requested != "auto":
        return f"{requested}, as requested"
    if chosen.startswith("single:"):
        return f"no fusion beat {chosen.removeprefix('single:')} alone significantly on blend, so it is used alone"
    return f"{chosen} beat every single member significantly on blend"
