"""Pruned models: fewer members, or only the first trees of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lightgbm as lgb
import numpy as np

from mtl_tasks.models import Member
from mtl_tasks.models.boosted import BoostedMember, FittedTrees
from mtl_tasks.models.boosting.trees import TaskTrees
from mtl_tasks.models.cascade import CascadeMember
from mtl_tasks.models.pooling import FLOOR
from mtl_tasks.models.shared_tail import SharedTailMember


def can_be_cut(member: Member) -> bool:
    """Whether its first trees are the member that fewer rounds would give.

    Later tasks of a cascade have learned from the earlier ones' complete predictions. With fewer shared trees,
    `shared_tail` would grow other ones of each task. The best round of a second seed is not stored. A warm start ends
    before the trees that it began with.
    """
    if isinstance(member, (CascadeMember, SharedTailMember)) or not isinstance(member, BoostedMember):
        return False
    return all(len(trees.boosters) == 1 and not any(trees.inherited) for trees in member.learned.trees.values())


def cut(member: BoostedMember, most: int) -> BoostedMember:
    """Return a member with the trees that it has if ``boosting.rounds`` (`compression.rounds`) is ``most``."""
    learned = member.learned
    trees = {task: _first(trees, most) for task, trees in learned.trees.items()}
    device = str(member.describe()["device"])
    return type(member)(member.scenario, FittedTrees(trees, learned.encoder, learned.sharing), device)


def _first(trees: TaskTrees, most: int) -> TaskTrees:
    """Return the trees up to the best of the first rounds on tune."""
    best = most
    if trees.curve is not None and most < trees.rounds[0]:
        best = int(np.argmin(trees.curve.tune[:most])) + 1
    rounds = [min(count, best) for count in trees.rounds]
    texts = [
        booster.model_to_string(num_iteration=count) for booster, count in zip(trees.boosters, rounds, strict=True)
    ]
    shared = [min(count, kept) for count, kept in zip(trees.shared, rounds, strict=True)]
    return TaskTrees([lgb.Booster(model_str=text) for text in texts], rounds, trees.curve, shared, trees.inherited)


def without_one_by_one(members: tuple[str, ...], loss: Callable[[tuple[str, ...]], float]) -> Iterator[tuple[str, ...]]:
    """Yield ever fewer members: each time the one is left out without which the loss is least.

    Parameters
    ----------
    members
        The popularity baseline, which every run has, is never left out.
    loss
        Loss of some members on blend, with weights fitted again.
    """
    while len(members) > 2:
        tried = [tuple(one for one in members if one != left) for left in members if left != FLOOR]
        members = min(tried, key=loss)
        yield members
