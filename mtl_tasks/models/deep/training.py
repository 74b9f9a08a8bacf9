"""Training: Adam over shuffled batches, all seeds side by side, with a stop for each task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import DataError
from mtl_tasks.models.deep.device import OPTIONS, jax_device
from mtl_tasks.models.deep.network import Architecture, Params, scores
from mtl_tasks.models.deep.rows import EncodedRows
from mtl_tasks.models.deep.weighting import LOG_VARIANCE, agreement, followed, gradients
from mtl_tasks.scenario.deep import Deep

Values = NDArray[np.float64]

PERIODS: Final = 10  # of an epoch: weights are changed, losses checked and gradients compared after each
TOGETHER: Final = 8  # steps of a call, where an epoch has many
DECAYS: Final = (0.9, 0.999)  # of Adam's moments
STABILIZER: Final = 1e-8  # of Adam's step


@dataclass(frozen=True)
class Plan:
    """Constants of all steps; hashable, so that JAX compiles a step once."""

    network: Architecture
    objectives: tuple[str, ...]
    settings: Deep


@dataclass
class Course:
    """The course of a training.

    Attributes
    ----------
    losses
        By period, float64 (tasks,): mean losses in training.
    weights
        By period, float64 (tasks,): the tasks' weights in it.
    cosines
        By period, float64 (tasks, tasks): agreement of the tasks' gradients.
    """

    losses: list[Values] = field(default_factory=list)
    weights: list[Values] = field(default_factory=list)
    cosines: list[Values] = field(default_factory=list)


@dataclass(frozen=True)
class Fit:
    """Inputs of a training.

    Attributes
    ----------
    tasks
        Names of the tasks, for messages.
    weights
        float64 (tasks,): the scenario's task weights, with mean 1.
    bias
        float32 (tasks,): scores before anything is learned.
    where
        Name of the scenario's file, for messages.
    """

    plan: Plan
    rows: EncodedRows
    tasks: tuple[str, ...]
    weights: Values
    bias: NDArray[np.float32]
    seed: int
    device: str
    where: str

    def run(self, epochs: int, after: Callable[[int, Params, Values], bool]) -> Course:
        """Train for some epochs.

        Parameters
        ----------
        after
            Gets the number of an epoch from 1, the parameters, (seeds, ...) each, and the epoch's mean losses
            (tasks,); returns whether to go on.

        Raises
        ------
        DataError
            If a loss or a parameter is not finite.
        """
        course, state, weights = Course(), self._start(), self.weights
        with jax.default_device(jax_device(self.device)):
            for epoch in range(1, epochs + 1):
                before = len(course.losses)
                state, weights = self._epoch(epoch, state, weights, course)
                params = {name: np.asarray(part) for name, part in state["params"].items() if name != LOG_VARIANCE}
                self._refuse_parameters(params, int(state["steps"][0]), epoch)
                if not after(epoch, params, np.mean(course.losses[before:], axis=0)):
                    break
        return course

    def _start(self) -> dict[str, Any]:
        settings, tasks = self.plan.settings, len(self.tasks)
        each = [self.plan.network.initial(self.bias, self.seed, number) for number in range(settings.seeds)]
        params = {name: np.stack([first[name] for first in each]) for name in each[0]}
        if settings.task_weighting == "uncertainty":
            params[LOG_VARIANCE] = np.zeros((settings.seeds, tasks), dtype=np.float32)
        zeros = {name: np.zeros_like(part) for name, part in params.items()}
        keys = np.stack([np.asarray(jax.random.PRNGKey(self.seed + number)) for number in range(settings.seeds)])
        steps = np.zeros(settings.seeds, dtype=np.float32)
        return {"params": params, "mean": zeros, "square": zeros, "key": keys, "steps": steps}

    def _epoch(
        self, epoch: int, state: dict[str, Any], weights: Values, course: Course
    ) -> tuple[dict[str, Any], Values]:
        steps, compare = (_compiled(function, self.plan, self.device) for function in (_steps, _compare))
        for period in self._periods(epoch):
            losses: list[Values] = []
            for chosen in period:
                batches = tuple(part[chosen] for part in self.rows.arrays)
                state, made = steps(state, batches, weights.astype(np.float32))
                losses.append(np.asarray(made, dtype=np.float64).mean(axis=0))  # (steps, tasks), of all seeds
            self._refuse_not_finite(np.concatenate(losses), int(state["steps"][0]), epoch)
            cosines, norms = compare(state["params"], tuple(part[-1] for part in batches))
            course.losses.append(np.concatenate(losses).mean(axis=0))
            course.cosines.append(np.asarray(cosines, dtype=np.float64).mean(axis=0))
            course.weights.append(weights * _learned_weights(state["params"], len(self.tasks)))
            weights = self._next_weights(weights, course, np.asarray(norms, dtype=np.float64).mean(axis=0))
        return state, weights

    def _periods(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return positions of rows, (calls, steps of a call, rows of a step) for each period of an epoch.

        A few rows wait for another epoch: all calls are alike, so that steps are compiled once.
        """
        batch = min(self.plan.settings.batch_rows, len(self.rows))
        total = len(self.rows) // batch
        together = TOGETHER if total >= PERIODS * TOGETHER else 1
        calls = total // together
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        positions = order[: calls * together * batch].reshape(calls, together, batch)
        return np.array_split(positions, min(PERIODS, calls))

    def _next_weights(self, weights: Values, course: Course, norms: Values) -> Values:
        relative = weights / self.weights
        return self.weights * followed(self.plan.settings.task_weighting, relative, course.losses, self.weights * norms)

    def _refuse_not_finite(self, losses: Values, steps: int, epoch: int) -> None:
        """Refuse losses, float64 (n, tasks), of the last n of all ``steps``."""
        wrong = np.argwhere(~np.isfinite(losses))
        if len(wrong):
            step, task = wrong[0].tolist()
            when = f"in step {steps - len(losses) + step + 1:,} (epoch {epoch})"
            raise self._not_finite(f"the loss of task {self.tasks[task]!r} is {losses[step, task]} {when}", "the task")

    def _refuse_parameters(self, params: Params, steps: int, epoch: int) -> None:
        """Refuse parameters that the last of all ``steps`` made, whose losses were computed before it."""
        for name, part in params.items():
            if not np.isfinite(part).all():
                fault = f"parameter {name!r} is not finite after step {steps:,} (epoch {epoch})"
                raise self._not_finite(fault, "all tasks")

    def refuse_tune_losses(self, losses: Values, epoch: int) -> None:
        """Refuse losses on tune, float64 (tasks,), after an epoch.

        Raises
        ------
        DataError
            If one is not finite.
        """
        for task, loss in zip(self.tasks, losses.tolist(), strict=True):
            if not np.isfinite(loss):
                raise self._not_finite(f"the loss of task {task!r} on tune is {loss} after epoch {epoch}", "the task")

    def _not_finite(self, fault: str, tasks: str) -> DataError:
        rate = self.plan.settings.learning_rate
        return DataError(
            f"deep: {fault}: lower deep.learning_rate ({rate:g}) in {self.where}, or check the labels and sample "
            f"weights of {tasks}"
        )


