"""Combination of the tasks' gradients into one split gradient, and the weights of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.task_rows import Span

Values = NDArray[np.float64]
TEMPERATURE: Final = 2.0  # of dynamic weight averaging, as in its paper
# Noise: leaves with equal gradient sums would have indistinguishable outputs; it changes no split that matters.
WHISPER: Final = 1e-4


def directions(combine: str, tasks: Sequence[str], weights: Mapping[str, float], seed: int, draw: int) -> Values:
    """Return the weight of each task's gradient in a round's split gradient, float64 (tasks,) of length 1.

    ``sketch`` projects on a random direction (SketchBoost with one column, Iosipoi and Vakhrushev, NeurIPS 2022): the
    expected gain of a split is then the weighted sum of the tasks' own gains, whatever the signs of their gradients.
    ``alternate`` gives each task a round in turn, ``sum`` adds the gradients.

    Parameters
    ----------
    weights
        Task to its weight in the loss.
    seed, draw
        The same pair gives the same direction, so that resumed growth equals uninterrupted growth.
    """
    scale = np.sqrt([weights[task] for task in tasks])
    if combine == "alternate":
        # A task with twice the weight gets twice the rounds.
        turn = np.searchsorted(np.cumsum(scale**2) / np.sum(scale**2), _low_discrepancy(draw), side="right")
        return np.asarray(np.eye(len(tasks))[min(int(turn), len(tasks) - 1)], dtype=np.float64)
    drawn = np.random.default_rng((seed, draw)).standard_normal(len(tasks)) if combine == "sketch" else scale
    direction = drawn * scale
    return np.asarray(direction / np.linalg.norm(direction))


def _low_discrepancy(draw: int) -> float:
    """Return a term of the golden-ratio sequence, which matches any weights evenly at every length."""
    return float((draw * 0.6180339887498949) % 1.0)


class TaskWeights:
    """Weights of the tasks' losses by round: the scenario's, optionally adapted to the losses so far.

    ``uncertainty``: 1 / loss, the closed form of the learned variances of Kendall, Gal and Cipolla (CVPR 2018).
    ``dwa``: dynamic weight averaging (Liu, Johns and Davison, CVPR 2019): more for a task whose loss falls slower.
    Both are scaled to a mean of 1, then multiplied by the scenario's weight.
    """

    def __init__(self, weighting: str, fixed: Mapping[str, float]) -> None:
        self._weighting = weighting
        self._fixed = fixed
        self._losses: list[dict[str, float]] = []

    def next(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return the weights of the next round, given the tasks' current mean losses on train."""
        self._losses = [*self._losses[-1:], dict(losses)]
        moved = self._moved()
        mean = float(np.mean(list(moved.values())))
        return {task: self._fixed[task] * moved[task] / mean for task in losses}

    def _moved(self) -> dict[str, float]:
        now, before = self._losses[-1], self._losses[0]
        if self._weighting == "uncertainty":
            return {task: 1.0 / max(loss, 1e-9) for task, loss in now.items()}
        if self._weighting == "dwa":
            pace = {task: loss / max(before.get(task, loss), 1e-9) for task, loss in now.items()}
            return {task: float(np.exp(value / TEMPERATURE)) for task, value in pace.items()}
        return dict.fromkeys(now, 1.0)


class SplitGradient:
    """Sums the tasks' derivatives into the two float32 arrays that LightGBM finds splits with."""

    def __init__(self, rows: int, hessian: str, seed: int) -> None:
        noise = np.random.default_rng(seed).standard_normal(rows, dtype=np.float32)
        self._newton = hessian == "newton"
        self._noise = noise * np.float32(WHISPER)
        self.gradient = np.empty(rows, dtype=np.float32)
        self.hessian = np.empty(rows, dtype=np.float32)

    def reset(self) -> None:
        """Start a round."""
        self.gradient[:] = self._noise
        self.hessian.fill(0.0 if self._newton else 1.0)

    def add(self, positions: Span, gradient: Values, hessian: Values, direction: float) -> None:
        """Add a task, with its gradient scaled to the same energy as every other's.

        With the ``newton`` hessian, the gain of a split that only this task wants is the task's own Newton gain.
        """
        if direction == 0.0:
            return
        rows = len(self.gradient)
        energy = np.sqrt(np.einsum("i,i->", gradient, gradient) / rows) or 1.0  # not @: BLAS has threads of its own
        self.gradient[positions] += np.multiply(gradient, direction / energy, dtype=np.float32, casting="same_kind")
        if self._newton:
            total = hessian.sum() / rows or 1.0
            self.hessian[positions] += np.multiply(hessian, direction**2 / total, dtype=np.float32, casting="same_kind")


def cosine(first: Values, second: Values) -> float | None:
    """Return the cosine of two vectors; None if either is zero."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else None
