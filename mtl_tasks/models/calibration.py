"""Calibration of probabilities, by the map with the lowest loss on held-out users."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.metrics.pointwise import EPSILON

Values = NDArray[np.float64]
Map = dict[str, Any]
MIN_POSITIVES_ISOTONIC: Final = 1000  # a step function needs thousands; with fewer it only memorizes
FOLDS: Final = 5


def logit(probability: Values) -> Values:
    """Return log-odds, clipped to stay finite."""
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(p / (1 - p)))


def sigmoid(value: Values) -> Values:
    """Invert :func:`logit`."""
    return np.asarray(expit(value))


def fit_calibration(label: Values, probability: Values, users: NDArray[Any]) -> Map:
    """Choose between no map, Platt scaling and isotonic regression by log loss cross-fitted over users.

    Returns
    -------
    dict
        JSON-serializable; see :func:`calibrate`.
    """
    kinds = ["none", "platt"]
    if (label == 1).sum() >= MIN_POSITIVES_ISOTONIC and (label == 0).sum() >= MIN_POSITIVES_ISOTONIC:
        kinds.append("isotonic")
    losses = {}
    for kind in kinds:
        predicted = cross_fit(users, partial(_apply_elsewhere, _FITS[kind], label, probability))
        losses[kind] = compute("log_loss", label, predicted)
    best = min(kinds, key=lambda kind: losses[kind])
    return {**_FITS[best](label, probability), "log_loss": {kind: round(loss, 6) for kind, loss in losses.items()}}


def calibrate(fitted: Map, probability: Values) -> Values:
    """Apply a map from :func:`fit_calibration`."""
    if fitted["kind"] == "platt":
        return sigmoid(fitted["slope"] * logit(probability) + fitted["offset"])
    if fitted["kind"] == "isotonic":
        return np.interp(probability, fitted["x"], fitted["y"])
    return probability


def user_folds(users: NDArray[Any], folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each row; a user's rows share one, and users are assigned in a fixed shuffled order."""
    ids, code = np.unique(users, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(ids)) % folds
    return np.asarray(dealt[code], dtype=np.int64)


def cross_fit(users: NDArray[Any], predict_fold: Callable[[NDArray[np.bool_]], Values]) -> Values:
    """Predict each fold of users with a model fitted on the others, float64 (n,).

    Parameters
    ----------
    predict_fold
        Takes the mask of the held-out rows and returns predictions for them.

    Raises
    ------
    DataError
        If all rows belong to one user.
    """
    if len(users) == 0 or (users == users[0]).all():
        raise DataError(
            f"blend: its {len(users):,} labeled rows are of fewer than two users, so that nothing can be fitted on "
            "some and tried on others: lengthen windows.blend"
        )
    fold = user_folds(users)
    predicted = np.empty(len(users))
    for number in np.unique(fold):
        held = fold == number
        predicted[held] = predict_fold(held)
    return predicted


def recalibrated(label: Values, probability: Values, users: NDArray[Any]) -> Values:
    """Return Platt-scaled probabilities, each fold of users scaled by a map fitted on the others."""
    return cross_fit(users, partial(_apply_elsewhere, _fit_platt, label, probability))


def _apply_elsewhere(
    fit: Callable[[Values, Values], Map], label: Values, probability: Values, held: NDArray[np.bool_]
) -> Values:
    return calibrate(fit(label[~held], probability[~held]), probability[held])


def _fit_none(label: Values, probability: Values) -> Map:
    return {"kind": "none"}


def _fit_platt(label: Values, probability: Values) -> Map:
    from sklearn.linear_model import LogisticRegression  # takes seconds to import

    if label.min() == label.max():
        return _fit_none(label, probability)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(logit(probability)[:, None], label)
    slope = float(model.coef_[0, 0])
    if slope <= 0:  # would invert the ranking
        return _fit_none(label, probability)
    return {"kind": "platt", "slope": slope, "offset": float(model.intercept_[0])}


def _fit_isotonic(label: Values, probability: Values) -> Map:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=EPSILON, y_max=1 - EPSILON, out_of_bounds="clip").fit(probability, label)
    return {"kind": "isotonic", "x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()}


_FITS: Final[dict[str, Callable[[Values, Values], Map]]] = {
    "none": _fit_none,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}
