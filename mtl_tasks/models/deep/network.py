"""The network: parameters and scores, the same for NumPy, which predicts, and for JAX, which differentiates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.scenario.deep import Deep, Structure

Params = dict[str, Any]  # name to array; JAX differentiates such a mapping as it is
Drop = Callable[[Any, int], Any]  # hidden units, and the number of the layer: the units that are kept
SHARED: Final = "shared."  # prefix of the parameters that the gradients of several tasks meet in


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network.

    Attributes
    ----------
    dense
        Number of dense inputs.
    sizes
        Number of codes of each categorical input.
    tasks
        Number of outputs.
    """

    structure: Structure
    layers: tuple[int, ...]
    experts: int
    task_experts: int
    embedding: int
    dense: int
    sizes: tuple[int, ...]
    tasks: int

    @classmethod
    def of(cls, settings: Deep, dense: int, sizes: tuple[int, ...], tasks: int) -> Architecture:
        """Return the sizes for a scenario's settings."""
        return cls(
            settings.structure,
            settings.layers,
            settings.experts,
            settings.task_experts,
            settings.embedding,
            dense,
            sizes,
            tasks,
        )

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Size of each categorical input's embedding, by its number of codes.

        >>> Architecture("mmoe", (64,), 4, 1, 16, 10, (3, 40, 5000), 2).embeddings
        (3, 13, 16)
        """
        return tuple(min(self.embedding, size, math.ceil(1.6 * size**0.56)) for size in self.sizes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter."""
        made: dict[str, tuple[int, ...]] = {"wide.bias": (self.tasks,), "wide.dense": (self.dense, self.tasks)}
        for position, (size, width) in enumerate(zip(self.sizes, self.embeddings, strict=True)):
            made[f"wide.code.{position}"] = (size, self.tasks)
            made[f"{SHARED}code.{position}"] = (size, width)
        inputs = self.dense + sum(self.embeddings)
        for layer, units in enumerate(self.layers):
            made |= self._layer_shapes(layer, inputs, units)
            inputs = units
        return made | {"task.head": (self.tasks, 1, inputs)}

    def _layer_shapes(self, layer: int, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
        shared = 1 if self.structure == "shared_bottom" else self.experts
        made: dict[str, tuple[int, ...]] = {
            f"{SHARED}layer.{layer}": (shared, inputs, units),
            f"{SHARED}offset.{layer}": (shared, 1, units),
        }
        last = layer == len(self.layers) - 1
        if self.structure == "mmoe" and last:
            made["task.gate"] = (self.tasks, self.dense + sum(self.embeddings), shared)
        if self.structure == "ple":
            own = self.task_experts
            made[f"task.layer.{layer}"] = (self.tasks, own, inputs, units)
            made[f"task.offset.{layer}"] = (self.tasks, own, 1, units)
            made[f"task.gate.{layer}"] = (self.tasks, inputs, own + shared)
            if not last:
                made[f"{SHARED}gate.{layer}"] = (inputs, self.tasks * own + shared)
        return made

    def initial(self, bias: NDArray[np.float32], seed: int, number: int) -> Params:
        """Return first parameters, float32; hidden layers as He et al. (ICCV 2015), the wide path 0.

        Parameters
        ----------
        bias
            float32 (tasks,): scores before anything is learned.
        number
            Number of the network among those that are averaged.
        """
        rng = np.random.default_rng([seed, number])
        made: Params = {}
        for name, shape in sorted(self.shapes().items()):
            if ".layer." in name:
                made[name] = rng.standard_normal(shape) * math.sqrt(2 / shape[-2])
            elif name == "task.head":
                made[name] = rng.standard_normal(shape) / math.sqrt(shape[-1])
            elif name.startswith(f"{SHARED}code."):
                made[name] = rng.standard_normal(shape) * 0.05
            else:
                made[name] = np.zeros(shape)
        made["wide.bias"] = bias
        return {name: np.asarray(value, dtype=np.float32) for name, value in made.items()}


def scores(
    xp: ModuleType, network: Architecture, params: Params, dense: Any, codes: Any, drop: Drop | None = None
) -> Any:
    """Return raw scores, float32 (n, tasks).

    Parameters
    ----------
    xp
        ``numpy`` or ``jax.numpy``.
    dense, codes
        float32 (n, dense inputs) and int32 (n, categorical inputs).
    drop
        What drops hidden units; None when predicting.
    """
    vectors = [params[f"{SHARED}code.{position}"][codes[:, position]] for position in range(len(network.sizes))]
    wide = params["wide.bias"]
    for position in range(len(network.sizes)):
        wide = wide + params[f"wide.code.{position}"][codes[:, position]]
    return wide + inner_scores(xp, network, params, xp.concatenate([dense, *vectors], axis=1), drop)


def inner_scores(xp: ModuleType, network: Architecture, params: Params, inputs: Any, drop: Drop | None = None) -> Any:
    """Return the part of the scores, float32 (n, tasks), that follows from dense inputs and embeddings.

    Parameters
    ----------
    inputs
        float32 (n, inputs): the dense inputs, then the embeddings.
    """
    keep = drop or (lambda units, layer: units)
    hidden = _STRUCTURES[network.structure](xp, network, params, inputs, keep)
    return inputs[:, : network.dense] @ params["wide.dense"] + (hidden * params["task.head"]).sum(axis=-1).T


def _shared_bottom(xp: ModuleType, network: Architecture, params: Params, inputs: Any, keep: Drop) -> Any:
    """Return the last hidden layer, (1, n, units), which all tasks read."""
    return _experts(xp, network, params, inputs, keep)


def _mmoe(xp: ModuleType, network: Architecture, params: Params, inputs: Any, keep: Drop) -> Any:
    """Return each task's mixture of experts, (tasks, n, units) (Ma et al., KDD 2018)."""
    experts = _experts(xp, network, params, inputs, keep)
    gates = _softmax(xp, xp.matmul(inputs[None], params["task.gate"]))
    return sum(gates[:, :, k, None] * experts[k][None] for k in range(network.experts))


def _ple(xp: ModuleType, network: Architecture, params: Params, inputs: Any, keep: Drop) -> Any:
    """Return each task's last extraction layer, (tasks, n, units) (Tang et al., RecSys 2020)."""
    tasks = xp.broadcast_to(inputs[None], (network.tasks, *inputs.shape))
    common = inputs
    for layer in range(len(network.layers)):
        own = xp.matmul(tasks[:, None], params[f"task.layer.{layer}"]) + params[f"task.offset.{layer}"]
        shared = xp.matmul(common[None], params[f"{SHARED}layer.{layer}"]) + params[f"{SHARED}offset.{layer}"]
        own, shared = keep(xp.maximum(own, 0), 2 * layer), keep(xp.maximum(shared, 0), 2 * layer + 1)
        gates = _softmax(xp, xp.matmul(tasks, params[f"task.gate.{layer}"]))
        mine = sum(gates[:, :, k, None] * own[:, k] for k in range(network.task_experts))
        ours = sum(gates[:, :, network.task_experts + k, None] * shared[k][None] for k in range(network.experts))
        if layer < len(network.layers) - 1:
            everything = xp.concatenate([own.reshape(-1, *own.shape[2:]), shared])
            mixture = _softmax(xp, common @ params[f"{SHARED}gate.{layer}"])
            common = sum(mixture[:, k, None] * everything[k] for k in range(len(everything)))
        tasks = mine + ours
    return tasks


def _experts(xp: ModuleType, network: Architecture, params: Params, inputs: Any, keep: Drop) -> Any:
    """Return the last hidden layer of every expert, (experts, n, units)."""
    hidden = inputs[None]
    for layer in range(len(network.layers)):
        hidden = xp.matmul(hidden, params[f"{SHARED}layer.{layer}"]) + params[f"{SHARED}offset.{layer}"]
        hidden = keep(xp.maximum(hidden, 0), layer)
    return hidden


def _softmax(xp: ModuleType, logits: Any) -> Any:
    odds = xp.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


_STRUCTURES: Final[dict[Structure, Callable[..., Any]]] = {"shared_bottom": _shared_bottom, "mmoe": _mmoe, "ple": _ple}
