"""Costs are counts of what a prediction passes through."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from mtl_tasks.compression.cost import Cost, depths, member_cost, model_cost
from mtl_tasks.compression.pruning import can_be_cut, cut, without_one_by_one
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.models import Member, member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.scenario import MemberKind
from tests.contracts.member import draw_table, member_scenario


def fit(kind: MemberKind, rounds: int = 12) -> Member:
    return member_class(kind).fit(draw_table(600, 1), draw_table(300, 2), member_scenario(rounds=rounds, patience=20))


def boosted(kind: MemberKind, rounds: int = 12) -> BoostedMember:
    member = fit(kind, rounds)
    assert isinstance(member, BoostedMember)
    return member


def test_the_depth_of_a_tree_is_the_mean_over_its_rows() -> None:
    values = np.repeat([0.0, 1.0, 2.0, 3.0], [40, 30, 20, 10])
    data = lgb.Dataset(values[:, None], values)
    settings = {"num_leaves": 3, "min_data_in_leaf": 1, "verbosity": -1, "min_data_in_bin": 1}
    booster = lgb.train(settings, data, 1)
    nodes = booster.trees_to_dataframe()
    leaves = nodes[nodes["left_child"].isna()]
    assert len(leaves) == 3
    assert depths(booster)[0] == ((leaves["node_depth"] - 1) * leaves["count"]).sum() / 100


@pytest.mark.parametrize("kind", ["independent", "cascade", "shared_tail"])
def test_a_members_cost_is_that_of_its_trees(kind: MemberKind) -> None:
    member = boosted(kind)
    cost = member_cost(member, list(member.scenario.tasks))
    trees = [sum(task.rounds) for task in member.learned.trees.values()]
    shared = [sum(task.shared) for task in member.learned.trees.values()]
    assert cost.trees == sum(trees) - sum(shared) + max(shared)
    assert cost.trees < cost.operations < 6 * cost.trees  # seven leaves are at most six deep


def test_a_cascade_pays_for_the_tasks_before_the_one_that_is_asked_for() -> None:
    member = boosted("cascade")
    last = list(member.scenario.cascade_order)[-1]
    assert member_cost(member, [last]) == member_cost(member, list(member.scenario.tasks))


def test_members_without_weight_cost_nothing() -> None:
    members = {"independent": fit("independent"), "popularity": fit("popularity")}
    fusions = {
        task: {"weights": {"independent": 0.0, "popularity": 1.0}} for task in members["popularity"].scenario.tasks
    }
    cost = model_cost(members, fusions)
    assert cost.trees == 0
    assert 0 < cost.operations < 50


def test_a_kind_whose_operations_cannot_be_counted_is_refused_by_name() -> None:
    class Other(Member):
        kind = "other"
        fit = refit = predict = files = load = describe = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="the operations of the member 'other' cannot be counted"):
        member_cost(Other(member_scenario()), ["like"])


@pytest.mark.parametrize("kind", ["independent", "shared"])
def test_a_cut_member_is_the_one_that_fewer_rounds_give(kind: MemberKind) -> None:
    whole, few, unseen = boosted(kind), boosted(kind, rounds=4), draw_table(200, 3).features
    assert can_be_cut(whole)
    for task, values in cut(whole, 4).predict(unseen).items():
        np.testing.assert_allclose(values, few.predict(unseen)[task], rtol=1e-12)
    assert member_cost(cut(whole, 4), ["like"]) == member_cost(few, ["like"])


def test_members_that_fewer_rounds_would_change_are_not_cut() -> None:
    for kind in ("cascade", "shared_tail", "popularity"):
        assert not can_be_cut(fit(kind))


def test_members_of_several_seeds_are_not_cut() -> None:
    scenario = member_scenario(rounds=5, seeds=2)
    member = member_class("independent").fit(draw_table(600, 1), draw_table(300, 2), scenario)
    assert not can_be_cut(member)


def test_members_are_left_out_by_what_they_are_worth() -> None:
    worth = {"popularity": 0.0, "a": 3.0, "b": 1.0, "c": 2.0}
    found = list(without_one_by_one(tuple(worth), lambda members: -sum(worth[name] for name in members)))
    assert found == [("popularity", "a", "c"), ("popularity", "a")]


def test_costs_add_up() -> None:
    assert Cost(1, 2.0) + Cost(3, 4.0) == Cost(4, 6.0)