@lru_cache(maxsize=16)
def _compiled(function: Callable[..., Any], plan: Plan, device: str) -> Callable[..., Any]:
    made: Callable[..., Any] = jax.jit(partial(function, plan), compiler_options=OPTIONS[device])
    return made


def _learned_weights(params: Params, tasks: int) -> Values:
    """Return the factor, float64 (tasks,), that `uncertainty` has learned for each task's loss; else 1."""
    if LOG_VARIANCE not in params:
        return np.ones(tasks)
    return np.asarray(np.exp(-np.asarray(params[LOG_VARIANCE], dtype=np.float64)).mean(axis=0))


def _steps(plan: Plan, state: dict[str, Any], batches: Any, weights: Any) -> tuple[dict[str, Any], Any]:
    """Return the state of every network after some steps, and losses, float32 (seeds, steps, tasks)."""

    def train(own: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        return jax.lax.scan(lambda before, batch: _step(plan, before, batch, weights), own, batches)

    return jax.vmap(train)(state)


def _step(plan: Plan, state: dict[str, Any], batch: Any, weights: Any) -> tuple[dict[str, Any], Any]:
    """Return the state after a step of Adam (Kingma and Ba, ICLR 2015), and the tasks' losses."""
    settings = plan.settings
    key, dropping, ordering = jax.random.split(state["key"], 3)
    losses = partial(_losses, plan, batch, dropping)
    slope, found = gradients(settings.task_weighting, losses, state["params"], weights, ordering)
    steps, (slow, slower) = state["steps"] + 1, DECAYS
    made: dict[str, Any] = {"params": {}, "mean": {}, "square": {}, "key": key, "steps": steps}
    for name, own in slope.items():
        mean = slow * state["mean"][name] + (1 - slow) * own
        square = slower * state["square"][name] + (1 - slower) * own**2
        step = (mean / (1 - slow**steps)) / (jnp.sqrt(square / (1 - slower**steps)) + STABILIZER)
        made["params"][name] = state["params"][name] - settings.learning_rate * step
        made["mean"][name], made["square"][name] = mean, square
    return made, found


def _losses(plan: Plan, batch: Any, key: Any, params: Params) -> Any:
    """Return the weighted mean loss of each task in a batch, float32 (tasks,); without a key nothing is dropped."""
    dense, codes, targets, weights = batch
    drop = None
    if key is not None:
        codes = _thinned(jax.random.fold_in(key, 1 << 20), codes, plan.settings.category_dropout)
        drop = partial(_drop, plan.settings.dropout, key)
    score = scores(jnp, plan.network, params, dense, codes, drop)
    squared = np.array([objective == "regression" for objective in plan.objectives])
    logistic = jnp.logaddexp(0.0, score) - targets * score
    return (weights * jnp.where(squared, (score - targets) ** 2 / 2, logistic)).mean(axis=0)


def _drop(rate: float, key: Any, units: Any, number: int) -> Any:
    if rate == 0:
        return units
    kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - rate, units.shape)
    return jnp.where(kept, units / (1 - rate), 0.0)


def _thinned(key: Any, codes: Any, rate: float) -> Any:
    return codes if rate == 0 else codes * jax.random.bernoulli(key, 1 - rate, codes.shape)


def _compare(plan: Plan, params: Params, batch: Any) -> tuple[Any, Any]:
    """Return cosines (seeds, tasks, tasks) and norms (seeds, tasks) of the tasks' gradients in a batch."""
    return jax.vmap(lambda own: agreement(partial(_losses, plan, batch, None), own))(params)
