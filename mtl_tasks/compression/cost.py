"""Cost of scoring a row, counted from the models: a time would depend on the machine and its other work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.models import Member
from mtl_tasks.models.baselines import BaselineMember
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.models.boosting.model_text import split_text
from mtl_tasks.models.boosting.trees import TaskTrees
from mtl_tasks.models.cascade import CascadeMember


@dataclass(frozen=True)
class Cost:
    """Work to score one row for all tasks.

    Attributes
    ----------
    trees
        Trees that the row passes through.
    operations
        Decisions in these trees, on average over their training rows, and the products of
        ``popularity`` and ``als``.
    """

    trees: int
    operations: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.trees + other.trees, self.operations + other.operations)


def model_cost(members: Mapping[str, Member], fusions: Mapping[str, Mapping[str, Any]]) -> Cost:
    """Return the cost of the members that have weight in the fusion of some task.

    Raises
    ------
    ConfigError
        If the operations of such a member cannot be counted.
    """
    total = Cost(0, 0.0)
    for name, member in members.items():
        asked = [task for task, fusion in fusions.items() if fusion["weights"][name] > 0]
        if asked:
            total += member_cost(member, asked)
    return total


def member_cost(member: Member, tasks: Collection[str]) -> Cost:
    """Return the cost of a member's predictions of some tasks.

    Raises
    ------
    ConfigError
        If the operations of its kind cannot be counted.
    """
    if isinstance(member, BoostedMember):
        return _boosted_cost(member, tasks)
    if isinstance(member, BaselineMember):
        return Cost(0, float(sum([len(member.model(task)["weights"]) for task in tasks])))
    raise ConfigError(
        f"compress: the operations of the member {member.kind!r} cannot be counted, so that nothing can be compared "
        "with it: compress a run without it"
    )


def depths(booster: lgb.Booster) -> NDArray[np.float64]:
    """Return the mean number of decisions in each tree, float64 (trees,); 0 for a constant."""
    _, trees, _ = split_text(booster.model_to_string())
    counts = [np.array(tree.lines.get("internal_count", "").split(), dtype=np.float64) for tree in trees]
    return np.array([count.sum() / count[0] if len(count) else 0.0 for count in counts])


def _boosted_cost(member: BoostedMember, tasks: Collection[str]) -> Cost:
    """Count a tree that several tasks share once: rows pass through the longest model's."""
    trees = member.learned.trees
    needed = member.needed(tasks) if isinstance(member, CascadeMember) else list(tasks)
    total = Cost(0, 0.0)
    for number in range(len(next(iter(trees.values())).boosters)):
        seed = {task: depths(trees[task].boosters[number]) for task in needed}
        longest = max(needed, key=lambda task: trees[task].shared[number])
        total += _sum(seed[longest][_shared(trees[longest], number)])
        for task in needed:
            total += _sum(np.delete(seed[task], _shared(trees[task], number)))
    return total


def _shared(trees: TaskTrees, number: int) -> slice:
    first = trees.inherited[number]
    return slice(first, first + trees.shared[number])


def _sum(decisions: NDArray[np.float64]) -> Cost:
    return Cost(len(decisions), float(decisions.sum()))
