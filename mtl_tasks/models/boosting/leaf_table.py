"""Prediction by trees that several tasks share: rows pass through them once for all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.models.boosting.binning import Matrix
from mtl_tasks.models.boosting.model_text import split_text

Values = NDArray[np.float64]
CELLS: Final = 4_000_000  # leaf ids in memory at once


class LeafTable:
    """The outputs of every leaf for every task.

    Trees of one structure assign a row the same leaf for every task, so leaf ids are read once, from the model with
    the most rounds, and multiplied as a one-hot matrix with the table of outputs. The sums run in LightGBM's order and
    equal its own prediction to the last bit or nearly so.

    Parameters
    ----------
    boosters, rounds, first
        Task to its model, the number of its trees that all tasks share, and the index of the first of them.
    """

    def __init__(
        self, boosters: Mapping[str, lgb.Booster], rounds: Mapping[str, int], first: Mapping[str, int]
    ) -> None:
        longest = max(rounds, key=lambda task: rounds[task])
        self._booster, self._rounds, self._first = boosters[longest], rounds[longest], first[longest]
        self._places = {task: place for place, task in enumerate(boosters)}
        outputs = {task: _outputs(booster, first[task], rounds[task]) for task, booster in boosters.items()}
        starts = np.cumsum([0, *(len(tree) for tree in outputs[longest])])
        self._starts = starts[:-1].astype(np.int32)
        self._table = np.zeros((starts[-1], len(boosters)))
        for task, trees in outputs.items():
            if trees:  # trees of the longest model that this task lacks add nothing
                self._table[: starts[len(trees)], self._places[task]] = np.concatenate(trees)

    def scores(self, matrix: Matrix, tasks: list[str], threads: int) -> Values:
        """Return float64 (n, tasks): the sums of the shared trees."""
        table = np.ascontiguousarray(self._table[:, [self._places[task] for task in tasks]])
        made = np.zeros((len(matrix), len(tasks)))
        if not self._rounds:
            return made
        step = max(1, CELLS // self._rounds)
        for start in range(0, len(matrix), step):
            made[start : start + step] = self._one_hot(matrix[start : start + step], threads) @ table
        return made

    def _one_hot(self, matrix: Matrix, threads: int) -> sparse.csr_array:
        leaves = self._booster.predict(
            matrix, pred_leaf=True, start_iteration=self._first, num_iteration=self._rounds, num_threads=threads
        )
        columns = (np.asarray(leaves).astype(np.int32).reshape(len(matrix), -1) + self._starts).ravel()
        ends = np.arange(0, columns.size + 1, self._rounds, dtype=np.int32)
        return sparse.csr_array((np.ones(columns.size), columns, ends), shape=(len(matrix), len(self._table)))


def _outputs(booster: lgb.Booster, first: int, rounds: int) -> list[Values]:
    if not rounds:
        return []
    text = booster.model_to_string(start_iteration=first, num_iteration=rounds)
    return [tree.leaf_values for tree in split_text(text)[1]]
