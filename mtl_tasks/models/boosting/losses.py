"""Losses, with the derivatives for Newton steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Values = NDArray[np.float64]
TINY = 1e-12


class Loss(ABC):
    """A loss of raw scores against labels, averaged over rows.

    Attributes
    ----------
    objective
        Its objective line in a LightGBM model file.
    shown
        Name of the metric on learning curves.
    """

    objective: ClassVar[str]
    shown: ClassVar[str]

    @abstractmethod
    def base(self, label: Values, weight: Values | None) -> float:
        """Return the constant score with the lowest loss."""

    @abstractmethod
    def derivatives(self, score: Values, label: Values) -> tuple[Values, Values]:
        """Return the first and second derivatives with respect to the score, float64 (n,) each."""

    @abstractmethod
    def each(self, score: Values, label: Values) -> Values:
        """Return each row's loss, float64 (n,)."""

    def value(self, score: Values, label: Values, weight: Values | None) -> float:
        """Return the mean loss."""
        return float(np.average(self.each(score, label), weights=weight))

    def on_curve(self, value: float) -> float:
        """Return the value in the unit of :attr:`shown`."""
        return value


class SquaredError(Loss):
    """Half the squared error, so that the second derivative is 1."""

    objective = "regression"
    shown = "rmse"

    def base(self, label: Values, weight: Values | None) -> float:
        """See :class:`Loss`."""
        return float(np.average(label, weights=weight))

    def derivatives(self, score: Values, label: Values) -> tuple[Values, Values]:
        """See :class:`Loss`."""
        return score - label, np.ones(len(label))

    def each(self, score: Values, label: Values) -> Values:
        """See :class:`Loss`."""
        return (score - label) ** 2 / 2

    def on_curve(self, value: float) -> float:
        """Root mean squared error."""
        return float(np.sqrt(2 * value))


class LogLoss(Loss):
    """Negative log likelihood of a 0/1 label under the logistic of the score."""

    objective = "binary sigmoid:1"
    shown = "log_loss"

    def base(self, label: Values, weight: Values | None) -> float:
        """See :class:`Loss`."""
        mean = float(np.clip(np.average(label, weights=weight), TINY, 1 - TINY))
        return float(np.log(mean / (1 - mean)))

    def derivatives(self, score: Values, label: Values) -> tuple[Values, Values]:
        """See :class:`Loss`."""
        probability = expit(score)
        return probability - label, probability * (1 - probability)

    def each(self, score: Values, label: Values) -> Values:
        """See :class:`Loss`."""
        return np.logaddexp(0.0, score) - label * score


class FractionLoss(LogLoss):
    """Log loss of a label between 0 and 1, which fits its mean, whatever its distribution.

    This is the fractional logit of Papke & Wooldridge (1996). A fraction varies least where its mean is near 0 or 1;
    there an error counts for more than in squared error.
    """

    objective = "cross_entropy"


LOSSES: dict[str, Loss] = {"regression": SquaredError(), "binary": LogLoss(), "fraction": FractionLoss()}
