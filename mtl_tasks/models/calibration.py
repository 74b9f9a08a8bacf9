"""Calibration of probabilities, by a map that significantly lowers the loss on held-out users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mtl_tasks.core.errors import DataError
from mtl_tasks.metrics.catalog import row_loss
from mtl_tasks.metrics.ranking import EPSILON

Values = NDArray[np.float64]
Map = dict[str, Any]
MIN_POSITIVES_ISOTONIC: Final = 1000  # a step function needs thousands; with fewer it only memorizes
FOLDS: Final = 5
SIGNIFICANT: Final = 1.96  # standard errors


def logit(probability: Values) -> Values:
    """Return log-odds, clipped to stay finite."""
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(p / (1 - p)))


def sigmoid(value: Values) -> Values:
    """Invert :func:`logit`."""
    return np.asarray(expit(value))


def clustered_mean(values: Values, users: NDArray[Any]) -> tuple[float, float]:
    """Return the mean of values (n,) and its standard error, clustered by user.

    Rows of one user are not independent (Cameron, Gelbach & Miller 2008).

    >>> clustered_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([7, 7, 8, 8]))
    (2.0, 0.7071067811865476)
    """
    mean = float(values.mean())
    _, code = np.unique(users, return_inverse=True)
    by_user = np.bincount(code, weights=values - mean)
    return mean, float(np.sqrt(np.sum(by_user**2)) / len(values))


def significant(gain: Values, users: NDArray[Any]) -> bool:
    """Return whether the mean of gains (n,) is above 0 by more than 1.96 standard errors, clustered by user."""
    mean, error = clustered_mean(gain, users)
    return mean > SIGNIFICANT * error


def fit_calibration(label: Values, probability: Values, users: NDArray[Any]) -> Map:
    """Choose between no map, Platt scaling and isotonic regression by log loss cross-fitted over users.

    Returns
    -------
    dict
        JSON-serializable; see :func:`calibrate`. ``log_loss`` holds the cross-fitted loss of each kind, and ``gains``
        that of each map over no map with its standard error.

    Notes
    -----
    Platt scaling must be significantly better than no map, and isotonic regression significantly better than the kind
    it would replace. A map that wins by less than the noise of blend makes later probabilities worse on average, and
    isotonic regression makes ties, which lists are then ordered by.
    """
    held_out = {
        kind: row_loss("log_loss", label, cross_fit(users, partial(_apply_elsewhere, MAPS[kind], label, probability)))
        for kind in _kinds(label)
    }
    chosen = "none"
    for kind, loss in held_out.items():
        if significant(held_out[chosen] - loss, users):
            chosen = kind
    gains = {kind: clustered_mean(held_out["none"] - loss, users) for kind, loss in held_out.items() if kind != "none"}
    return {
        **MAPS[chosen](label, probability),
        "log_loss": {kind: round(float(loss.mean()), 6) for kind, loss in held_out.items()},
        "gains": {kind: {"gain": round(gain, 6), "se": round(error, 6)} for kind, (gain, error) in gains.items()},
    }


def _kinds(label: Values) -> list[str]:
    many = (label == 1).sum() >= MIN_POSITIVES_ISOTONIC and (label == 0).sum() >= MIN_POSITIVES_ISOTONIC
    return ["none", "platt", *(["isotonic"] if many else [])]


def calibrate(fitted: Map, probability: Values) -> Values:
    """Apply a map from :func:`fit_calibration`."""
    if fitted["kind"] == "platt":
        return sigmoid(fitted["slope"] * logit(probability) + fitted["offset"])
    if fitted["kind"] == "isotonic":
        return np.interp(probability, fitted["x"], fitted["y"])
    return probability


def calibration_by_slice(
    label: Values, prediction: Values, users: NDArray[Any], slices: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float | int | None]]:
    """Compare expected with observed labels in slices of the rows, such as cold and warm users.

    Parameters
    ----------
    label, prediction
        float64 (n,); labels of a binary task are 0 or 1 and predictions probabilities, those of a regression values.
    slices
        Name to mask (n,).

    Returns
    -------
    dict
        Slice to ``rows``, ``expected`` (mean prediction), ``observed`` (mean label), ``gap`` (observed less expected)
        and ``gap_se``, the standard error of the gap, clustered by user. All but ``rows`` are None in an empty slice,
        and ``gap_se`` is None if the rows are of one user.
    """
    return {name: _slice_calibration(label[mask], prediction[mask], users[mask]) for name, mask in slices.items()}


def _slice_calibration(label: Values, prediction: Values, users: NDArray[Any]) -> dict[str, float | int | None]:
    if not len(label):
        return {"rows": 0, "expected": None, "observed": None, "gap": None, "gap_se": None}
    gap, error = clustered_mean(label - prediction, users)
    return {
        "rows": len(label),
        "expected": float(prediction.mean()),
        "observed": float(label.mean()),
        "gap": gap,
        "gap_se": None if (users == users[0]).all() else error,
    }


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
        held_out = fold == number
        predicted[held_out] = predict_fold(held_out)
    return predicted


def _apply_elsewhere(
    fit: Callable[[Values, Values], Map], label: Values, probability: Values, held_out: NDArray[np.bool_]
) -> Values:
    return calibrate(fit(label[~held_out], probability[~held_out]), probability[held_out])


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


MAPS: Final[dict[str, Callable[[Values, Values], Map]]] = {
    "none": _fit_none,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}
