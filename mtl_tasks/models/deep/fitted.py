"""Fitted networks: their scores, and the files that they are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.deep.network import Architecture, Params, scores
from mtl_tasks.models.encoding import ARRAYS, Codes, FeatureEncoder, Matrix
from mtl_tasks.models.member import model_file
from mtl_tasks.scenario.deep import DEEP
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.codecs import REMEDY, Arrays, pack_arrays, parse_json, unpack_arrays
from mtl_tasks.store.documents.members import DeepDocument

Values = NDArray[np.float64]

FILE: Final = "deep.json"
WEIGHTS: Final = "deep.npz"
# Rows scored at a time, in double precision: the order of BLAS's sums depends on their number, and in single precision
# on a row's position among them.
BLOCK: Final = 512


@dataclass(frozen=True)
class FittedNetworks:
    """Networks of all tasks, which are averaged.

    Attributes
    ----------
    document
        All but the arrays.
    encoder
        The encoding of the features.
    epochs
        Number of epochs to the parameters after them, (seeds, ...) each.
    """

    document: DeepDocument
    encoder: FeatureEncoder
    epochs: dict[int, Params]

    @property
    def network(self) -> Architecture:
        """Sizes of each network."""
        return _network(self.document, self.encoder)

    @property
    def outputs(self) -> list[str]:
        """The tasks in the order of the outputs."""
        return list(self.document.tasks)

    def scores(self, dense: Matrix, codes: Codes, tasks: list[str]) -> Values:
        """Return raw scores, float64 (tasks, n), in units of the labels or log-odds."""
        made, own = np.empty((len(tasks), len(dense))), self.document.tasks
        for epoch in sorted({own[task].epochs for task in tasks}):
            score = mean_scores(self.network, self.epochs[epoch], dense, codes)
            for position, task in enumerate(tasks):
                if own[task].epochs == epoch:
                    made[position] = score[:, self.outputs.index(task)] * own[task].scale + own[task].center
        return made

    def files(self) -> dict[str, bytes]:
        """Return a document and an npz file."""
        arrays: Arrays = self.encoder.arrays()
        for epoch, params in self.epochs.items():
            arrays |= {_array_name(epoch, name): part for name, part in params.items()}
        return {FILE: to_json(self.document.to_stored()), WEIGHTS: pack_arrays(arrays)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Invert :meth:`files`.

        Raises
        ------
        ArtifactError
            If a file is missing or damaged, or an array has another shape than the document says.
        """
        document = DeepDocument.parse(parse_json(model_file(files, FILE, DEEP), FILE), FILE)
        data = model_file(files, WEIGHTS, DEEP)
        # Shapes that do not depend on the number of inputs tell the number of dimensions.
        shapes = _network(document, FeatureEncoder({}, (), dict(document.encoder.levels))).shapes()
        kept = sorted({own.epochs for own in document.tasks.values()})
        expected = {_array_name(epoch, name): ("f", len(shape) + 1) for epoch in kept for name, shape in shapes.items()}
        arrays = unpack_arrays(data, {**ARRAYS, **expected}, WEIGHTS)
        encoder = FeatureEncoder.from_parts(document.encoder, arrays, WEIGHTS)
        epochs = {}
        for epoch in kept:
            shapes = _network(document, encoder).shapes()
            epochs[epoch] = {name: arrays[_array_name(epoch, name)] for name in shapes}
            _check(epochs[epoch], shapes, document.seeds, epoch)
        return cls(document, encoder, epochs)


def mean_scores(network: Architecture, params: Params, dense: Matrix, codes: Codes) -> Values:
    """Return the outputs, float64 (n, tasks), averaged over the seeds; a row's do not depend on the other rows."""
    seeds, total = len(params["wide.bias"]), np.zeros((len(dense), network.tasks))
    for number in range(seeds):
        own = {name: part[number].astype(np.float64) for name, part in params.items()}
        for start in range(0, len(dense), BLOCK):
            rows = slice(start, start + BLOCK)
            missing = max(0, start + BLOCK - len(dense))
            inputs, kinds = (np.pad(part[rows], ((0, missing), (0, 0))) for part in (dense, codes))
            made = scores(np, network, own, inputs.astype(np.float64), kinds)
            total[rows] += made[: BLOCK - missing].astype(np.float32)
    return np.asarray(total / seeds)


def _network(document: DeepDocument, encoder: FeatureEncoder) -> Architecture:
    return Architecture(
        document.structure,
        document.layers,
        document.experts,
        document.task_experts,
        document.embedding,
        len(encoder.dense_names),
        encoder.sizes,
        len(document.tasks),
    )


def _array_name(epoch: int, name: str) -> str:
    return f"{epoch}.{name}"


def _check(params: Params, shapes: Mapping[str, tuple[int, ...]], seeds: int, epoch: int) -> None:
    for name, shape in shapes.items():
        found, wanted = params[name], (seeds, *shape)
        if found.shape != wanted or found.dtype != np.float32 or not np.isfinite(found).all():
            raise ArtifactError(
                f"{WEIGHTS}: {_array_name(epoch, name)!r} is {found.dtype} of shape {found.shape}, expected finite "
                f"float32 of shape {wanted}; {REMEDY}"
            )
