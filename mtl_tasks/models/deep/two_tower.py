"""Two towers: vectors of users and items whose product ranks what a user takes next. Evaluated with NumPy alone.

An item is described by an embedding of its own, if the training knew it, and by its attributes. A user is described by
the items taken last and by attributes. Each tower adds a hidden layer to a linear path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.codecs import REMEDY, pack_arrays, parse_json, unpack_arrays
from mtl_tasks.store.documents.towers import TowersDocument

Floats = NDArray[np.float32]
Params = dict[str, Floats]

FILE: Final = "two_tower.json"
WEIGHTS: Final = "two_tower.npz"
HIDDEN: Final = 64
LAST: Final = 20  # last items of a user's history
_LARGEST: Final = 3.0  # of a standardized number


@dataclass(frozen=True)
class Described:
    """Users or items by named columns: ``values`` is float32 (n, columns), without an entry where nothing is known."""

    labels: list[str]
    values: sparse.csr_matrix


@dataclass(frozen=True)
class Columns:
    """The columns of a side that a model knows, with the center and spread of each, float32 (columns,)."""

    labels: list[str]
    center: Floats
    spread: Floats

    def of(self, described: Described) -> sparse.csr_matrix:
        """Return the values of these columns, standardized; an unknown value is at the center."""
        place = {label: number for number, label in enumerate(self.labels)}
        to = np.array([place.get(label, -1) for label in described.labels], dtype=np.int64)
        entries = described.values.tocoo()
        column = to[entries.col] if len(to) else entries.col
        known = column >= 0
        row, column, value = entries.row[known], column[known], entries.data[known]
        scaled = np.clip((value - self.center[column]) / self.spread[column], -_LARGEST, _LARGEST)
        shape = (described.values.shape[0], len(self.labels))
        return sparse.csr_matrix((scaled.astype(np.float32), (row, column)), shape=shape)


@dataclass(frozen=True)
class TwoTower:
    """A fitted model.

    Attributes
    ----------
    item_ids
        (n,) ids that have an embedding; that of the id at position ``i`` is row ``i + 1``, row 0 is for all others.
    params
        See :func:`shapes`.
    """

    document: TowersDocument
    item_ids: NDArray[Any]
    items: Columns
    users: Columns
    params: Params

    def rows_of(self, item_ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return the embedding row of each item, int64 (len(item_ids),); 0 for an item that was not learned."""
        place = np.minimum(np.searchsorted(self.item_ids, item_ids), max(len(self.item_ids) - 1, 0))
        if not len(self.item_ids):
            return np.zeros(len(item_ids), dtype=np.int64)
        return np.where(self.item_ids[place] == item_ids, place + 1, 0)

    def item_inputs(self, item_ids: NDArray[Any], described: Described) -> Floats:
        """Return the inputs of the item tower, which also describe users' past items, float32 (items, dimensions)."""
        attributes = self.items.of(described) @ self.params["item.attributes"]
        return np.asarray(self.params["item.ids"][self.rows_of(item_ids)] + attributes, dtype=np.float32)

    def item_vectors(self, inputs: Floats) -> Floats:
        """Return the items' vectors of length 1, float32 (items, dimensions)."""
        return _unit(_with_hidden(inputs, inputs, self.params, "item"))

    def user_vectors(self, history: sparse.csr_matrix, inputs: Floats, described: Described) -> Floats:
        """Return the users' vectors of length 1, float32 (users, dimensions); a user's does not depend on the others.

        Parameters
        ----------
        history
            (users, items): weight of each of the last items, adding up to 1.
        inputs
            From :meth:`item_inputs`.
        """
        mean = np.asarray(history @ inputs, dtype=np.float32)
        beside = np.asarray(self.users.of(described) @ self.params["user.attributes"], dtype=np.float32)
        return _unit(_with_hidden(mean, np.hstack([mean, beside]), self.params, "user"))

    def files(self) -> dict[str, bytes]:
        """Return the files to store: a document and an npz file."""
        sides = {"items": self.items, "users": self.users}
        arrays: dict[str, NDArray[Any]] = {"item_ids": self.item_ids, **self.params}
        for name, columns in sides.items():
            arrays |= {f"{name}.center": columns.center, f"{name}.spread": columns.spread}
        return {FILE: to_json(self.document.to_stored()), WEIGHTS: pack_arrays(arrays)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Invert :meth:`files`.

        Raises
        ------
        ArtifactError
            If a file is missing or damaged, or an array has another shape than the document says or is not finite.
        """
        for name in (FILE, WEIGHTS):
            if name not in files:
                raise ArtifactError(f"two_tower: {name} is missing; {REMEDY}")
        document = TowersDocument.parse(parse_json(files[FILE], FILE), FILE)
        sizes = {"items": len(document.item_columns), "users": len(document.user_columns)}
        expected = {"item_ids": ("U" if document.text_ids else "i", 1)}
        expected |= {f"{side}.{part}": ("f", 1) for side in sizes for part in ("center", "spread")}
        expected |= {name: ("f", len(shape)) for name, shape in shapes(0, document.dimensions, 0, 0).items()}
        arrays = unpack_arrays(files[WEIGHTS], expected, WEIGHTS)
        wanted = shapes(len(arrays["item_ids"]), document.dimensions, sizes["items"], sizes["users"])
        wanted |= {f"{side}.{part}": (size,) for side, size in sizes.items() for part in ("center", "spread")}
        for name, shape in wanted.items():
            found = arrays[name]
            if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
                raise ArtifactError(
                    f"{WEIGHTS}: {name!r} is {found.dtype} of shape {found.shape}, expected finite float32 of shape "
                    f"{shape}; {REMEDY}"
                )
        sides = [
            Columns(list(labels), arrays[f"{side}.center"], arrays[f"{side}.spread"])
            for side, labels in (("items", document.item_columns), ("users", document.user_columns))
        ]
        params = {name: arrays[name] for name in shapes(0, 0, 0, 0)}
        return cls(document, arrays["item_ids"], sides[0], sides[1], params)


def shapes(items: int, dimensions: int, item_columns: int, user_columns: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter, by name."""
    made: dict[str, tuple[int, ...]] = {
        "item.ids": (items + 1, dimensions),
        "item.attributes": (item_columns, dimensions),
        "user.attributes": (user_columns, dimensions),
    }
    for side, width in (("item", dimensions), ("user", 2 * dimensions)):
        made |= {
            f"{side}.hidden": (width, HIDDEN),
            f"{side}.hidden_bias": (HIDDEN,),
            f"{side}.out": (HIDDEN, dimensions),
            f"{side}.out_bias": (dimensions,),
        }
    return made


def _with_hidden(path: Floats, inputs: Floats, params: Params, side: str) -> Floats:
    """Return the linear path plus a hidden layer's output; each row is the same in any batch, unlike BLAS products."""
    hidden = np.einsum("ij,jk->ik", inputs, params[f"{side}.hidden"]) + params[f"{side}.hidden_bias"]
    out = np.einsum("ij,jk->ik", np.maximum(hidden, 0.0), params[f"{side}.out"])
    return np.asarray(path + out + params[f"{side}.out_bias"], dtype=np.float32)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.float32(1e-9)), dtype=np.float32)
