"""One split gradient out of those of several tasks, and how the tasks share the say in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.task_rows import Span

Values = NDArray[np.float64]
TEMPERATURE: Final = 2.0  # of dynamic weight averaging, as its authors set it
# Leaves of equal gradient sums could not be told apart by their outputs; this moves no split that matters.
WHISPER: Final = 1e-4


def directions(combine: str, tasks: Sequence[str], weights: Mapping[str, float], seed: int, draw: int) -> Values:
    """Return the weight of each task's gradient in a round's split gradient, float64 (tasks,) of length 1.

    ``sketch`` projects on a random direction (SketchBoost with one column, Iosipoi and Vakhrushev, NeurIPS 2022): the
    expected gain of a split is then the weighted sum of the tasks' own gains, whatever the signs of their gradients.
    ``alternate`` gives each task a round in turn, ``sum`` adds the gradients up.

    Parameters
    ----------
    weights
        Task to its weight in the loss.
    seed, draw
        The same pair gives the same direction, so that growing on is the same as never having stopped.
    """
    scale = np.sqrt([weights[task] for task in tasks])
    if combine == "alternate":
        # A task of twice the weight has twice the rounds.
        turn = np.searchsorted(np.cumsum(scale**2) / np.sum(scale**2), _low_discrepancy(draw), side="right")
        return np.asarray(np.eye(len(tasks))[min(int(turn), len(tasks) - 1)], dtype=np.float64)
    drawn = np.random.default_rng((seed, draw)).standard_normal(len(tasks)) if combine == "sketch" else scale
    direction = drawn * scale
    return np.asarray(direction / np.linalg.norm(direction))


def _low_discrepancy(draw: int) -> float:
    """The golden-ratio sequence: any weights are met evenly along the way."""
    return float((draw * 0.6180339887498949) % 1.0)


class TaskWeights:
    """Weights of the tasks' losses by round: those of the scenario, moved or not by how the losses fall.

    ``uncertainty``: over the loss, the closed form of the learned variances of Kendall, Gal and Cipolla (CVPR 2018).
    ``dwa``: dynamic weight averaging (Liu, Johns and Davison, CVPR 2019): more for a task whose loss falls slower.
    Either is scaled to a mean of 1 before the scenario's weight multiplies it.
    """

    def __init__(self, weighting: str, fixed: Mapping[str, float]) -> None:
        self._weighting = weighting
        self._fixed = fixed
        self._losses: list[dict[str, float]] = []

    def next(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return the weights of the round after which these were the tasks' mean losses on train."""
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
    """Adds tasks' derivatives up to the two float32 arrays that LightGBM finds splits with."""

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
        """Add a task, its gradient scaled to the same energy as every other's.

        With the ``newton`` hessian the gain of a split that only this task wants is the task's own Newton gain.
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
    """Cosine of two vectors; null where one has no length."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else None
